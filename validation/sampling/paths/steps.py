r"""The steps of noising and denoising paths, and their part of the work.

A noising step adds a Gaussian increment of variance delta. A denoising step follows the model back,

.. math:: x_k = x_{k+1} - \delta \nabla U(x_{k+1}) - \sqrt{r} \, A(x_{k+1}) \, z,
          \qquad z \sim N(0, 1),

where A A^T is about exp(-w H) with the two-body Hessian H at x_{k+1} (`stretches`). Both are
Gaussian in the increment, so the logarithm of the ratio of their densities is a plain difference,
for any delta, r and w. `schedule` says how these are chosen.
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
from openmm_nti.validation.sampling.paths.stretches import stretched

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
    pair_weights
        w_k of the Hessian in their covariances, (K,), sigma^2.
    """

    model: NoisedFluid
    state: StatePoint
    levels: Array
    reverse_variances: Array
    pair_weights: Array

    def stretched(
        self, step: int, positions: Tensor, vectors: Tensor, inverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return A z of `vectors` z (B, N, 3), or the inverse of A times z, and ln det A, (B,)."""
        weight, n_paths = float(self.pair_weights[step]), len(positions)
        if weight == 0.0:
            return vectors, torch.zeros(n_paths, dtype=torch.float64)
        log_s = log_s_of(self.levels[step + 1], n_paths)
        weights = torch.full((n_paths,), weight, dtype=torch.float64)
        box = box_of(self.state)
        return stretched(self.model, positions, box, log_s, vectors, weights, inverse)


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
        back = (delta * gradient - increment) / math.sqrt(steps.reverse_variances[step])
        back, log_determinant = steps.stretched(step, positions, back, inverse=True)
        omega = omega + _log_ratio(steps, step, drawn, back, log_determinant)
    return positions, omega


def denoise(
    steps: PathSteps, numbers: range, positions: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Follow denoising paths over some steps, the last of `numbers` first; see `noise`."""
    box, n_paths = box_of(steps.state), len(positions)
    omega = torch.zeros(n_paths, dtype=torch.float64)
    for step in reversed(numbers):
        delta = steps.levels[step + 1] - steps.levels[step]
        gradient = steps.model.gradient(positions, box, log_s_of(steps.levels[step + 1], n_paths))
        drawn = torch.randn(positions.shape, generator=generator, dtype=torch.float64)
        back, log_determinant = steps.stretched(step, positions, drawn)
        increment = delta * gradient - math.sqrt(steps.reverse_variances[step]) * back
        positions = positions - increment
        omega = omega + _log_ratio(
            steps, step, increment / math.sqrt(delta), drawn, log_determinant
        )
    return positions, omega


def _log_ratio(
    steps: PathSteps, step: int, forward: Tensor, reverse: Tensor, log_determinant: Tensor
) -> Tensor:
    """Return ln(reverse density / forward density) of an increment, (B,).

    `forward` and `reverse` (B, N, 3) are the increment in units of both directions' standard
    deviations.
    """
    delta = steps.levels[step + 1] - steps.levels[step]
    wider = 0.5 * math.log(delta / steps.reverse_variances[step]) * forward[0].numel()
    return 0.5 * (forward.square() - reverse.square()).sum((1, 2)) + wider - log_determinant


def log_s_of(variance: float, n_configurations: int) -> Tensor:
    """Return ln s of the noise with s_eff^2 = `variance`, (n_configurations,)."""
    log_s = 0.5 * math.log(variance + NOISE_MIN_SIGMA**2)
    return torch.full((n_configurations,), log_s, dtype=torch.float64)
