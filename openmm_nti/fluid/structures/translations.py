"""Shifts that take a set of sites in a periodic cell to itself.

In a box of M such shifts, every arrangement of exchangeable atoms is there M times (see
`references.einstein_crystal`). They form a group, in which no shift but zero leaves a site where it
is. So M is the number of sites that the first one is taken to, and a few shifts generate all. Sites
that are known with errors repeat within a tolerance; those that nearly repeat are refused, since M
could be either.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

_CLOSE = 0.35  # nearest distances; that far from a site a shifted one may still be meant for it
_MOST = 0.9  # of the sites, from which a shift nearly repeats them
_SAME_SITE = 0.3  # nearest distances, within which two sites are one
_PROBES = 64


class Orbits(NamedTuple):
    """Sites that repeat each other.

    `first` is the index of the first that each repeats, (n,); `vectors` lead from there to it, in
    fractions of the cell, (n, 3).
    """

    first: np.ndarray
    vectors: np.ndarray


class Shift(NamedTuple):
    """A translation: its vector as exact fractions of the cell, (3,), and where each site goes."""

    vector: np.ndarray
    images: np.ndarray


def nearest_distances(sites: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the distance of each site to the nearest other one, its own images included.

    Parameters
    ----------
    sites
        Fractions of the cell, (n, 3).
    edges
        Edges of the cell, (3,), in any unit, which is that of the result.

    Raises
    ------
    ValueError
        If two sites are in one place.
    """
    placed = (sites % 1.0) * edges
    alone = np.full(len(sites), float(edges.min()))
    if len(sites) == 1:
        return alone
    found, whose = _tree(placed, edges).query(placed, k=2)
    nearest = np.minimum(found[:, 1], alone)
    closest = int(np.argmin(nearest))
    if not nearest[closest] > _SAME_SITE * np.median(nearest):
        other = int(next(site for site in whose[closest] if site != closest))
        raise ValueError(
            f"sites {closest} and {other} are in one place, {nearest[closest]:.3g} apart, and "
            f"others {np.median(nearest):.3g}: leave one of them out"
        )
    return np.asarray(nearest)


def generators(sites: np.ndarray, edges: np.ndarray, tolerance: float) -> list[Shift]:
    """Return shifts that generate all that take the sites to themselves.

    Parameters
    ----------
    sites
        Fractions of the cell, (n, 3).
    edges
        Edges of the cell, (3,).
    tolerance
        Largest distance between a shifted site and the one that it becomes, in units of `edges`.

    Raises
    ------
    ValueError
        If two sites are in one place, or a shift repeats the sites nearly, and not quite.
    """
    close = _CLOSE * float(np.median(nearest_distances(sites, edges)))
    placed = (sites % 1.0) * edges
    away = _short(placed - placed[0], edges)
    probes = placed[:: max(1, len(sites) // _PROBES)]
    shifted = (probes + away[:, np.newaxis]) % edges % edges
    seen = _tree(placed, edges).query(shifted)[0] < close
    found: list[Shift] = []
    reached = np.zeros(len(sites), dtype=bool)
    reached[0] = True
    for site in np.argsort((away**2).sum(axis=1), kind="stable"):
        if reached[site] or seen[site].mean() < _MOST - 0.1:
            continue
        shift = _shift(placed, edges, away[site], close, tolerance)
        if shift is not None:
            found.append(shift)
            reached = orbits(found, len(sites)).first == 0
    return found


def orbits(shifts: list[Shift], n_sites: int) -> Orbits:
    """Return which sites shifts lead to from which; see `Orbits`."""
    vectors, first = np.zeros((n_sites, 3)), np.full(n_sites, -1)
    for start in range(n_sites):
        if first[start] >= 0:
            continue
        first[start], waiting = start, [start]
        while waiting:
            site = waiting.pop()
            for shift in shifts:
                image = shift.images[site]
                if first[image] < 0:
                    first[image], vectors[image] = start, vectors[site] + shift.vector
                    waiting.append(image)
    return Orbits(first, vectors)


def averaged(sites: np.ndarray, shifts: list[Shift]) -> np.ndarray:
    """Return the sites (n, 3), fractions of the cell, so that shifts repeat them exactly.

    Each is the mean of all that it repeats. The first site stays where it is.
    """
    first, vectors = orbits(shifts, len(sites))
    back = sites - vectors
    off = back - back[first]
    off -= np.round(off)
    n = np.bincount(first, minlength=len(sites))
    means = [np.bincount(first, axis, len(sites)) / np.maximum(n, 1) for axis in off.T]
    start = back + np.stack(means, axis=1)
    found = start[first] + vectors
    return np.asarray((found - found[0] + sites[0]) % 1.0)


def _shift(
    placed: np.ndarray, edges: np.ndarray, away: np.ndarray, close: float, tolerance: float
) -> Shift | None:
    """Return the shift by about `away` (3,), None if it takes the sites to other places.

    ValueError if it nearly repeats them.
    """
    images = _tree(placed, edges).query((placed + away) % edges % edges)[1]
    off = _short(placed + away - placed[images], edges)
    met = (off**2).sum(axis=1) < close**2
    if met.mean() < _MOST:
        return None
    shown = ", ".join(f"{x:.3g}" for x in away)
    if not met.all() or len(np.unique(images)) < len(images):
        raise ValueError(
            f"a shift by [{shown}] repeats {int(met.sum())} of the {len(images)} sites and not the "
            "others: atoms are missing, too many or displaced; a crystal without defects is needed"
        )
    mean = off.mean(axis=0)
    worst = float(np.sqrt(((off - mean) ** 2).sum(axis=1)).max())
    if not worst <= tolerance:
        raise ValueError(
            f"a shift by [{shown}] nearly repeats the sites, to within {worst:.3g}, and "
            f"{tolerance:.3g} is allowed: how often the crystal repeats cannot be told; give sites "
            "at rest or their average over a longer trajectory, which `openmm-nti sites` makes"
        )
    return Shift(_exact((away - mean) / edges, images), images)


def _exact(vector: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return a shift as exact fractions: so many of them lead back to where they began."""
    turned, order = images, 1
    while turned[0] != 0:
        turned, order = images[turned], order + 1
    return np.asarray(np.round(vector * order) / order)


def _tree(placed: np.ndarray, edges: np.ndarray) -> KDTree:
    return KDTree(placed % edges % edges, boxsize=edges)


def _short(vectors: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.asarray(vectors - edges * np.round(vectors / edges))
