"""Frames noised to a place on the learned path, and what the model says of frames there."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.references.noise import effective_variance, log_noise

Array = NDArray[np.float64]
_ATOMS_PER_BATCH = 2560


def noised_frames(
    ensemble: Ensemble, lam: float, n_frames: int, generator: torch.Generator
) -> Tensor:
    """Frames of the ensemble under the noise of `lam`, (n_frames, N, 3), sigma; different frames
    while they last.
    """
    available = len(ensemble.positions_nm)
    order = [
        torch.randperm(available, generator=generator) for _ in range(-(-n_frames // available))
    ]
    frames = torch.as_tensor(ensemble.positions_sigma)[torch.cat(order)[:n_frames]]
    noise = torch.randn(frames.shape, generator=generator, dtype=torch.float64)
    return frames + noise_of(ensemble.state, lam) * noise


def noise_of(state: StatePoint, lam: float) -> Tensor:
    """Standard deviation of the noise at `lam` in each coordinate, (1,), sigma."""
    level = log_noise(torch.tensor([lam], dtype=torch.float64), cubic_box(state.box_length_sigma))
    return effective_variance(level).sqrt()


def dudl_of_frames(
    model: LambdaHamiltonian, positions: Tensor, state: StatePoint, lam: float | Tensor
) -> Array:
    """dU/dlambda in kT of frames (F, N, 3) in sigma, at one lambda or at one each (F,), (F,)."""
    slopes, size = [], max(1, _ATOMS_PER_BATCH // state.n_particles)
    lambdas = torch.as_tensor(lam, dtype=torch.float64).expand(len(positions))
    for part, some in zip(positions.split(size), lambdas.split(size), strict=True):
        at = some.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(model(part, cubic_box(state.box_length_sigma), at).sum(), at)
        slopes.append(slope)
    return torch.cat(slopes).numpy()


def reduced_potentials(
    model: LambdaHamiltonian, positions: Tensor, state: StatePoint, lambdas: Array
) -> Array:
    """U in kT of frames (F, N, 3) in sigma at every lambda, (F, K)."""
    box, at = cubic_box(state.box_length_sigma), torch.as_tensor(lambdas)
    parts = positions.split(max(1, model.atoms_per_chunk // state.n_particles))
    return torch.cat([model.energies_at(part, box, at) for part in parts]).numpy()
