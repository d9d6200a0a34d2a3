"""The Lennard-Jones fluid in plain OpenMM and, independently, in plain numpy.

With x = (r - r_s) / (r_c - r_s) between the switching distance r_s and the cutoff r_c, the pair
energy is

    u(r) = 4 eps [(sigma / r)^12 - (sigma / r)^6] S(x),    S(x) = 1 - 6 x^5 + 15 x^4 - 10 x^3,

zero beyond r_c; S = 1 below r_s, and S = 1 everywhere in the `truncated` convention. No dispersion
correction.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from openmm_nti.fluid.state import StatePoint


def reduced_potential_numpy(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Energy of each frame, beta U_LJ in `state.convention`, in float64: the check on every other
    implementation.

    Parameters
    ----------
    positions_sigma
        Positions, wrapped or not. Shape (F, N, 3), sigma.

    Returns
    -------
    np.ndarray
        Reduced potentials. Shape (F,), kT. Infinite where two particles coincide.
    """
    energy = np.zeros(len(positions_sigma))
    for r2 in _squared_distances(positions_sigma, state):
        energy += pair_energy(r2, state).sum(axis=-1)
    return energy / state.temperature_star


def closest_pair_sigma(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Smallest minimum-image distance in each frame.

    Parameters
    ----------
    positions_sigma
        Positions. Shape (F, N, 3), sigma.

    Returns
    -------
    np.ndarray
        Distances. Shape (F,), sigma.
    """
    return np.asarray(
        np.sqrt(
            np.min([r2.min(axis=-1) for r2 in _squared_distances(positions_sigma, state)], axis=0)
        )
    )


def truncation_log_weights(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Logarithms of the weights that carry frames of molecular dynamics over to `state.convention`.

    Forces do not feel the jump of u(r) at a plain cutoff, so molecular dynamics samples the
    truncated AND shifted potential; its frames have the weights exp(-beta n u(r_c)) in the
    truncated one, where n pairs are within r_c. With a switching function nothing jumps and all
    weights are 1.

    Parameters
    ----------
    positions_sigma
        Positions. Shape (F, N, 3), sigma.

    Returns
    -------
    np.ndarray
        Logarithms of unnormalised weights. Shape (F,).
    """
    if state.convention == "switched":
        return np.zeros(len(positions_sigma))
    rc2 = state.cutoff_sigma**2
    at_cutoff = 4 * (rc2**-6 - rc2**-3)
    n_pairs = np.zeros(len(positions_sigma))
    for r2 in _squared_distances(positions_sigma, state):
        n_pairs += (r2 < rc2).sum(axis=-1)
    return -n_pairs * at_cutoff / state.temperature_star


def pair_energy(r2: np.ndarray, state: StatePoint) -> np.ndarray:
    """u(r) of the module docstring.

    Parameters
    ----------
    r2
        Squared distances. Any shape, sigma^2.

    Returns
    -------
    np.ndarray
        Pair energies. Shape of `r2`, epsilon.
    """
    with np.errstate(divide="ignore", over="ignore"):
        r2 = np.asarray(r2, dtype=np.float64)
        inverse6 = 1 / (r2 * r2 * r2)  # many times quicker than a power
        return np.asarray(4 * inverse6 * (inverse6 - 1) * cutoff_function(r2, state))


def cutoff_function(r2: np.ndarray, state: StatePoint) -> np.ndarray:
    """S(r) of `state.convention`, zero from the cutoff on; any shape, from squared distances in
    sigma^2.
    """
    r2 = np.asarray(r2)
    factor = np.asarray((r2 < state.cutoff_sigma**2).astype(np.float64))
    if state.convention == "truncated":
        return factor
    switching = (r2 > state.switch_sigma**2) & (r2 < state.cutoff_sigma**2)
    x = (np.sqrt(r2[switching]) - state.switch_sigma) / (state.cutoff_sigma - state.switch_sigma)
    factor[switching] = 1 + x * x * x * (-10 + x * (15 - 6 * x))
    return factor


def nearest_image(vectors: np.ndarray, box_length: float) -> np.ndarray:
    """The shortest of the periodic images of each vector, in a cubic box; shape and unit of
    `vectors`.
    """
    return np.asarray(vectors - box_length * np.round(vectors / box_length))


def _squared_distances(positions_sigma: np.ndarray, state: StatePoint) -> Iterator[np.ndarray]:
    """Minimum-image r^2 of each particle to all that follow it. Shapes (F, N - 1), (F, N - 2), ...,
    sigma^2.
    """
    positions = np.asarray(positions_sigma, dtype=np.float64)
    box = state.box_length_sigma
    for first in range(positions.shape[1] - 1):
        separation = nearest_image(positions[:, first + 1 :] - positions[:, first : first + 1], box)
        yield (separation**2).sum(axis=-1)
