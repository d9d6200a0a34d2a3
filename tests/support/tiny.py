"""The configuration of a calculation so small that the whole command line runs on it in seconds.

`start` runs it in a process of its own, which may be killed at any moment.
"""

import itertools
import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

TINY = {
    "seed": 3,
    "system": {"n_particles": 6, "box_length_sigma": 6.0, "temperature_star": 1.25},
    "reference": {
        "n_frames": 40,
        "n_replicas": 2,
        "equilibration_steps": 200,
        "frame_interval": 50,
        "segment_frames": 20,
        "max_steps": 12000,
        "platform": "Reference",
    },
    "network": {"n_radial": 4, "n_channels": 2, "width": 8, "n_refinements": 0},
    "training": {"n_steps": 20, "atoms_per_step": 48, "validate_every": 5, "device": "cpu"},
    "estimates": {
        "bound": {"n_levels": 4, "n_pairs": 8, "n_tethered": 4, "tethered_steps": 240},
        "neural_ti": {"n_samples": 4, "n_steps": 10},
        "neural_ti_noised": {"n_levels": 8, "n_frames": 8},
        "paths": {"n_paths": 8, "n_steps": 10},
        "windows": {
            "n_windows": 3,
            "n_chains": 4,
            "n_frames": 4,
            "steps_between": 5,
            "equilibration_steps": 5,
            "pilot_frames": 4,
            "platform": "Reference",
        },
        "softcore": {
            "n_windows": 5,
            "n_chains": 2,
            "n_frames": 10,
            "equilibration": 50,
            "platform": "Reference",
        },
        "decoupling": {
            "n_windows": 3,
            "n_chains": 2,
            "n_frames": 10,
            "equilibration": 50,
            "platform": "Reference",
        },
        "widom": {"n_insertions_per_frame": 20},
        "bar_chain": {
            "n_walkers": 8,
            "n_frames": 2,
            "n_insertions": 50,
            "equilibration_sweeps": 5,
            "sweeps_between": 2,
        },
    },
}
TIMER = signal.ITIMER_REAL
# Processes are forked from one that has imported everything, and so start within 0.1 s.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["openmm_nti.cli.pipeline", "openmm_nti.validation.report"])


def start(*arguments, log, watch=None):
    """Start `openmm-nti ARGUMENTS`; its output goes to the file `log`.

    With `watch`, a path, a stage and seconds, the process kills itself so long after it has entered
    the stage or one after it; without a stage, it writes the seconds of each stage to the path.
    """
    words = [str(each) for each in arguments]
    process = _SERVER.Process(target=_run, args=(words, str(log), watch))
    process.start()
    return process


def _run(arguments, log, watch):
    with Path(log).open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    import torch

    from openmm_nti.cli import app

    torch.set_num_threads(1)
    sys.argv = ["openmm-nti", *arguments]
    if watch is None:
        app(prog_name="openmm-nti")
    path, aim, seconds = watch
    entered = _watch_stages(aim, seconds)
    try:
        app(prog_name="openmm-nti")
    finally:
        if aim is None:
            moments = [*entered.values(), time.monotonic()]
            lengths = [after - before for before, after in itertools.pairwise(moments)]
            path.write_text(json.dumps(dict(zip(entered, lengths, strict=True))))


def _watch_stages(aim, seconds):
    """Return a mapping that fills with the moments at which stages are entered."""
    from openmm_nti.cli.pipeline import Pipeline
    from openmm_nti.validation.estimators.registry import all_estimators

    order = ["reference data", "training", *all_estimators(), "report"]
    entered = {}

    def watch(owner, method, name):
        original = getattr(owner, method)

        def watched(*arguments):
            entered[name] = time.monotonic()
            if aim and order.index(name) >= order.index(aim) and not signal.getitimer(TIMER)[0]:
                signal.setitimer(TIMER, max(seconds, 1e-6))  # by default, its signal kills
            return original(*arguments)

        setattr(owner, method, watched)

    watch(Pipeline, "reference", "reference data")
    watch(Pipeline, "train", "training")
    watch(Pipeline, "report", "report")
    for name, known in all_estimators().items():
        watch(type(known), "estimate", name)
    return entered


def stages(config):
    """Return the stages of a run in their order."""
    from openmm_nti.validation.estimators.registry import all_estimators

    wanted = [
        name for name, known in all_estimators().items() if known.section in config["estimates"]
    ]
    return ["reference data", "training", *wanted, "report"]


def stage(directory, config):
    """Return what a run is busy with, by the files that it has finished."""
    if not list(directory.glob("reference/*.h5")):
        return "reference data"
    if not (directory / "model" / "model.json").exists():
        return "training"
    finished = {path.stem for path in directory.glob("*/estimates/*.json")}
    return next(name for name in stages(config)[2:] if name not in finished)


def numbers(directory):
    """Return all that results.json says of the state points."""
    return json.loads((directory / "results.json").read_text())["state_points"]
