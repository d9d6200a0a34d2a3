r"""Virials of configurations in plain numpy, from which the pressure follows.

.. math:: p V = N k T + \langle W \rangle / 3, \qquad W = -\sum_{i < j} r_{ij} \, du/dr(r_{ij}).
"""

from __future__ import annotations

import numpy as np

from openmm_nti.fluid.energy import followers, squared_distances
from openmm_nti.fluid.reduced import PairKind, by_kind
from openmm_nti.fluid.state import StatePoint


def virials(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return the virial W of each frame, in float64.

    Parameters
    ----------
    positions_sigma
        Positions, wrapped or not. Shape (F, N, 3), sigma.
    state
        Box and pair potential.

    Returns
    -------
    np.ndarray
        Shape (F,), epsilon.

    Raises
    ------
    ValueError
        If the pair energy jumps at the cutoff: the jump has a force that no frame shows.
    """
    if not state.is_continuous:
        raise ValueError(
            f"convention = {state.convention}: the energy jumps at the cutoff, so frames have no "
            "pressure; use switched, shifted or force_shifted"
        )
    total = np.zeros(len(positions_sigma))
    for first, r2 in enumerate(squared_distances(positions_sigma, state)):
        total += pair_virial(r2, state, followers(state, first)).sum(axis=-1)
    return total


def pair_virial(r2: np.ndarray, state: StatePoint, kind: np.ndarray | None = None) -> np.ndarray:
    """Return -r du/dr of pairs within the cutoff, in epsilon, from r^2 of any shape in sigma^2.

    `kind` is as for `pair_energy`.
    """
    return by_kind(state.pair_potential, _virial, r2, kind)


def _virial(kind: PairKind, r2: np.ndarray) -> np.ndarray:
    found = np.zeros_like(r2)
    inside = r2 < kind.cutoff.cutoff_nm**2
    q = r2[inside]
    slope = kind.pair.slope(q) * kind.cutoff.factor(q)
    slope += kind.pair.energy_numpy(q) * kind.cutoff.factor_slope(q)
    found[inside] = -2 * q * slope
    return found


def pressure_star(mean_virial: float, temperature_star: float, state: StatePoint) -> float:
    """Return the pressure p sigma^3 / epsilon from the mean virial in epsilon, at some T*."""
    n, volume = state.n_particles, state.volume_sigma3
    return (n * temperature_star + mean_virial / 3) / volume
