"""`trades`: neighbouring atoms change places by the Metropolis rule."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openmm_nti.fluid.energy import nearest_image

Array = NDArray[np.float64]
_REACH_SIGMA = 1.7  # of a trade: the first shell of neighbours
_LONG_SIGMA = 0.4  # above this spread of the tethers, not every pair is visited


def trades(
    positions: Array,
    centres: Array,
    spread: float,
    edges: ArrayLike,
    rng: np.random.Generator,
    species: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return which atom sits at each of the N places after a sweep of trades, (N,).

    Every pair of places within 1.7 sigma is visited once, in random order. Its atoms change places
    with probability min(1, exp(-change of |x - centre|^2 / 2 spread^2)). Detailed balance holds,
    because the places stay where they are. On tethers longer than 0.4 sigma most trades succeed,
    and a share of the pairs is enough.

    Parameters
    ----------
    positions
        The places, (N, 3), sigma; atom i is at place i at first.
    centres
        Where each atom is tethered, (N, 3), sigma.
    spread
        Standard deviation of a free atom on its tether, sigma.
    edges
        Edges of the box, (3,), sigma.
    rng
        Random numbers.
    species
        Species of each atom, (N,): only equal ones trade. None if all are equal.
    """
    first, second = _near(positions, min(1.0, (_LONG_SIGMA / spread) ** 4), edges, rng)
    if species is not None:
        alike = species[first] == species[second]
        first, second = first[alike], second[alike]
    whose = np.arange(len(positions))
    # of the change of squared lengths
    thresholds = -2.0 * spread**2 * np.log1p(-rng.random(len(first)))

    def accepted(these: slice | NDArray[np.int64]) -> NDArray[np.bool_]:
        a, b = first[these], second[these]
        own, other = centres[whose[a]], centres[whose[b]]
        here = _squared(positions[a] - own, edges) + _squared(positions[b] - other, edges)
        traded = _squared(positions[b] - own, edges) + _squared(positions[a] - other, edges)
        return np.asarray(traded - here < thresholds[these])

    # Few trades succeed: decide all pairs at once, and again those that a success has changed.
    verdicts = accepted(slice(None))
    pair = 0
    while pair < len(first) and verdicts[pair:].any():
        pair += int(verdicts[pair:].argmax())
        a, b = first[pair], second[pair]
        whose[[a, b]] = whose[[b, a]]
        pair += 1
        changed = np.isin(first[pair:], (a, b)) | np.isin(second[pair:], (a, b))
        later = pair + np.flatnonzero(changed)
        verdicts[later] = accepted(later)
    return whose


def _near(
    positions: Array, share: float, edges: ArrayLike, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a share of the pairs of places within reach of a trade, in random order."""
    first, second = np.triu_indices(len(positions), 1)
    near = np.flatnonzero(_squared(positions[first] - positions[second], edges) < _REACH_SIGMA**2)
    near = rng.permutation(near)[: math.ceil(share * len(near))]
    return first[near], second[near]


def _squared(vectors: Array, edges: ArrayLike) -> Array:
    """Return squared lengths (n,) of vectors (n, 3) to the nearest image."""
    vectors = nearest_image(vectors, edges)
    return np.asarray(np.einsum("ij,ij->i", vectors, vectors))
