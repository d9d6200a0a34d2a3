"""The denoising bound of a model alone: E|grad ln q_s|^2 from below at each level of noise, and its integral.

The integral over ln s is done by Gauss-Legendre quadrature; at each node antithetic noise and regression cut the noise
of the average: on |z|^2 - 3N and on |beta grad U_LJ|^2 - beta lap U_LJ, whose means are exactly zero (the second by
partial integration, for a potential with continuous forces), and on the frame's beta U_LJ, whose mean comes from all
frames. Levels share frames, so the standard error is that of what each frame moves at all levels together.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.noise import NOISE_MIN_SIGMA, log_noise_max
from openmm_nti.tasks import derive_seed, track
from openmm_nti.training.targets import CleanData, antithetic_batch, frames_at_a_time

Array = NDArray[np.float64]
_ATOMS_PER_BATCH = 2560


def model_bound(
    model: NoisedFluid, ensemble: Ensemble, n_levels: int, n_pairs: int, *, seed: int, progress: bool = False
) -> FreeEnergy:
    """Lower bound on beta F_ex by the model alone; `bounds.estimate` has the rest.

    Parameters
    ----------
    model
        Any `LambdaHamiltonian` or `Denoiser` of the ensemble's pair potential.
    ensemble
        Decorrelated frames of the interacting fluid.
    n_levels, n_pairs
        Levels of noise, and antithetic pairs of noised frames at each, on average.
    seed
        Of the noise and the choice of frames.
    progress
        Show a progress bar with the time left.
    """
    data = CleanData.from_ensemble(ensemble, model, "cpu")
    generator = torch.Generator().manual_seed(derive_seed(seed, "bound", ensemble.state.label))
    nodes, weights = np.polynomial.legendre.leggauss(n_levels)
    low, high = math.log(NOISE_MIN_SIGMA), float(log_noise_max(data.box))
    log_s = low + 0.5 * (high - low) * (nodes + 1.0)
    # d(s_eff^2) = 2 s^2 d(ln s), and the bound has a factor 1/2.
    weights = weights * 0.5 * (high - low) * np.exp(2.0 * log_s)
    energies = np.asarray(ensemble.reduced_potentials)
    features = torch.stack([torch.as_tensor(energies), _force_identity(model, data)], dim=1)
    means_of_features = features.mean(0)
    if ensemble.state.convention == "switched":
        means_of_features[1] = 0.0  # exactly, where the force has no jump
    means, errors, slopes_of_levels, pulls = _all_levels(
        model, data, features - means_of_features, log_s, weights, n_pairs, generator, progress
    )
    slopes = weights @ slopes_of_levels
    if ensemble.state.convention == "switched":
        slopes[1] = 0.0
    per_frame = energies + features.numpy() @ slopes
    frame_error = per_frame.std(ddof=1) / math.sqrt(energies.size)
    value = float(energies.mean() + weights @ means)
    pulls_of_frames = (per_frame - per_frame.mean()) / energies.size + weights @ pulls
    std_err = float(np.linalg.norm(pulls_of_frames) * math.sqrt(energies.size / (energies.size - 1)))
    return FreeEnergy(
        value=value,
        std_err=std_err,
        method="neural_ti_bound",
        convention=ensemble.state.convention,
        n_particles=ensemble.state.n_particles,
        diagnostics={
            "mean_energy_kt": float(energies.mean()),
            "mean_energy_err": float(energies.std(ddof=1) / math.sqrt(energies.size)),
            "frame_err": float(frame_error),
            "noise_sigma": np.exp(log_s).tolist(),
            "contribution_kt": (weights * means).tolist(),
            "contribution_err": (weights * errors).tolist(),
            "bound": "lower",
            "model_bound": value,
            "model_bound_err": std_err,
            "network": model.network_config.kind if model.network_config else "none",
        },
    )


def _all_levels(
    model: NoisedFluid,
    data: CleanData,
    features: Tensor,
    log_s: Array,
    weights: Array,
    n_pairs: int,
    generator: torch.Generator,
    progress: bool,
) -> tuple[Array, Array, Array, Array]:
    """`_information` at every level: means (K,), errors (K,), slopes (K, 2), pulls (K, F).

    A quarter of the effort finds how much each level adds to the error; the rest is shared out in that proportion.
    """
    n_pilot = max(8, n_pairs // 4)
    pilot = np.array([_information(model, data, features, level, n_pilot, generator)[1] for level in log_s])
    shares = weights * pilot / (weights * pilot).sum()
    pairs_of_levels = np.maximum(8, np.rint(0.75 * n_pairs * len(log_s) * shares)).astype(int)
    levels = track(list(zip(log_s, pairs_of_levels, strict=True)), "noise levels", shown=progress)
    fits = [_information(model, data, features, level, int(n), generator) for level, n in levels]
    means, errors, slopes, pulls = (np.array(each) for each in zip(*fits, strict=True))
    return means, errors, slopes, pulls


def _information(
    model: NoisedFluid,
    data: CleanData,
    features: Tensor,
    log_s: float,
    n_pairs: int,
    generator: torch.Generator,
) -> tuple[float, float, Array, Array]:
    """2 E[grad U . g*] - E|grad U|^2 at one noise level.

    Its mean, standard error, slopes on the centred `features` (F, 2), and by how much each frame moves the mean, (F,).
    """
    n_frames, n_particles = data.positions.shape[0], data.positions.shape[1]
    order = [torch.randperm(n_frames, generator=generator) for _ in range(-(-n_pairs // n_frames))]
    frames = torch.cat(order)[:n_pairs]
    values, noise_squares = [], []
    for part in frames.split(max(1, _ATOMS_PER_BATCH // (2 * n_particles))):
        levels = torch.full((len(part),), log_s, dtype=torch.float64)
        batch, z = antithetic_batch(data, part, levels, generator)
        gradient = model.gradient(batch.positions, batch.box, batch.log_s)
        values.append(batch.worth(gradient).reshape(2, -1).mean(0))
        noise_squares.append(z.square().sum((1, 2)) - 3.0 * n_particles)
    controls = torch.cat([torch.cat(noise_squares).unsqueeze(1), features[frames]], dim=1)
    mean, error, slopes, pulls = _regression(torch.cat(values).numpy(), controls.numpy())
    pulls_of_frames = np.bincount(frames.numpy(), weights=pulls, minlength=n_frames).astype(np.float64)
    return mean, error, slopes[1:], pulls_of_frames


def _force_identity(model: NoisedFluid, data: CleanData) -> Tensor:
    """|beta grad U_LJ|^2 - beta lap U_LJ of each frame, (F,), 1 / sigma^2: zero on average in equilibrium."""
    laplacian = torch.cat(
        [
            model.lennard_jones_laplacian(block, data.box)
            for block in data.positions.split(frames_at_a_time(data.positions))
        ]
    )
    return data.gradient.square().sum((1, 2)) - laplacian


def regressed_mean(values: Array, controls: Array) -> tuple[float, float, Array]:
    """Mean of `values` (n,) where `controls` (n, c) are zero, by linear regression; its standard error; slopes (c,)."""
    return _regression(values, controls)[:3]


def _regression(values: Array, controls: Array) -> tuple[float, float, Array, Array]:
    """`regressed_mean`, and by how much each value moves the mean, (n,)."""
    scale = np.maximum(controls.std(axis=0), 1e-300)
    design = np.column_stack([np.ones(values.size), controls / scale])
    coefficients, *_ = np.linalg.lstsq(design, values, rcond=None)
    residual = values - design @ coefficients
    freedom = max(1, values.size - design.shape[1])
    error = math.sqrt(residual @ residual / freedom * np.linalg.pinv(design.T @ design)[0, 0])
    pulls = np.linalg.pinv(design)[0] * residual * math.sqrt(values.size / freedom)
    return float(coefficients[0]), error, coefficients[1:] / scale, pulls
