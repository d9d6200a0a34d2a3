"""Radial distribution function g(r), by mdtraj: the structure of data and of samples."""

from __future__ import annotations

import mdtraj
import numpy as np
from numpy.typing import ArrayLike


def with_errors(
    positions_sigma: np.ndarray, edges_sigma: ArrayLike, n_independent: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return r, g(r) and the standard error of g(r), from how much frames differ, (120,) each.

    Parameters
    ----------
    positions_sigma, edges_sigma
        As for `radial_distribution`, at least two frames.
    n_independent
        For how many independent frames the frames count; by default all.
    """
    one_by_one = [radial_distribution(one[None], edges_sigma) for one in positions_sigma]
    g = np.array([one for _, one in one_by_one])
    count = len(g) if n_independent is None else n_independent
    return one_by_one[0][0], g.mean(axis=0), g.std(axis=0, ddof=1) / np.sqrt(count)


def radial_distribution(
    positions_sigma: np.ndarray,
    edges_sigma: ArrayLike,
    r_max: float | None = None,
    n_bins: int = 120,
) -> tuple[np.ndarray, np.ndarray]:
    """Return g(r) of identical particles in a periodic box, averaged over frames.

    It tends to 1 - 1/N for an ideal gas, since each particle has N - 1 others around it.

    Parameters
    ----------
    positions_sigma
        Positions, wrapped or not. Shape (F, N, 3), sigma.
    edges_sigma
        Edges of the box, (3,), or the one of a cube, in sigma.
    r_max
        Largest distance, in sigma; by default, and at most, half the shortest edge.
    n_bins
        Number of equal bins.

    Returns
    -------
    r, g
        Centres of the bins, in sigma, and g(r). Both of shape (n_bins,).

    Raises
    ------
    ValueError
        If `r_max` is not between 0 and half the box, or the positions are not finite.
    """
    edges = np.broadcast_to(edges_sigma, 3)
    half_box = 0.5 * float(edges.min())
    r_max = half_box if r_max is None else r_max
    if not 0 < r_max <= half_box:
        raise ValueError(f"r_max = {r_max:g} must be between 0 and half the box, {half_box:g}")
    if not (positions_sigma.size and np.isfinite(positions_sigma).all()):
        raise ValueError("g(r): the positions are empty, NaN or infinite: leave those frames out")
    n_frames, n_particles, _ = positions_sigma.shape
    trajectory = mdtraj.Trajectory(
        np.mod(positions_sigma, edges),
        None,
        unitcell_lengths=np.tile(edges, (n_frames, 1)),
        unitcell_angles=np.full((n_frames, 3), 90.0),
    )
    pairs = np.column_stack(np.triu_indices(n_particles, k=1))
    r, g = mdtraj.compute_rdf(trajectory, pairs, r_range=(0.0, r_max), n_bins=n_bins)
    return np.asarray(r, dtype=np.float64), np.asarray(g, dtype=np.float64) * (1 - 1 / n_particles)
