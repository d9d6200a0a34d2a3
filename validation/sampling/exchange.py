r"""Hamiltonian replica exchange between the windows of the learned path.

After every stretch of dynamics, chain c of a window may trade its configuration with chain c of a
neighbour, by the Metropolis rule on the reduced potentials that MBAR takes anyway,

.. math:: p = \min(1, \exp[u_k(x_k) + u_{k+1}(x_{k+1}) - u_k(x_{k+1}) - u_{k+1}(x_k)]),

the pairs (0, 1), (2, 3), ... and (1, 2), (3, 4), ... by turns (Sugita and Okamoto, Chem. Phys.
Lett. 314, 141 (1999); Fukunishi, Watanabe and Takada, J. Chem. Phys. 116, 9058 (2002)). Velocities
stay with their window: they are of one distribution everywhere. The ideal gas, lambda = 0, is drawn
afresh each time, so every trade with it brings in a configuration that remembers nothing: what
relaxes slowly in the dense fluid goes down to the gas and comes back new.

Chain c of all windows is a ladder. Ladders are independent of each other, and the bootstrap draws
whole ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.runtime.context import Execution, takes_execution

Array = NDArray[np.float64]


class Dynamics(Protocol):
    """C chains in each of the windows above lambda = 0."""

    def advance(self, n_steps: int) -> Array:
        """Make `n_steps` steps; return the share of accepted moves, (windows,), NaN for none."""

    @property
    def positions(self) -> Tensor:
        """Where the chains are, (windows, C, N, 3), sigma."""

    def place(self, positions: Tensor) -> None:
        """Go on from these positions, of that shape, with the present velocities."""


class Exchanged(NamedTuple):
    """Frames of all windows, with the potentials and the trades."""

    positions: Tensor  # (K, C, n_frames, N, 3), sigma
    potentials: Array  # u_l of the frames of window k, (K, C, n_frames, K), kT
    acceptance: Array  # of the moves, (K,)
    tried: NDArray[np.int64]  # trades between k and k + 1, (K - 1,)
    traded: NDArray[np.int64]  # those of them that were accepted, (K - 1,)


@takes_execution
def sample(
    dynamics: Dynamics,
    potentials: Callable[[Tensor], Array],
    edges_sigma: Array,
    *,
    n_frames: int,
    n_steps: int,
    execution: Execution,
) -> Exchanged:
    """Return `n_frames` frames of each chain, `n_steps` steps apart, with trades after each.

    Parameters
    ----------
    dynamics
        The windows above lambda = 0, in equilibrium.
    potentials
        Reduced potentials of configurations (F, N, 3) at all K lambdas, (F, K).
    edges_sigma
        Edges of the box, (3,).
    execution
        Its seed decides the trades and the ideal gas.
    """
    random = np.random.default_rng(execution.seed)
    frames, energies, acceptance = [], [], []
    n_windows = len(dynamics.positions) + 1
    tried, traded = np.zeros((2, n_windows - 1), dtype=np.int64)
    for turn in range(n_frames):
        moves = dynamics.advance(n_steps)
        above = dynamics.positions
        gas = torch.from_numpy(random.uniform(0.0, edges_sigma, above.shape[1:]))
        positions = torch.cat([gas[None], above])
        u = potentials(positions.flatten(0, 1)).reshape(n_windows, -1, n_windows)
        frames.append(positions)
        energies.append(u)
        acceptance.append(moves)
        lower = np.arange(turn % 2, n_windows - 1, 2)
        accepted = trades(u, lower, random)
        tried[lower] += accepted.shape[1]
        traded[lower] += accepted.sum(axis=1)
        dynamics.place(_exchanged(positions, lower, torch.from_numpy(accepted))[1:])
    return Exchanged(
        torch.stack(frames, dim=2),
        np.stack(energies, axis=2),
        np.concatenate([[np.nan], np.mean(acceptance, axis=0)]),
        tried,
        traded,
    )


def trades(u: Array, lower: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.bool_]:
    """Return which chains trade between the windows `lower` (P,) and the next ones, (P, C).

    `u` holds u_l of the chains of window k, (K, C, K).
    """
    upper = lower + 1
    gain = u[lower, :, lower] + u[upper, :, upper] - u[upper, :, lower] - u[lower, :, upper]
    return np.asarray(np.log(random.random(gain.shape)) < gain)


def _exchanged(positions: Tensor, lower: NDArray[np.int64], accepted: Tensor) -> Tensor:
    """Return `positions` (K, C, N, 3) after the trades."""
    after = positions.clone()
    swap = accepted[..., None, None]
    below, above = positions[lower], positions[lower + 1]
    after[lower], after[lower + 1] = (
        torch.where(swap, above, below),
        torch.where(swap, below, above),
    )
    return after
