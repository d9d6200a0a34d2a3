"""Trades of atoms between neighbouring places by the Metropolis rule."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from openmm_nti.fluid.energy import nearest_image

Array = NDArray[np.float64]
_REACH_SIGMA = 1.7  # of a trade: the first shell of neighbours


_LONG_SIGMA = 0.4  # tethers on which every pair is visited, at most


def trades(
    positions: Array, centres: Array, spread: float, edge: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Which atom sits at each of the N places after a sweep of trades between neighbours, (N,).

    Every pair of places within 1.7 sigma is visited once, in random order, and its atoms change
    places with probability min(1, exp(-change of |x - centre|^2 / 2 spread^2)): detailed balance
    holds, for the places stay where they are. On tethers longer than 0.4 sigma most trades succeed,
    and a share of the pairs is enough.

    Parameters
    ----------
    positions
        The places, (N, 3), sigma; atom i is at place i at first.
    centres
        Where each atom is tethered, (N, 3), sigma.
    spread
        Of the tethers, sigma.
    edge
        Of the box, sigma.
    rng
        Decides.
    """
    first, second = _near(positions, min(1.0, (_LONG_SIGMA / spread) ** 4), edge, rng)
    whose = np.arange(len(positions))
    thresholds = (
        -2.0 * spread**2 * np.log1p(-rng.random(len(first)))
    )  # of the change of squared lengths

    def accepted(these: slice | NDArray[np.int64]) -> NDArray[np.bool_]:
        a, b = first[these], second[these]
        own, other = centres[whose[a]], centres[whose[b]]
        here = _squared(positions[a] - own, edge) + _squared(positions[b] - other, edge)
        traded = _squared(positions[b] - own, edge) + _squared(positions[a] - other, edge)
        return np.asarray(traded - here < thresholds[these])

    # Few trades succeed: decide all pairs at once, and again those that a success has changed.
    verdicts, at = accepted(slice(None)), 0
    while at < len(first) and verdicts[at:].any():
        at += int(verdicts[at:].argmax())
        a, b = first[at], second[at]
        whose[[a, b]] = whose[[b, a]]
        at += 1
        later = at + np.flatnonzero(np.isin(first[at:], (a, b)) | np.isin(second[at:], (a, b)))
        verdicts[later] = accepted(later)
    return whose


def _near(
    positions: Array, share: float, edge: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A share of the pairs of places within reach of a trade, in random order."""
    first, second = np.triu_indices(len(positions), 1)
    near = np.flatnonzero(_squared(positions[first] - positions[second], edge) < _REACH_SIGMA**2)
    near = rng.permutation(near)[: math.ceil(share * len(near))]
    return first[near], second[near]


def _squared(vectors: Array, edge: float) -> Array:
    """Squared lengths (n,) of vectors (n, 3) to the nearest image."""
    vectors = nearest_image(vectors, edge)
    return np.asarray(np.einsum("ij,ij->i", vectors, vectors))
