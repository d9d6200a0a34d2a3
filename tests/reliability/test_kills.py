"""A run that is killed again and again, at random moments, ends in the numbers of one that is not.

`python tests/reliability/test_kills.py 100` kills as often and says where.
"""

import collections
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # where this file is run by itself
from tiny import TINY, numbers, stage, stages, start

KILLS = 100
POLL_SECONDS = 0.001  # the shortest stages take a few milliseconds
CONFIG = {
    **TINY,
    "estimates": {
        **TINY["estimates"],
        "ufm_switching": {
            **TINY["estimates"]["softcore"],
            "n_ramps": 8,
            "ramp_steps": 20,
        },
    },
}


@pytest.mark.slow
def test_runs_killed_in_all_stages_end_in_the_same_numbers(tmp_path):
    where = kill_runs(tmp_path, KILLS)
    assert sum(where.values()) >= KILLS
    assert len(where) > len(stages(CONFIG)) / 2  # a busy machine may miss the shortest


def kill_runs(folder, n_kills, seed=1):
    """Kill runs in `folder` until there were `n_kills`; return the number of kills by stage.

    A run is killed in every stage in turn, after a random part of the time that the stage takes.
    """
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    undisturbed, log = folder / "undisturbed", folder / "log.txt"
    lengths = run(config, undisturbed, log)
    rng, where = np.random.default_rng(seed), collections.Counter()
    attempt = 0
    while sum(where.values()) < n_kills:
        directory = folder / f"run{attempt}"
        for aim in stages(CONFIG):
            if not run(config, directory, log, aim, rng.uniform(0, lengths[aim])):
                where[stage(directory, CONFIG)] += 1
        run(config, directory, log)
        assert numbers(directory) == numbers(undisturbed)
        assert not list(directory.rglob("*.partial*"))
        attempt += 1
    return where


def run(config, directory, log, aim=None, delay=0.0):
    """Start or go on with a run; kill it `delay` seconds after it has reached the stage `aim`.

    Return the seconds that it was seen in each stage; nothing if it was killed.
    """
    process = start("run", config, "--output", directory, "--resume", log=log)
    seen, before, order = collections.Counter(), time.monotonic(), stages(CONFIG)
    while process.exitcode is None:
        process.join(POLL_SECONDS)
        now, where = time.monotonic(), stage(directory, CONFIG)
        seen[where] += now - before
        before = now
        if aim and order.index(where) >= order.index(aim):
            process.join(delay)
            process.kill()
            process.join()
    if process.exitcode < 0:
        return None
    assert process.exitcode == 0, log.read_text()
    return seen


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for place, count in kill_runs(Path(folder), int(sys.argv[1])).items():
            sys.stdout.write(f"{place}: {count}\n")
