"""The normal modes of a crystal at rest, from the second derivatives of its energy."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from openmm_nti.fluid.displacements import crystal_of, sites_sigma
from openmm_nti.fluid.energy import nearest_image
from openmm_nti.fluid.reduced import by_kind
from openmm_nti.fluid.state import StatePoint
from openmm_nti.reference_md.configurational import pair_derivatives

_LARGEST_N = 3000
_ZERO = 1e-9  # of the largest eigenvalue


def einstein_variance(state: StatePoint) -> float:
    """Return the mean square displacement of a coordinate if all other atoms were at rest, sigma^2.

    Raises
    ------
    ValueError
        If the state is a fluid, or its lattice does not hold the atoms in place.
    """
    laplacian = sum(float(np.trace(blocks.sum(axis=0))) for blocks in _blocks(state))
    if not laplacian > 0:
        raise _unstable(state)
    return 3 * state.n_particles / laplacian


def variance_of(state: StatePoint, given: float | None) -> float:
    """Return the variance of an Einstein crystal for `state`: the given one, or its own.

    Raises
    ------
    ValueError
        If the state is a fluid, or see `einstein_variance`.
    """
    crystal_of(state)
    return einstein_variance(state) if given is None else given


def hessian(state: StatePoint) -> np.ndarray:
    """Return the second derivatives of beta U at the sites, (3N, 3N), kT / sigma^2.

    Raises
    ------
    ValueError
        If the state is a fluid, or N is so large that the matrix would fill the memory.
    """
    n = state.n_particles
    if n > _LARGEST_N:
        raise ValueError(
            f"n_particles = {n}: normal modes are for crystals of at most {_LARGEST_N} atoms; take "
            "fewer cells"
        )
    found = np.zeros((n, 3, n, 3))
    for atom, blocks in enumerate(_blocks(state)):
        found[atom][:, np.arange(n) != atom] = -blocks.transpose(1, 0, 2)
        found[atom, :, atom] = blocks.sum(axis=0)
    return found.reshape(3 * n, 3 * n)


def _blocks(state: StatePoint) -> Iterator[np.ndarray]:
    """Yield the second derivatives of each atom's pairs, (N - 1, 3, 3), kT / sigma^2."""
    sites = sites_sigma(state)
    for atom in range(state.n_particles):
        r = nearest_image(np.delete(sites, atom, axis=0) - sites[atom], state.edges_sigma)
        slope, bend = by_kind(state.pair_potential, pair_derivatives, (r**2).sum(-1), None)
        along = r[:, :, np.newaxis] * r[:, np.newaxis]
        blocks = 2 * slope[:, None, None] * np.eye(3) + 4 * bend[:, None, None] * along
        yield blocks / state.temperature_star


def log_modes(state: StatePoint) -> float:
    """Return the sum of the logarithms of the Hessian's 3 (N - 1) eigenvalues that are not zero.

    Raises
    ------
    ValueError
        If the state is a fluid, or its lattice is unstable; see `hessian`.
    """
    values = np.linalg.eigvalsh(hessian(state))
    shifts = np.argsort(np.abs(values))[:3]
    modes = np.delete(values, shifts)
    if not modes.min() > _ZERO * values.max():
        raise _unstable(state)
    return math.fsum(np.log(modes))


def _unstable(state: StatePoint) -> ValueError:
    return ValueError(
        f"{state}: the lattice is unstable, atoms at rest would move: take another lattice or a "
        "higher density"
    )
