"""The configuration of a calculation so small that the whole command line runs on it in seconds.

`start` runs it in a process of its own, which may be killed at any moment.
"""

import json
import multiprocessing
import os
import sys
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
# Processes are forked from one that has imported everything, and so start within 0.1 s.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["openmm_nti.cli.pipeline", "openmm_nti.validation.report"])


def start(*arguments, log):
    """Start `openmm-nti ARGUMENTS`; its output goes to the file `log`."""
    process = _SERVER.Process(target=_run, args=([str(each) for each in arguments], str(log)))
    process.start()
    return process


def _run(arguments, log):
    with Path(log).open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    import torch

    from openmm_nti.cli import app

    torch.set_num_threads(1)
    sys.argv = ["openmm-nti", *arguments]
    app(prog_name="openmm-nti")


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
