"""Positions on a lattice, to start a simulation from."""

from __future__ import annotations

import numpy as np

from openmm_nti.fluid.state import StatePoint


def lattice_positions_nm(state: StatePoint, seed: int) -> np.ndarray:
    """Return positions without overlaps, to start a simulation from.

    The particles of a fluid are on random sites of the smallest lattice of nearly cubic cells that
    holds them. Those of a crystal are on its sites.

    Returns
    -------
    np.ndarray
        Positions. Shape (N, 3), nm.
    """
    if state.crystal is not None:
        return state.crystal.fractions * state.edges_nm
    rng = np.random.default_rng(seed)
    sides = _sides(state.edges_nm, state.n_particles)
    sites = np.stack(
        np.unravel_index(rng.permutation(sides.prod())[: state.n_particles], sides), axis=-1
    )
    spacing = state.edges_nm / sides
    jitter = rng.uniform(-0.02, 0.02, size=sites.shape)  # breaks the symmetry of a full lattice
    return np.asarray((sites + 0.5 + jitter) * spacing)


def _sides(edges: np.ndarray, n_sites: int) -> np.ndarray:
    """Return the numbers of sites along the edges (3,) of a lattice of `n_sites` or more, (3,)."""
    sides = np.ones(3, dtype=np.int64)
    while sides.prod() < n_sites:
        spacing = edges / sides
        sides += spacing >= (1 - 1e-9) * spacing.max()  # all that are widest: a cube stays one
    return sides
