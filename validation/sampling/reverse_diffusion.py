r"""`ReverseDiffusion`: samples that start uniform in the box and are denoised level by level.

This is ancestral sampling of the variance-exploding process, from s = s_max down,

.. math:: x_{k-1} = x_k - \Delta v \, \nabla U(x_k) + \sqrt{\Delta v \, v_{k-1} / v_k} \; z, \qquad
          v = s_{eff}^2, \quad \Delta v = v_k - v_{k-1}.

After each step a `Corrector` (Song et al., arXiv 2011.13456) may bring the samples nearer to
exp(-U) of the level reached. It is generalised hybrid Monte Carlo (A. M. Horowitz, Phys. Lett. B
268, 247 (1991)). In each step momenta forget a part of themselves,

.. math:: p \leftarrow c \, p + \sqrt{1 - c^2} \, \xi, \qquad c = e^{-\gamma \epsilon},

and one leapfrog step of length epsilon follows. It is accepted with probability
min(1, exp(-Delta H)); otherwise the atoms stay and their momenta are reversed. So exp(-U) is kept
for any length of the step. Langevin dynamics without acceptance would heat or cool what is stiff:
in a gas a few pairs are in touch, far stiffer than the mean force says. Momenta are handed on from
level to level, so that a few steps at each make one long trajectory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.references.noise import effective_variance, log_noise
from openmm_nti.validation.sampling.hmc import choose

Array = NDArray[np.float64]
# In units of sigma and sigma sqrt(m / kT):
_FIRST_STEP = 0.15  # times the inverse of the root mean square force
_LONGEST_STEP = 0.06
_FRICTION = 1.0
_ACCEPTANCE = 0.97  # a path between two rejections is then longer than the friction's
_MOST_SCALES = (0.005, 0.5)


class Point(NamedTuple):
    """Positions of samples, and the model's energy and its derivatives there."""

    positions: Tensor  # (B, N, 3), sigma
    energy: Tensor  # (B,), kT
    gradient: Tensor  # (B, N, 3), kT / sigma
    slope: Tensor  # dU/dlambda, (B,), kT


def evaluate(model: LambdaHamiltonian, positions: Tensor, box: Tensor, lam: Tensor) -> Point:
    """Return the `Point` of `positions` (B, N, 3) at one lambda, a scalar tensor."""
    x = positions.detach().requires_grad_(True)
    lambdas = lam.expand(len(positions)).clone().requires_grad_(True)
    energy = model(x, box, lambdas)
    gradient, slope = torch.autograd.grad(energy.sum(), (x, lambdas))
    return Point(positions, energy.detach(), gradient, slope)


class Corrector:
    """Langevin dynamics of samples on their way through the levels, without bias.

    Attributes
    ----------
    acceptance
        Mean probability with which the steps of the last level were accepted.

    Parameters
    ----------
    shape
        Shape of the positions, (B, N, 3).
    generator
        Random numbers.
    """

    def __init__(self, shape: tuple[int, ...], generator: torch.Generator) -> None:
        self._generator = generator
        self._momenta = self._normal(shape)
        self._scale = _FIRST_STEP
        self.acceptance = 1.0

    def relax(self, evaluated: Callable[[Tensor], Point], point: Point, n_steps: int) -> Point:
        """Return the samples after `n_steps` steps of equal length at one level.

        The length of later steps is then adapted to the acceptance.

        Parameters
        ----------
        evaluated
            Returns the `Point` at positions (B, N, 3).
        point
            The samples at this level.
        n_steps
            Number of steps, each with one evaluation.

        Returns
        -------
        Point
            The samples after the steps, unwrapped.
        """
        force = max(float(point.gradient.square().mean().sqrt()), 1e-9)
        step = min(self._scale / force, _LONGEST_STEP)
        kept = math.exp(-_FRICTION * step)
        chances = []
        for _ in range(n_steps):
            fresh = self._normal(self._momenta.shape)
            before = kept * self._momenta + math.sqrt(1.0 - kept * kept) * fresh
            half = before - 0.5 * step * point.gradient
            new = evaluated(point.positions + step * half)
            after = half - 0.5 * step * new.gradient
            kinetic = 0.5 * (after.square() - before.square()).sum(dim=(1, 2))
            rise = new.energy - point.energy + kinetic
            chance = torch.exp(-rise.clamp(min=0.0)).nan_to_num(nan=0.0)
            uniform = torch.rand(len(chance), generator=self._generator, dtype=torch.float64)
            accepted = uniform < chance
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


class Trajectories(NamedTuple):
    """What reverse diffusion leaves of K levels."""

    dudl: Array  # dU/dlambda at every level, (n_samples, K), kT
    work: Array  # gradient times noise of every step, (n_samples, K - 1), kT
    positions_sigma: Array  # final positions, (n_samples, N, 3), sigma


@dataclass(frozen=True)
class ReverseDiffusion:
    """Samples of a model by reverse diffusion.

    Attributes
    ----------
    model
        A trained `LambdaHamiltonian`.
    state
        The state point.
    lambdas
        The levels, ascending from 0 to 1, (K,).
    corrector_steps
        Steps of the corrector at each level; 0 for none.
    """

    model: LambdaHamiltonian
    state: StatePoint
    lambdas: Array
    corrector_steps: int

    def run(
        self,
        n_samples: int,
        generator: torch.Generator,
        bar: Callable[[Sequence[int]], Iterable[int]] = iter,
    ) -> Trajectories:
        """Return `n_samples` independent trajectories.

        Parameters
        ----------
        n_samples
            Number of trajectories.
        generator
            Random numbers.
        bar
            Yields the numbers of the levels it is given, perhaps with a progress bar.

        Raises
        ------
        ValueError
            If a trajectory runs into NaN.
        """
        box = box_of(self.state)
        lambdas = torch.from_numpy(self.lambdas)
        variance = effective_variance(log_noise(lambdas, box))
        shape = (n_samples, self.state.n_particles, 3)
        positions = self.model.reference.sample(*shape[:2], box, generator)
        corrector = Corrector(shape, generator) if self.corrector_steps else None
        slopes = []
        work = []
        for level in bar(range(len(lambdas))):
            evaluated = partial(evaluate, self.model, box=box, lam=lambdas[level])
            point = evaluated(positions)
            if level and corrector is not None:
                point = corrector.relax(evaluated, point, self.corrector_steps)
            slopes.append(point.slope)
            if not bool(torch.isfinite(point.gradient).all()):
                raise ValueError(
                    f"reverse diffusion ran into NaN at lambda = {float(lambdas[level]):.3f}: "
                    "take more n_steps"
                )
            if level < len(lambdas) - 1:
                before = variance[level]
                after = variance[level + 1]
                spread = ((before - after) * after / before).sqrt()
                noise = spread * torch.randn(shape, generator=generator, dtype=torch.float64)
                work.append((point.gradient * noise).sum((1, 2)))
                drift = (before - after) * point.gradient
                positions = (point.positions - drift + noise).remainder(box)
        return Trajectories(
            torch.stack(slopes, dim=1).numpy(),
            torch.stack(work, dim=1).numpy(),
            point.positions.remainder(box).numpy(),
        )
