"""The steps of noising and denoising paths, and their part of the work.

A noising step adds a Gaussian increment. A denoising step follows the model back. Both are Gaussian
in the increment, so the logarithm of the ratio of their densities is a plain difference;
`noising_paths` says what the works are for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.references.noise import NOISE_MIN_SIGMA

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PathSteps:
    """The steps that all paths share.

    Attributes
    ----------
    model
        Gives the gradients.
    state
        The fluid.
    levels
        Variances v_0 = 0 to v_K, (K + 1,), sigma^2.
    reverse_variances
        r_k of the reverse steps, (K,), sigma^2.
    """

    model: NoisedFluid
    state: StatePoint
    levels: Array
    reverse_variances: Array


def noise(
    steps: PathSteps,
    numbers: range,
    positions: Tensor,
    generator: torch.Generator,
    omega: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Follow noising paths over some steps.

    Parameters
    ----------
    steps
        Those of whole paths.
    numbers
        Which of them, ascending.
    positions
        Where the paths begin, (n_paths, N, 3), sigma.
    generator
        Random numbers.
    omega
        To which the steps add their parts of the work, (n_paths,), kT; by default zero.

    Returns
    -------
    positions, omega
        Where the paths end, (n_paths, N, 3), sigma, and the sum, (n_paths,), kT.
    """
    box = box_of(steps.state)
    omega = torch.zeros(len(positions), dtype=torch.float64) if omega is None else omega
    for step in numbers:
        delta = steps.levels[step + 1] - steps.levels[step]
        drawn = torch.randn(positions.shape, generator=generator, dtype=torch.float64)
        increment = math.sqrt(delta) * drawn
        positions = positions + increment
        log_s = log_s_of(steps.levels[step + 1], len(positions))
        gradient = steps.model.gradient(positions, box, log_s)
        omega = omega + _log_ratio(increment, gradient, delta, steps.reverse_variances[step])
    return positions, omega


def denoise(
    steps: PathSteps, numbers: range, positions: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Follow denoising paths over some steps, the last of `numbers` first; see `noise`."""
    box, n_paths = box_of(steps.state), len(positions)
    omega = torch.zeros(n_paths, dtype=torch.float64)
    for step in reversed(numbers):
        delta = steps.levels[step + 1] - steps.levels[step]
        reverse_variance = steps.reverse_variances[step]
        gradient = steps.model.gradient(positions, box, log_s_of(steps.levels[step + 1], n_paths))
        drawn = torch.randn(positions.shape, generator=generator, dtype=torch.float64)
        increment = delta * gradient - math.sqrt(reverse_variance) * drawn
        positions = positions - increment
        omega = omega + _log_ratio(increment, gradient, delta, reverse_variance)
    return positions, omega


def _log_ratio(
    increment: Tensor, gradient: Tensor, delta: float, reverse_variance: float
) -> Tensor:
    """Return ln(reverse density / forward density) of forward increments (B, N, 3), as (B,)."""
    forward = increment.square() / delta
    reverse = (increment - delta * gradient).square() / reverse_variance
    per_coordinate = 0.5 * (forward - reverse) + 0.5 * math.log(delta / reverse_variance)
    return per_coordinate.sum((1, 2))


def log_s_of(variance: float, n_configurations: int) -> Tensor:
    """Return ln s of the noise with s_eff^2 = `variance`, (n_configurations,)."""
    log_s = 0.5 * math.log(variance + NOISE_MIN_SIGMA**2)
    return torch.full((n_configurations,), log_s, dtype=torch.float64)
