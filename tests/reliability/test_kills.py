"""A run that is killed again and again, at random moments, ends in the numbers of one that is not.

`python tests/reliability/test_kills.py 100` kills as often and says where.
"""

import collections
import json
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # where this file is run by itself
from tiny import TINY, numbers, stage, stages, start

KILLS = 100
CONFIG = {
    **TINY,
    "estimates": {
        **TINY["estimates"],
        "stages": {"n_paths": 8, "n_steps": 10, "n_chains": 8, "equilibration_steps": 8},
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
    assert len(where) > len(stages(CONFIG)) - 3  # some take milliseconds


def kill_runs(folder, n_kills, seed=1):
    """Kill runs in `folder` until there were `n_kills`; return the number of kills by stage.

    A run is killed in every stage in turn, after a random part of the time that the stage takes.
    """
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    undisturbed, log = folder / "undisturbed", folder / "log.txt"
    assert not was_killed(config, undisturbed, log, (folder / "lengths.json", None, 0))
    lengths = json.loads((folder / "lengths.json").read_text())
    rng, where = np.random.default_rng(seed), collections.Counter()
    attempt = 0
    while sum(where.values()) < n_kills:
        directory = folder / f"run{attempt}"
        for aim in stages(CONFIG):
            if was_killed(config, directory, log, (None, aim, rng.uniform(0, lengths[aim]))):
                where[stage(directory, CONFIG)] += 1
        assert not was_killed(config, directory, log)
        assert numbers(directory) == numbers(undisturbed)
        assert not list(directory.rglob("*.partial*"))
        attempt += 1
    return where


def was_killed(config, directory, log, watch=None):
    """Start or go on with a run; return whether it was killed, and not finished."""
    process = start("run", config, "--output", directory, "--resume", log=log, watch=watch)
    process.join()
    assert process.exitcode in (0, -signal.SIGALRM), log.read_text()
    return process.exitcode != 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for place, count in kill_runs(Path(folder), int(sys.argv[1])).items():
            sys.stdout.write(f"{place}: {count}\n")
