"""Energies of configurations in plain numpy: the check on every other implementation.

The pair energy is u(r) S(r), with u the state's pair potential and S its cutoff function
(`openmm_nti.fluid.cutoff`). There is no dispersion correction.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from openmm_nti.fluid.state import StatePoint


def reduced_potential_numpy(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return the energy beta U of each frame, in float64.

    Parameters
    ----------
    positions_sigma
        Positions, wrapped or not. Shape (F, N, 3), sigma.
    state
        Box, temperature and pair potential.

    Returns
    -------
    np.ndarray
        Reduced potentials. Shape (F,), kT. Infinite where two particles coincide.
    """
    energy = np.zeros(len(positions_sigma))
    for r2 in squared_distances(positions_sigma, state):
        energy += pair_energy(r2, state).sum(axis=-1)
    return energy / state.temperature_star


def closest_pair_sigma(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return the smallest minimum-image distance in each frame.

    Parameters
    ----------
    positions_sigma
        Positions. Shape (F, N, 3), sigma.
    state
        The box.

    Returns
    -------
    np.ndarray
        Distances. Shape (F,), sigma.
    """
    smallest = [r2.min(axis=-1) for r2 in squared_distances(positions_sigma, state)]
    return np.asarray(np.sqrt(np.min(smallest, axis=0)))


def truncation_log_weights(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return logarithms of weights that carry frames of MD over to the state's own potential.

    Forces do not feel the jump of u(r) at a plain cutoff, so molecular dynamics samples the
    truncated AND shifted potential. Its frames have the weights exp(-beta n u(r_c)) in the
    truncated one, where n pairs are within r_c. Where nothing jumps, all weights are 1.

    Parameters
    ----------
    positions_sigma
        Positions. Shape (F, N, 3), sigma.
    state
        Box, temperature and pair potential.

    Returns
    -------
    np.ndarray
        Logarithms of unnormalised weights. Shape (F,).
    """
    if state.is_continuous:
        return np.zeros(len(positions_sigma))
    rc2 = state.cutoff_sigma**2
    n_pairs = np.zeros(len(positions_sigma))
    for r2 in squared_distances(positions_sigma, state):
        n_pairs += (r2 < rc2).sum(axis=-1)
    return -n_pairs * state.pair_potential.energy_at_cutoff / state.temperature_star


def pair_energy(r2: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return the energies u(r) S(r) of pairs.

    Parameters
    ----------
    r2
        Squared distances. Any shape, sigma^2.
    state
        The pair potential.

    Returns
    -------
    np.ndarray
        Pair energies. Shape of `r2`, epsilon.
    """
    return state.pair_potential.pair_energy(r2)


def cutoff_function(r2: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return S(r) of any shape, zero from the cutoff on, from squared distances in sigma^2."""
    return state.pair_potential.cutoff.factor(r2)


def nearest_image(vectors: np.ndarray, box_length: float) -> np.ndarray:
    """Return the shortest periodic image of each vector in a cubic box, in the unit of both."""
    return np.asarray(vectors - box_length * np.round(vectors / box_length))


def squared_distances(positions_sigma: np.ndarray, state: StatePoint) -> Iterator[np.ndarray]:
    """Yield minimum-image r^2, in sigma^2, of each particle to all that follow it.

    Shapes (F, N - 1), (F, N - 2), ...
    """
    positions = np.asarray(positions_sigma, dtype=np.float64)
    box = state.box_length_sigma
    for first in range(positions.shape[1] - 1):
        separation = nearest_image(positions[:, first + 1 :] - positions[:, first : first + 1], box)
        yield (separation**2).sum(axis=-1)
