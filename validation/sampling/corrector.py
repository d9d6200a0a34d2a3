r"""Langevin dynamics that brings reverse-diffusion samples to equilibrium with exp(-U) at each
level, without bias.

Generalised hybrid Monte Carlo (A. M. Horowitz, Phys. Lett. B 268, 247 (1991)): in each step momenta
forget a part of themselves,

.. math:: p \leftarrow c \, p + \sqrt{1 - c^2} \, \xi, \qquad c = e^{-\gamma \epsilon},

one leapfrog step of length epsilon follows, and is accepted with probability min(1, exp(-Delta H));
otherwise the atoms stay and turn round. So exp(-U) is kept whatever the step, where Langevin
dynamics as such heats or cools what is stiff: in a gas a few pairs are in touch, far stiffer than
the mean force says. Momenta go along from level to level, so that a few steps at each make one long
trajectory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.validation.sampling.hmc import choose

# In units of sigma and sigma sqrt(m / kT): the first step over the root mean square force's
# inverse, the longest step, and the friction.
_FIRST_STEP = 0.15
_LONGEST_STEP = 0.06
_FRICTION = 1.0
_ACCEPTANCE = 0.97  # a path between two rejections is then longer than the friction's
_MOST_SCALES = (0.005, 0.5)


class Point(NamedTuple):
    """Where the samples are, and what the model says there."""

    positions: Tensor  # (B, N, 3), sigma
    energy: Tensor  # (B,), kT
    gradient: Tensor  # (B, N, 3), kT / sigma
    slope: Tensor  # dU/dlambda, (B,), kT


def evaluate(model: LambdaHamiltonian, positions: Tensor, box: Tensor, lam: Tensor) -> Point:
    """The `Point` at `positions` (B, N, 3) and one lambda, 0-dim."""
    x = positions.detach().requires_grad_(True)
    at = lam.expand(len(positions)).clone().requires_grad_(True)
    energy = model(x, box, at)
    gradient, slope = torch.autograd.grad(energy.sum(), (x, at))
    return Point(positions, energy.detach(), gradient, slope)


class Corrector:
    """Momenta and step of some samples, on their way through the levels.

    Attributes
    ----------
    acceptance
        Mean probability with which the steps of the last level were accepted.

    Parameters
    ----------
    shape
        Of the positions, (B, N, 3).
    generator
        Decides everything random.
    """

    def __init__(self, shape: tuple[int, ...], generator: torch.Generator) -> None:
        self._generator = generator
        self._momenta = self._normal(shape)
        self._scale = _FIRST_STEP
        self.acceptance = 1.0

    def relax(self, evaluated: Callable[[Tensor], Point], point: Point, n_steps: int) -> Point:
        """Make `n_steps` steps at one level, all of one length, then suit the length of later ones
        to the acceptance.

        Parameters
        ----------
        evaluated
            The `Point` at positions (B, N, 3).
        point
            Where the samples are at this level.
        n_steps
            Number of steps, each with one evaluation.

        Returns
        -------
        Point
            Where they end, unwrapped.
        """
        step = min(
            self._scale / max(float(point.gradient.square().mean().sqrt()), 1e-9), _LONGEST_STEP
        )
        kept, chances = math.exp(-_FRICTION * step), []
        for _ in range(n_steps):
            before = kept * self._momenta + math.sqrt(1.0 - kept * kept) * self._normal(
                self._momenta.shape
            )
            half = before - 0.5 * step * point.gradient
            new = evaluated(point.positions + step * half)
            after = half - 0.5 * step * new.gradient
            rise = (
                new.energy - point.energy + 0.5 * (after.square() - before.square()).sum(dim=(1, 2))
            )
            chance = torch.exp(-rise.clamp(min=0.0)).nan_to_num(nan=0.0)
            accepted = (
                torch.rand(len(chance), generator=self._generator, dtype=torch.float64) < chance
            )
            point = Point(
                *(choose(accepted, there, here) for there, here in zip(new, point, strict=True))
            )
            self._momenta = choose(accepted, after, -before)
            chances.append(chance.mean())
        self.acceptance = float(torch.stack(chances).mean())
        change = math.exp(0.1 * max(-1.0, (self.acceptance - _ACCEPTANCE) / (1.0 - _ACCEPTANCE)))
        self._scale = min(max(change * self._scale, _MOST_SCALES[0]), _MOST_SCALES[1])
        return point

    def _normal(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self._generator, dtype=torch.float64)
