"""Frames with the noise of a lambda on the learned path, and the model's energies of frames."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.references.noise import effective_variance, log_noise

Array = NDArray[np.float64]
_ATOMS_PER_BATCH = 2560


def noised_frames(
    ensemble: Ensemble, lam: float, n_frames: int, generator: torch.Generator
) -> Tensor:
    """Return frames of the ensemble with the noise of `lam`, (n_frames, N, 3), sigma.

    They are different frames as long as there are enough.
    """
    available = len(ensemble.positions_nm)
    order = [
        torch.randperm(available, generator=generator) for _ in range(-(-n_frames // available))
    ]
    frames = torch.as_tensor(ensemble.positions_sigma)[torch.cat(order)[:n_frames]]
    noise = torch.randn(frames.shape, generator=generator, dtype=torch.float64)
    return frames + noise_of(ensemble.state, lam) * noise


def noise_of(state: StatePoint, lam: float) -> Tensor:
    """Return the standard deviation of the noise at `lam` in each coordinate, (1,), sigma."""
    level = log_noise(torch.tensor([lam], dtype=torch.float64), box_of(state))
    return effective_variance(level).sqrt()


def dudl_of_frames(
    model: LambdaHamiltonian, positions: Tensor, state: StatePoint, lam: float | Tensor
) -> Array:
    """Return dU/dlambda of frames, (F,), kT.

    Parameters
    ----------
    model
        Gives the energy.
    positions
        The frames, (F, N, 3), sigma.
    state
        Their state point.
    lam
        One lambda for all frames, or one for each, (F,).
    """
    slopes = []
    size = max(1, _ATOMS_PER_BATCH // state.n_particles)
    box = box_of(state)
    lambdas = torch.as_tensor(lam, dtype=torch.float64).expand(len(positions))
    for part, some in zip(positions.split(size), lambdas.split(size), strict=True):
        path = some.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(model(part, box, path).sum(), path)
        slopes.append(slope)
    return torch.cat(slopes).numpy()


def reduced_potentials(
    model: LambdaHamiltonian, positions: Tensor, state: StatePoint, lambdas: Array
) -> Array:
    """Return U of frames (F, N, 3) in sigma at every lambda, (F, K), kT."""
    box = box_of(state)
    path = torch.as_tensor(lambdas)
    parts = positions.split(max(1, model.atoms_per_chunk // state.n_particles))
    return torch.cat([model.energies_at(part, box, path) for part in parts]).numpy()
