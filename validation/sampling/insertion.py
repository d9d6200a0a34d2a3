"""Energies of a test particle at random places in each frame."""

from __future__ import annotations

import numpy as np

from openmm_nti.fluid.energy import pair_energy
from openmm_nti.fluid.state import StatePoint

_PAIRS_AT_ONCE = 500_000  # bounds memory


def insertion_energies(
    positions_sigma: np.ndarray, state: StatePoint, n_insertions: int, rng: np.random.Generator
) -> np.ndarray:
    """Return beta dU of one more particle at uniformly random places in each frame.

    Parameters
    ----------
    positions_sigma
        Positions, wrapped or not; any number of particles. Shape (F, n, 3), sigma.
    state
        Box, temperature and pair potential.
    n_insertions
        Places tried in each frame.
    rng
        Source of the places.

    Returns
    -------
    np.ndarray
        Shape (F, n_insertions), kT; infinite where a place coincides with a particle.
    """
    box = state.box_length_sigma
    energies = np.empty((len(positions_sigma), n_insertions))
    chunk = max(1, _PAIRS_AT_ONCE // positions_sigma.shape[1])
    for frame in range(len(positions_sigma)):
        for start in range(0, n_insertions, chunk):
            places = rng.uniform(0, box, (min(chunk, n_insertions - start), 3))
            r2 = _squared_distances(places, positions_sigma[frame], box)
            energy = np.zeros(r2.shape)
            near = r2 < state.cutoff_sigma**2
            energy[near] = pair_energy(r2[near], state)
            energies[frame, start : start + len(places)] = (
                energy.sum(axis=1) / state.temperature_star
            )
    return energies


def _squared_distances(places: np.ndarray, positions: np.ndarray, box: float) -> np.ndarray:
    """Return r^2 of the nearest image from M places to N particles. Shape (M, N), sigma^2."""
    r2 = np.zeros((len(places), len(positions)))
    for axis in range(3):
        separation = places[:, axis, None] - positions[:, axis]
        separation -= box * np.rint(separation / box)
        r2 += separation**2
    return r2
