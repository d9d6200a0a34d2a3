"""A crystal of springs between neighbours: free energy and samples by normal modes, exact."""

from __future__ import annotations

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.displacements import sites_sigma
from openmm_nti.fluid.energy import nearest_image, reduced_potential_numpy
from openmm_nti.fluid.state import StatePoint

SIGMA, EPSILON = 0.3405, 1.0
STIFF = 2000.0  # kT / sigma^2, of each spring


def spring_crystal() -> StatePoint:
    """Return a body-centred crystal of 16 atoms with u = k r^2 / 2 between neighbours alone.

    Between atoms that never leave the range of the potential, this is a spring for each direction.
    """
    edge, reach = 1.35, 0.93
    r = np.linspace(0.02, reach * edge, 300)
    table = {
        "type": "table",
        "r_nm": tuple(r * SIGMA),
        "u_kj_mol": tuple(0.5 * STIFF * r**2 * EPSILON),
    }
    return StatePoint.model_validate(
        {
            "crystal": {"lattice": "bcc", "cells": (2, 2, 2)},
            "density_star": 2 / edge**3,
            "temperature_star": 1.0,
            "sigma_nm": SIGMA,
            "epsilon_kj_mol": EPSILON,
            "cutoff_sigma": reach * edge,
            "switch_sigma": 1.1,
            "convention": "shifted",
            "potential": table,
        }
    )


def spring_matrix(state: StatePoint) -> np.ndarray:
    """Return how the springs of `spring_crystal` join atoms, (N, N), kT / sigma^2."""
    sites = sites_sigma(state)
    away = nearest_image(sites[:, None] - sites, state.edges_sigma)
    joined = (np.linalg.norm(away, axis=-1) < state.cutoff_sigma) & ~np.eye(len(sites), dtype=bool)
    return np.asarray(STIFF * (np.diag(joined.sum(axis=1)) - joined))


def exact_minus_log_z_rel(state: StatePoint) -> float:
    """Return -ln Z_rel of `spring_crystal` from its normal modes."""
    at_rest = reduced_potential_numpy(sites_sigma(state)[None], state)[0]
    modes = np.linalg.eigvalsh(spring_matrix(state))[1:]
    return float(at_rest + 1.5 * np.log(modes / (2 * np.pi)).sum())


def spring_frames(state: StatePoint, n_frames: int, rng: np.random.Generator) -> Ensemble:
    """Return exact independent frames of `spring_crystal`."""
    modes, vectors = np.linalg.eigh(spring_matrix(state))
    amplitudes = rng.standard_normal((n_frames, 3, len(modes) - 1)) / np.sqrt(modes[1:])
    moved = np.swapaxes(amplitudes @ vectors[:, 1:].T, 1, 2)
    positions = sites_sigma(state) + moved
    return Ensemble(
        state, positions * state.sigma_nm, reduced_potential_numpy(positions, state), {}
    )
