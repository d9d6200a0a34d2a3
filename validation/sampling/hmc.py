r"""Hamiltonian Monte Carlo of many chains at many couplings at once, without OpenMM.

A move gives every chain momenta p ~ N(0, 1), integrates H = U(x, lambda) + p^2 / 2 by leapfrog,

.. math::

    p \leftarrow p - \tfrac{\epsilon}{2} \nabla U(x), \quad x \leftarrow x + \epsilon \, p,
    \quad p \leftarrow p - \tfrac{\epsilon}{2} \nabla U(x), \qquad \text{several times,}

and is accepted with probability min(1, exp(-Delta H)): then the samples are those of U whatever the
step (S. Duane, A. D. Kennedy, B. J. Pendleton and D. Roweth, Phys. Lett. B 195, 216 (1987)). All
chains are one batch of torch, each with its own lambda. Units are sigma, kT and sigma sqrt(m / kT).

Each move draws its step around that of its window, for a fixed path can come back to where it began
(P. B. Mackenzie, Phys. Lett. B 226, 369 (1989)). `equilibrate` adapts the steps of the windows;
later they must not change, or the distribution would.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.runtime.context import Execution, takes_execution

Array = NDArray[np.float64]
ATOMS_PER_BATCH = 5120  # on one processor core the time for an atom falls up to here
Potential = Callable[[Tensor, Tensor, Tensor], Tensor]

# Between 0.6 and 0.9 all are about as good (M. Betancourt et al., arXiv 1411.6669).
_ACCEPTANCE = 0.8
_JITTER = 0.3
# in units of the root mean square force's inverse, which is the time scale of a harmonic fluid
_FIRST_STEP = 0.2
_SHORTEST_STEP = 1e-5
_LONGEST_STEP = 0.1  # in box edges; free particles gain nothing from more
_LARGEST_FACTOR = math.log(2.0)  # of one adaptation


class Point(NamedTuple):
    """Where the chains are, and what the potential says there."""

    positions: Tensor  # (B, N, 3), sigma
    energy: Tensor  # (B,), kT
    gradient: Tensor  # (B, N, 3), kT / sigma


class Samples(NamedTuple):
    """Frames of all windows, with acceptance and steps."""

    positions: Tensor  # (K, C, n_frames, N, 3), sigma, unwrapped
    acceptance: Tensor  # (K,), mean probability with which a move was accepted
    step: Tensor  # (K,), mean leapfrog step, sigma sqrt(m / kT)


@takes_execution
def sample(
    potential: Potential,
    box: Tensor,
    lambdas: Tensor,
    start: Tensor,
    *,
    n_frames: int,
    n_steps: int,
    equilibration_steps: int,
    execution: Execution,
) -> Samples:
    """Return a frame of C chains in each of K windows after each of `n_frames` moves.

    Parameters
    ----------
    potential, box
        As for `evaluate`.
    lambdas
        The windows, (K,).
    start
        Where the chains begin, (K, C, N, 3), sigma.
    n_frames
        Moves made, and frames kept, of each chain.
    n_steps
        Leapfrog steps of a move.
    equilibration_steps
        Leapfrog steps before the first frame, in moves half as long: more of them to find the steps
        by.
    execution
        Its seed decides all moves.
    """
    effort = {"n_steps": n_steps, "equilibration_steps": equilibration_steps}
    chains = equilibrated(potential, box, lambdas, start, **effort, execution=execution)
    frames, acceptance = [], []
    for _ in range(n_frames):
        acceptance.append(chains.move(n_steps).mean(dim=1))
        frames.append(chains.positions)
    return Samples(torch.stack(frames, dim=2), torch.stack(acceptance).mean(dim=0), chains.step)


@takes_execution
def equilibrated(
    potential: Potential,
    box: Tensor,
    lambdas: Tensor,
    start: Tensor,
    *,
    n_steps: int,
    equilibration_steps: int,
    execution: Execution,
) -> Chains:
    """Return the chains before the first frame of `sample`, which takes the same arguments."""
    generator = torch.Generator().manual_seed(execution.seed)
    chains = Chains(potential, box, lambdas, start, generator)
    short = max(1, n_steps // 2)
    chains.equilibrate(math.ceil(equilibration_steps / short), short)
    return chains


def evaluate(potential: Potential, positions: Tensor, box: Tensor, lam: Tensor) -> Point:
    """Return energies and their gradients, from one evaluation.

    Parameters
    ----------
    potential
        A `LambdaHamiltonian`, or any function of the same arguments that knows about periodic
        images itself.
    positions
        (B, N, 3), sigma; unwrapped positions are fine.
    box
        Edges of the box, (3,), sigma.
    lam
        Coupling of each configuration, (B,).
    """
    energies, gradients = [], []
    size = max(1, ATOMS_PER_BATCH // positions.shape[1])
    for part, coupling in zip(positions.detach().split(size), lam.split(size), strict=True):
        x = part.clone().requires_grad_(True)
        energy = potential(x, box, coupling)
        gradients.append(torch.autograd.grad(energy.sum(), x)[0])
        energies.append(energy.detach())
    return Point(positions, torch.cat(energies), torch.cat(gradients))


def leapfrog(
    evaluated: Callable[[Tensor], Point], point: Point, momenta: Tensor, step: Tensor, n_steps: int
) -> tuple[Point, Tensor]:
    """Follow Hamilton's equations for `n_steps`; with reversed momenta the path leads back.

    Parameters
    ----------
    evaluated
        The `Point` at positions (B, N, 3).
    point
        Where the paths begin.
    momenta
        (B, N, 3), sqrt(m kT).
    step
        Of each path, (B,), sigma sqrt(m / kT).
    n_steps
        Number of steps, each with one evaluation.

    Returns
    -------
    Point
        Where the paths end.
    Tensor
        The momenta there, (B, N, 3).
    """
    step = step[:, None, None]
    for _ in range(n_steps):
        momenta = momenta - 0.5 * step * point.gradient
        point = evaluated(point.positions + step * momenta)
        momenta = momenta - 0.5 * step * point.gradient
    return point, momenta


class Chains:
    """C independent chains in each of K windows.

    Attributes
    ----------
    step
        Mean leapfrog step of each window, sigma sqrt(m / kT). Shape (K,).

    Parameters
    ----------
    potential
        As for `evaluate`.
    box
        Edges of the box, (3,), sigma.
    lambdas
        The windows, (K,).
    start
        Where the chains begin, (K, C, N, 3), sigma; the results lie on its device.
    generator
        Of torch, on the CPU: decides all moves.
    """

    def __init__(
        self,
        potential: Potential,
        box: Tensor,
        lambdas: Tensor,
        start: Tensor,
        generator: torch.Generator,
    ) -> None:
        self._n_windows, self._n_chains = start.shape[:2]
        lam = lambdas.to(start.device).repeat_interleave(self._n_chains)
        self._evaluated = lambda positions: evaluate(potential, positions, box, lam)
        self._generator = generator
        self._point = self._evaluated(start.flatten(0, 1))
        self._longest_step = _LONGEST_STEP * float(box.min())
        squares = self._by_window(self._point.gradient.square().mean(dim=(1, 2)))
        force = squares.median(dim=1).values.sqrt()
        self.step = (_FIRST_STEP / force).clamp(_SHORTEST_STEP, self._longest_step)

    @property
    def positions(self) -> Tensor:
        """Where the chains are now, unwrapped. Shape (K, C, N, 3), sigma."""
        return self._point.positions.unflatten(0, (self._n_windows, self._n_chains))

    def equilibrate(self, n_moves: int, n_steps: int) -> None:
        """Make `n_moves` moves of `n_steps`, and adapt the step of each window after each of them.

        Later adaptations are smaller.

        In equilibrium Delta H is nearly normal, of mean d^2 / 2 and standard deviation d ~ step^2,
        and the mean acceptance is 2 Phi(-d / 2) (R. M. Neal, Handbook of Markov Chain Monte Carlo,
        ch. 5 (2011)). Solved for the step, that finds the wanted acceptance within a few moves;
        where the law fails, the limit is the same.

        Parameters
        ----------
        n_moves
            Number of moves.
        n_steps
            Leapfrog steps of each.
        """
        wanted = torch.special.ndtri(torch.tensor(0.5 * _ACCEPTANCE, dtype=torch.float64)).abs()
        tried = []
        for number in range(1, n_moves + 1):
            acceptance = self.move(n_steps).mean(dim=1)
            growth = 0.5 * (wanted / torch.special.ndtri(0.5 * acceptance).abs()).log()
            growth = growth.clamp(-_LARGEST_FACTOR, _LARGEST_FACTOR) / math.sqrt(number)
            self.step = (self.step * growth.exp()).clamp(_SHORTEST_STEP, self._longest_step)
            tried.append(self.step.log())
        if tried:  # the later half together: a few chains make a noisy mean
            self.step = torch.stack(tried[n_moves // 2 :]).mean(dim=0).exp()

    def advance(self, n_steps: int) -> Array:
        """Try one move of every chain; return the mean acceptance of each window, (K,)."""
        return self.move(n_steps).mean(dim=1).numpy()

    def place(self, positions: Tensor) -> None:
        """Go on from `positions`, (K, C, N, 3), sigma."""
        self._point = self._evaluated(positions.flatten(0, 1))

    def move(self, n_steps: int) -> Tensor:
        """Try one move of every chain; return the probability of its acceptance, (K, C).

        Parameters
        ----------
        n_steps
            Leapfrog steps of the move.
        """
        start, shape = self._point, self._point.positions.shape
        momenta, draws = self._normal(shape), self._uniform(shape[:1])
        factor = 1.0 + _JITTER * (2.0 * self._uniform(shape[:1]) - 1.0)
        step = self.step.repeat_interleave(self._n_chains) * factor
        end, final_momenta = leapfrog(self._evaluated, start, momenta, step, n_steps)
        kinetic = 0.5 * (final_momenta.square() - momenta.square()).sum(dim=(1, 2))
        rise = end.energy - start.energy + kinetic
        # A path that runs into overlapping cores ends in infinity or NaN: rejected.
        chance = torch.exp(-rise.clamp(min=0.0)).nan_to_num(nan=0.0)
        self._point = Point(
            *(choose(draws < chance, new, old) for new, old in zip(end, start, strict=True))
        )
        return self._by_window(chance)

    def _by_window(self, values: Tensor) -> Tensor:
        return values.unflatten(0, (self._n_windows, self._n_chains))

    def _normal(self, shape: torch.Size) -> Tensor:
        drawn = torch.randn(shape, generator=self._generator, dtype=torch.float64)
        return drawn.to(self._point.positions.device)

    def _uniform(self, shape: torch.Size) -> Tensor:
        drawn = torch.rand(shape, generator=self._generator, dtype=torch.float64)
        return drawn.to(self._point.positions.device)


def choose(accepted: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Return rows of `new` where `accepted` (B,), of `old` elsewhere."""
    return torch.where(accepted.reshape(-1, *[1] * (new.dim() - 1)), new, old)
