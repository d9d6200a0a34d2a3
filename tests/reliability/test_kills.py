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
from tiny import TINY, numbers, stage, start

KILLS = 100
KILLS_PER_RUN = 6  # about


@pytest.mark.slow
def test_runs_killed_in_all_stages_end_in_the_same_numbers(tmp_path):
    where = kill_runs(tmp_path, KILLS)
    assert sum(where.values()) >= KILLS
    assert len(where) > 3


def kill_runs(folder, n_kills, seed=1):
    """Kill runs in `folder` until there were `n_kills`; return the number of kills by stage."""
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump(TINY))
    undisturbed, log = folder / "undisturbed", folder / "log.txt"
    start_time = time.monotonic()
    run(config, undisturbed, log, delay=None)
    mean_delay = (time.monotonic() - start_time) / KILLS_PER_RUN
    rng, where = np.random.default_rng(seed), collections.Counter()
    attempt = 0
    while sum(where.values()) < n_kills:
        directory = folder / f"run{attempt}"
        while not run(config, directory, log, delay=rng.exponential(mean_delay)):
            where[stage(directory)] += 1
        assert numbers(directory) == numbers(undisturbed)
        assert not list(directory.rglob("*.partial*"))
        attempt += 1
    return where


def run(config, directory, log, delay):
    """Start or go on with a run; kill it after `delay` seconds. Return whether it was finished."""
    process = start("run", config, "--output", directory, "--resume", log=log)
    process.join(delay)
    if process.exitcode is None:
        process.kill()
        process.join()
        return False
    assert process.exitcode == 0, log.read_text()
    return True


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for place, count in kill_runs(Path(folder), int(sys.argv[1])).items():
            sys.stdout.write(f"{place}: {count}\n")
