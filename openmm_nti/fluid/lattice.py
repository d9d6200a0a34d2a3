"""Positions on a lattice, to start a simulation from."""

from __future__ import annotations

import math

import numpy as np

from openmm_nti.fluid.state import StatePoint


def lattice_positions_nm(state: StatePoint, seed: int) -> np.ndarray:
    """Return a start without overlaps: particles on random sites of a simple cubic lattice.

    The lattice is the smallest that holds them.

    Returns
    -------
    np.ndarray
        Positions. Shape (N, 3), nm.
    """
    rng = np.random.default_rng(seed)
    side = math.ceil(state.n_particles ** (1 / 3) - 1e-9)
    sites = np.stack(
        np.unravel_index(rng.permutation(side**3)[: state.n_particles], (side, side, side)), axis=-1
    )
    spacing = state.box_length_nm / side
    jitter = rng.uniform(-0.02, 0.02, size=sites.shape)  # breaks the symmetry of a full lattice
    return np.asarray((sites + 0.5 + jitter) * spacing)
