"""One small file of every kind that the package writes, and what its reader finds in it."""

import hashlib
import json

import numpy as np
import torch

from openmm_nti import kernels
from openmm_nti.cli.results import read_estimate, write_estimate
from openmm_nti.cli.run_config import RunConfig
from openmm_nti.cli.run_directory import RunDirectory
from openmm_nti.cli.safety.changes import Changes
from openmm_nti.cli.safety.opening import open_run
from openmm_nti.ensemble import Ensemble
from openmm_nti.files import read_json, with_checksum, write_json, write_text
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import NetworkConfig, build_model
from openmm_nti.model_files import load_any_model, read_card, save_model
from openmm_nti.runtime.stored import fingerprint, read_arrays, write_arrays
from openmm_nti.training.checkpoint import load_checkpoint, save_checkpoint
from openmm_nti.training.inputs import metrics_until
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.works import Works

STATE = StatePoint(n_particles=10, box_length_sigma=6, temperature_star=1.25)
KINDS = {
    "ensemble": "ensemble.h5",
    "windows": "windows.npz",
    "works": "works.npz",
    "weights": "model/model.safetensors",
    "card": "model/model.json",
    "checkpoint": "checkpoint.safetensors",
    "metrics": "metrics.jsonl",
    "estimate": "estimates/widom.json",
    "results": "results.json",  # as provenance, sweeps and the tasks of `paper`
    "configuration": "run/config.yaml",
    "arrays": "segment.npz",  # as chains, windows, profiles and all else that is taken up again
    "library": "kernels/lib.so",
    "library's hash": "kernels/lib.so.sha256",
}
CONFIG = RunConfig.model_validate({"system": STATE.model_dump()})


def write_all(folder):
    """Write one file of each kind to `folder`."""
    frames = np.array([lattice_positions_nm(STATE, seed) for seed in range(4)], dtype=np.float32)
    energies = reduced_potential_numpy(frames.astype(float) / STATE.sigma_nm, STATE)
    Ensemble(STATE, frames, energies, {"seed": 3}).save(folder / "ensemble.h5")
    rng = np.random.default_rng(0)
    WindowData(
        np.array([0, 0.5, 1]), rng.random((3, 20, 3)), rng.random((3, 20)), np.arange(20) % 2
    ).save(folder / "windows.npz")
    Works(STATE, rng.random(40), rng.random(40)).save(folder / "works.npz")
    model, average, optimiser = training()
    save_model(model, folder / "model", trained_on=[STATE])
    model.zero_grad()
    sum((value**2).sum() for value in model.parameters()).backward()
    optimiser.step()
    save_checkpoint(
        folder / "checkpoint.safetensors",
        model,
        average,
        optimiser,
        step=1,
        seconds=2.0,
        inputs="x",
    )
    lines = [{"step": n, "loss": 0.1, "validation_loss": 1 / n, "held_out": {}} for n in (3, 6, 9)]
    write_text(
        folder / "metrics.jsonl", "".join(json.dumps(with_checksum(one)) + "\n" for one in lines)
    )
    found = FreeEnergy(-0.25, 0.125, "widom", "switched", 10, diagnostics={"n_samples": 40})
    write_estimate(folder / "estimates" / "widom.json", found)
    write_json(folder / "results.json", {"schema": 1, "state_points": [found.to_dict()]})
    open_run(folder / "run", CONFIG, resume=False)
    write_arrays(folder / "segment.npz", {"positions_nm": frames, "velocities": frames})
    library = folder / "kernels" / "lib.so"
    library.parent.mkdir()
    library.write_bytes(rng.bytes(2000))
    write_text(library.with_name("lib.so.sha256"), hashlib.sha256(library.read_bytes()).hexdigest())


def training():
    """Return a new model with all that a checkpoint restores."""
    torch.manual_seed(0)
    model = build_model(STATE.pair_potential, NetworkConfig(width=8))
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return model, average, torch.optim.Adam(model.parameters())


def content(kind, path):
    """Return all that the reader of a kind of file finds in it, as something to compare."""
    return _READERS[kind](path)


def _ensemble(path):
    data = Ensemble.load(path)
    return data.fingerprint(), data.provenance, data.state.model_dump_json()


def _model(path):
    return load_any_model(path.parent).fingerprint(), read_card(path.parent)


def _checkpoint(path):
    model, average, optimiser = training()
    facts = load_checkpoint(path, model, average, optimiser, inputs="x")
    moments = [
        value.numpy() for one in optimiser.state_dict()["state"].values() for value in one.values()
    ]
    return facts, fingerprint(
        [[each.numpy() for each in part.values()] for part in (model.state_dict(), average)]
        + [moments]
    )


def _configuration(path):
    """A run that goes on lists what has changed, and makes again what it touches."""
    run = RunDirectory(path.parent)
    if changed := Changes(run, CONFIG).settings:
        raise ValueError(f"{path}: {changed[0][:200]}")
    return run.stored_config()


def _library(path):
    library = path.with_name("lib.so")
    if reason := kernels._why_not_usable(library):
        raise ValueError(reason)
    return library.read_bytes()


_READERS = {
    "ensemble": _ensemble,
    "windows": lambda path: WindowData.load(path).fingerprint(),
    "works": lambda path: fingerprint(read_arrays(path, ("forward", "reverse"))),
    "weights": _model,
    "card": _model,
    "checkpoint": _checkpoint,
    "metrics": metrics_until,
    "estimate": lambda path: read_estimate(path).to_dict(),
    "results": read_json,
    "configuration": _configuration,
    "arrays": lambda path: fingerprint(read_arrays(path)),
    "library": _library,
    "library's hash": _library,
}
