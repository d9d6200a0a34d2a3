"""One small file of every kind that the package writes, and what its reader finds in it."""

import numpy as np
import torch

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NetworkConfig, build_model
from openmm_nti.model_files import load_any_model, read_card, save_model
from openmm_nti.runtime.stored import fingerprint, read_arrays
from openmm_nti.training.checkpoint import load_checkpoint, save_checkpoint
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
}


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


def training():
    """Return a new model with all that a checkpoint restores."""
    torch.manual_seed(0)
    model = build_model(STATE.pair_potential, NetworkConfig(width=8))
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return model, average, torch.optim.Adam(model.parameters())


def content(kind, path):
    """Return all that the reader of a kind of file finds in it, as something to compare."""
    if kind == "ensemble":
        data = Ensemble.load(path)
        return data.fingerprint(), data.provenance, data.state.model_dump_json()
    if kind == "windows":
        return WindowData.load(path).fingerprint()
    if kind == "works":
        return fingerprint(read_arrays(path, ("forward", "reverse")))
    if kind in {"weights", "card"}:
        return load_any_model(path.parent).fingerprint(), read_card(path.parent)
    model, average, optimiser = training()
    facts = load_checkpoint(path, model, average, optimiser, inputs="x")
    moments = [
        value.numpy() for one in optimiser.state_dict()["state"].values() for value in one.values()
    ]
    return facts, fingerprint(
        [[each.numpy() for each in part.values()] for part in (model.state_dict(), average)]
        + [moments]
    )
