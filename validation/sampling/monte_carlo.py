"""Metropolis Monte Carlo of many small Lennard-Jones boxes at once.

Independent walkers move side by side: one numpy operation does the same particle of all of them.
For boxes of a few hundred particles at most that is quicker than a molecular-dynamics Context for
each box, and it samples either convention directly, for no force has to exist. (N. Metropolis et
al., J. Chem. Phys. 21, 1087 (1953).)
"""

from __future__ import annotations

import numpy as np

from openmm_nti.fluid.energy import pair_energy
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.runtime.context import Execution, takes_execution

_FIRST_STEP_SIGMA = 0.3
_SMALLEST_STEP_SIGMA = 0.01
# Long moves that often fail decorrelate a fluid sooner than short ones that seldom do.
_ACCEPTANCE = 0.3
_STEP_FACTOR = 1.1


class Walkers:
    """Independent boxes of `state`, each from its own lattice.

    Attributes
    ----------
    step_sigma
        Largest displacement along each axis, sigma. `equilibrate` tunes it; between frames it must
        not change, or the distribution would.

    Parameters
    ----------
    state
        Number of particles, box, temperature and pair potential.
    n_walkers
        Number of boxes W.
    execution
        Its seed decides the starts and all moves; `seed=1` may stand in its place.
    """

    @takes_execution
    def __init__(self, state: StatePoint, n_walkers: int, execution: Execution) -> None:
        self._state = state
        self._edges = state.edges_sigma
        self._rng = execution.random("moves")
        starts = [
            lattice_positions_nm(state, execution.seed_of("start", walker))
            for walker in range(n_walkers)
        ]
        # Axes first: the distances of one particle to all others are then sums of contiguous
        # arrays.
        self._coordinates = (
            np.ascontiguousarray(np.stack(starts).transpose(2, 0, 1)) / state.sigma_nm
        )
        self._pairs = np.stack([self._energies_of(k) for k in range(state.n_particles)], axis=1)
        self.step_sigma = min(_FIRST_STEP_SIGMA, 0.5 * state.shortest_edge_sigma)

    @property
    def positions_sigma(self) -> np.ndarray:
        """Positions in the box. Shape (W, N, 3), sigma."""
        return np.asarray(self._coordinates.transpose(1, 2, 0))

    @property
    def removal_energies(self) -> np.ndarray:
        """Beta U(N) - beta U(N - 1) for the removal of each particle. Shape (W, N), kT."""
        return np.asarray(self._pairs.sum(axis=2))

    def equilibrate(self, n_sweeps: int) -> None:
        """Make `n_sweeps` sweeps, and tune the step after each."""
        longest = 0.5 * self._state.shortest_edge_sigma
        for _ in range(n_sweeps):
            factor = _STEP_FACTOR if self.sweep() > _ACCEPTANCE else 1 / _STEP_FACTOR
            self.step_sigma = float(
                np.clip(self.step_sigma * factor, _SMALLEST_STEP_SIGMA, longest)
            )

    def sweep(self) -> float:
        """Try to move each particle of each walker once; return the share of accepted moves."""
        n_walkers, n_particles = self._coordinates.shape[1:]
        moves = self._rng.uniform(-self.step_sigma, self.step_sigma, (n_particles, 3, n_walkers))
        # -ln of uniform numbers
        thresholds = self._rng.standard_exponential((n_particles, n_walkers))
        n_accepted = 0
        for k in range(n_particles):
            places = self._coordinates[:, :, k] + moves[k]
            energies = self._energies_at(places, k)
            rise = energies.sum(axis=1) - self._pairs[:, k].sum(axis=1)
            taken = np.flatnonzero(rise < thresholds[k])
            self._coordinates[:, taken, k] = places[:, taken]
            self._pairs[taken, k] = self._pairs[taken, :, k] = energies[taken]
            n_accepted += len(taken)
        self._coordinates %= self._edges[:, None, None]
        return n_accepted / (n_particles * n_walkers)

    def _energies_of(self, k: int) -> np.ndarray:
        return self._energies_at(self._coordinates[:, :, k], k)

    def _energies_at(self, places: np.ndarray, k: int) -> np.ndarray:
        """Return pair energies of particle k, moved to `places` (3, W), with all others, (W, N)."""
        r2 = np.zeros(self._coordinates.shape[1:])
        for axis, edge in enumerate(self._edges):
            separation = self._coordinates[axis] - places[axis, :, None]
            separation -= edge * np.rint(separation / edge)
            r2 += separation**2
        kind = self._state.kinds(k, slice(None))
        energies = pair_energy(r2, self._state, kind) / self._state.temperature_star
        energies[:, k] = 0.0
        return np.asarray(energies)
