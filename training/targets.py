r"""Noised configurations and the score target of least variance.

For x_t = x_0 + s_eff z there are two unbiased targets for grad U at x_t. One is z / s_eff
(denoising; variance 1 / s_eff^2), the other beta grad U(x_0) (target score; variance I_0 = <|beta
grad U|^2> per degree of freedom). Their mixture

.. math:: g^* = (1 - c) \frac{z}{s_{eff}} + c \, \beta \nabla U(x_0), \qquad
          c = \frac{1}{1 + s_{eff}^2 I_0},

has variance I_0 / (1 + s_eff^2 I_0), bounded at every noise level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.references.noise import effective_variance, log_noise_max

_ATOMS_AT_A_TIME = 12_800


@dataclass(frozen=True)
class CleanData:
    """Frames of the interacting fluid and all that the targets need, on one device, float64.

    Attributes
    ----------
    positions
        Positions of the atoms, (F, N, 3), sigma.
    gradient
        beta grad U at the frames, (F, N, 3), 1 / sigma.
    box
        Edges of the box, (3,), sigma.
    gradient_square
        I_0, mean square of `gradient` per degree of freedom, 0-dim, 1 / sigma^2.
    """

    positions: Tensor
    gradient: Tensor
    box: Tensor
    gradient_square: Tensor

    @cached_property
    def log_noise_max(self) -> float:
        """ln s of the largest noise level; read from the device once."""
        return float(log_noise_max(self.box))

    @classmethod
    def from_ensemble(
        cls, ensemble: Ensemble, model: NoisedFluid, device: torch.device | str
    ) -> CleanData:
        """Return the frames of `ensemble`, with the energy gradients of `model`."""
        positions = torch.as_tensor(ensemble.positions_sigma, dtype=torch.float64, device=device)
        box = box_of(ensemble.state, device)
        gradient = torch.cat(
            [
                model.end.gradient(block, box)
                for block in positions.split(frames_at_a_time(positions))
            ]
        )
        return cls(positions, gradient, box, gradient.square().mean())

    def subset(self, index: Tensor) -> CleanData:
        """Return the frames at `index`, with the whole ensemble's I_0."""
        return CleanData(
            self.positions[index], self.gradient[index], self.box, self.gradient_square
        )


@dataclass(frozen=True)
class NoisedBatch:
    """Noised configurations and the targets of their scores."""

    positions: Tensor  # (B, N, 3), sigma
    box: Tensor  # (3,), sigma
    log_s: Tensor  # (B,)
    target: Tensor  # g*, (B, N, 3), 1 / sigma
    precision: Tensor  # one over the variance of the target, (B,), sigma^2

    def bound_terms(self, gradient: Tensor) -> Tensor:
        """Return 2 grad . g* - |grad|^2 of each configuration, (B,), for a model's `gradient`.

        These are what the lower bound adds up. For any gradient their mean is at most that of
        |grad U*|^2.
        """
        return (gradient * (2.0 * self.target - gradient)).sum((1, 2))

    def split(self, size: int) -> list[NoisedBatch]:
        """Return consecutive batches of at most `size` configurations."""
        parts = (
            array.split(size) for array in (self.positions, self.log_s, self.target, self.precision)
        )
        return [
            NoisedBatch(x, self.box, log_s, g, weight)
            for x, log_s, g, weight in zip(*parts, strict=True)
        ]


def frames_at_a_time(positions: Tensor) -> int:
    """Return how many frames to take at a time, so that memory does not grow with N."""
    return max(1, _ATOMS_AT_A_TIME // positions.shape[1])


def noise_batch(clean: CleanData, log_s: Tensor, z: Tensor) -> NoisedBatch:
    """Return the frames of `clean` under noise s_eff z.

    Parameters
    ----------
    clean
        Data of B frames.
    log_s
        Noise level ln s of each frame, (B,).
    z
        Standard normal numbers, (B, N, 3).
    """
    variance = effective_variance(log_s).reshape(-1, 1, 1)
    spread = variance.sqrt()
    share = 1.0 / (1.0 + variance * clean.gradient_square)
    # (1 - c) z / s_eff written so that it is finite at s_eff = 0.
    target = spread * clean.gradient_square * share * z + share * clean.gradient
    precision = (1.0 / clean.gradient_square + variance).reshape(-1)
    return NoisedBatch(clean.positions + spread * z, clean.box, log_s, target, precision)


def antithetic_batch(
    clean: CleanData, frames: Tensor, log_s: Tensor, generator: torch.Generator
) -> NoisedBatch:
    """Return chosen frames under noise z, then the same frames under -z: 2 n configurations.

    Parameters
    ----------
    clean, frames
        Data, and indices of the frames to take, (n,).
    log_s
        Noise level ln s of each of these frames, (n,).
    generator
        Generator of the random noise.
    """
    device = clean.positions.device
    z = torch.randn(
        len(frames), *clean.positions.shape[1:], generator=generator, dtype=torch.float64
    ).to(device)
    chosen = clean.subset(frames.to(device).repeat(2))
    return noise_batch(chosen, log_s.to(device).repeat(2), torch.cat([z, -z]))


def stratified_log_noise(
    n_levels: int,
    log_low: float,
    log_high: float,
    generator: torch.Generator,
    *,
    focus: tuple[float, float] = (-math.inf, math.inf),
    focus_share: float = 0.0,
) -> Tensor:
    """Return `n_levels` values of ln s, one from each of `n_levels` equally probable strata.

    A share `focus_share` falls uniformly between the two values of `focus`. The rest is uniform
    over [log_low, log_high] outside of it.
    """
    place = (
        torch.randperm(n_levels, generator=generator)
        + torch.rand(n_levels, generator=generator, dtype=torch.float64)
    ) / n_levels
    inner_low = max(log_low, focus[0])
    inner_high = min(log_high, focus[1])
    inner = inner_high - inner_low
    whole = log_high - log_low
    if not 0.0 < inner < whole:
        return log_low + whole * place
    below = (1.0 - focus_share) * (inner_low - log_low) / (whole - inner)
    edges = [0.0, below, below + focus_share, 1.0]
    values = [log_low, inner_low, inner_high, log_high]
    return torch.from_numpy(np.interp(place.numpy(), edges, values))
