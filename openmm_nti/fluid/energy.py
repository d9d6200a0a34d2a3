"""Energies of configurations in plain numpy: the check on every other implementation.

The pair energy is u(r) S(r), with u the state's pair potential and S its cutoff function
(`openmm_nti.fluid.cutoff`). There is no dispersion correction.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

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
    for first, r2 in enumerate(squared_distances(positions_sigma, state)):
        energy += pair_energy(r2, state, followers(state, first)).sum(axis=-1)
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


def highest_pair_energy(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return the energy of the pair with the highest one in each frame, (F,), epsilon."""
    if not state.is_mixture:  # the closest pair has it
        return pair_energy(closest_pair_sigma(positions_sigma, state) ** 2, state)
    highest = [
        pair_energy(r2, state, followers(state, first)).max(axis=-1)
        for first, r2 in enumerate(squared_distances(positions_sigma, state))
    ]
    return np.asarray(np.max(highest, axis=0))


def truncation_log_weights(
    positions_sigma: np.ndarray, state: StatePoint, shares: np.ndarray | None = None
) -> np.ndarray:
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
    shares
        The share of each kind's jump that is there, (kinds,); None for all of it.

    Returns
    -------
    np.ndarray
        Logarithms of unnormalised weights. Shape (F,).
    """
    if state.is_continuous:
        return np.zeros(len(positions_sigma))
    rc2 = state.cutoff_sigma**2
    jumps = np.array([kind.energy_at_cutoff for kind in state.pair_potential.kinds])
    jumps = jumps if shares is None else jumps * shares
    total = np.zeros(len(positions_sigma))
    for first, r2 in enumerate(squared_distances(positions_sigma, state)):
        kind = followers(state, first)
        total += (r2 < rc2).sum(axis=-1) * jumps[0] if kind is None else (r2 < rc2) @ jumps[kind]
    return -total / state.temperature_star


def numbers_of_pairs(state: StatePoint) -> np.ndarray:
    """Return the number of pairs of each kind, (kinds,)."""
    n = np.array(list(state.composition.values()), dtype=np.float64)
    first, second = np.triu_indices(len(n))
    return np.where(first == second, 0.5 * n[first] * (n[first] - 1), n[first] * n[second])


def followers(state: StatePoint, first: int) -> np.ndarray | None:
    """Return the kinds of the pairs of a particle with all that follow it; None for one kind."""
    return state.kinds(first, slice(first + 1, None))


def pair_energy(r2: np.ndarray, state: StatePoint, kind: np.ndarray | None = None) -> np.ndarray:
    """Return the energies u(r) S(r) of pairs.

    Parameters
    ----------
    r2
        Squared distances. Any shape, sigma^2.
    state
        The pair potential.
    kind
        Kind of each pair, from `StatePoint.kinds`; broadcasts with `r2`.

    Returns
    -------
    np.ndarray
        Pair energies. Shape of `r2`, epsilon.
    """
    return state.pair_potential.pair_energy(r2, kind)


def nearest_image(vectors: np.ndarray, edges: ArrayLike) -> np.ndarray:
    """Return the shortest periodic image of each vector (..., 3) in a box of edges (3,).

    One edge stands for those of a cube.
    """
    images = np.empty(np.shape(vectors))
    # An axis at a time takes a third of the time of a broadcast.
    for axis, edge in enumerate(np.broadcast_to(edges, 3)):
        along = vectors[..., axis]
        images[..., axis] = along - edge * np.round(along / edge)
    return images


def squared_distances(positions_sigma: np.ndarray, state: StatePoint) -> Iterator[np.ndarray]:
    """Yield minimum-image r^2, in sigma^2, of each particle to all that follow it.

    Shapes (F, N - 1), (F, N - 2), ...
    """
    positions = np.asarray(positions_sigma, dtype=np.float64)
    box = state.edges_sigma
    for first in range(positions.shape[1] - 1):
        separation = nearest_image(positions[:, first + 1 :] - positions[:, first : first + 1], box)
        yield (separation**2).sum(axis=-1)
