"""Calculations of the reproduction that compare structures, open boxes and a toy: no estimates."""

from __future__ import annotations

import numpy as np

from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.runtime.stored import read_arrays
from openmm_nti.validation.analysis import gr
from openmm_nti.validation.analysis.observables import PAPER_OFFSET
from openmm_nti.validation.paper import toy
from openmm_nti.validation.paper.work import Found, PaperTask
from openmm_nti.validation.sampling import grand_canonical

_G_RANGE = (0.8, 3.0)  # sigma; where g(r) of data and samples are compared


def radial_distributions(task: PaperTask) -> Found:
    """Compare g(r) and energies of the data and of the samples that the task `neural_ti` left."""
    state, ensemble = task.work.state(task.n), task.work.ensemble(task.n)
    samples_file = task.work.path("neural_ti", task.n).with_suffix(".npz")
    if not samples_file.is_file():
        raise ValueError("neural_ti has left no samples here: see its own file for the reason")
    samples = read_arrays(samples_file, ("positions_sigma",))
    sets = {"data": ensemble.positions_sigma, "samples": samples["positions_sigma"]}
    arrays: dict[str, np.ndarray] = {}
    energies = {}
    for name, positions in sets.items():
        r, g, error = gr.with_errors(positions, state.edges_sigma)
        arrays |= {"r": r, f"g_{name}": g, f"err_{name}": error}
        energies[name] = reduced_potential_numpy(positions, state) / state.n_particles
    inside = (arrays["r"] >= _G_RANGE[0]) & (arrays["r"] <= _G_RANGE[1])
    difference = (arrays["g_samples"] - arrays["g_data"])[inside]
    noise = (arrays["err_samples"] ** 2 + arrays["err_data"] ** 2)[inside]
    errors = [float(one.std(ddof=1)) / len(one) ** 0.5 for one in energies.values()]
    facts = {
        "density_star": state.density_star,
        "n_frames": len(sets["data"]),
        "n_samples": len(sets["samples"]),
        "rms": float(np.sqrt((difference**2).mean())),
        "rms_expected_of_noise": float(np.sqrt(noise.mean())),
        "energy_difference_kt": float(energies["samples"].mean() - energies["data"].mean()),
        "energy_difference_err": float(np.hypot(*errors)),
        "energy_difference_median_kt": float(
            np.median(energies["samples"]) - np.median(energies["data"])
        ),
    }
    return Found([], facts, arrays)


def open_box(task: PaperTask) -> Found:
    """Return the mean number of particles at a chemical potential, by Monte Carlo."""
    work = task.work
    box = grand_canonical.sample(
        work.state(work.preset.grid[0]),
        task.at + PAPER_OFFSET,
        work.preset.gcmc,
        execution=task.execution,
    )
    facts = {
        "beta_mu": box.beta_mu,
        "mean_number": box.mean_number,
        "std_err": box.std_err,
        "drift": box.drift,
    }
    return Found([], facts, {"p": box.distribution})


def two_gaussians(task: PaperTask) -> Found:
    """Return ln Z of the one-dimensional example, which is known."""
    found = toy.run(task.work.preset.toy, task.execution)
    facts = {name: getattr(found, name) for name in ("noised", "noised_err", "exact", "exact_err")}
    arrays = {name: getattr(found, name) for name in ("lambdas", "slope_noised", "slope_exact")}
    return Found([], {**facts, "log_z": toy.LOG_Z}, arrays)
