r"""The soft-core fluid: its pair energy, potential and OpenMM System.

All pairs at once are scaled from nothing to the pair potential u (Beutler et al., Chem. Phys. Lett.
222, 529 (1994)):

    u_lambda(r) = lambda u(r_soft) S(r),    r_soft^6 = alpha (1 - lambda) sigma^6 + r^6,

with the cutoff and switching function S of the state point, so u_0 = 0 and u_1 is its pair
potential.
"""

from __future__ import annotations

import numpy as np
import openmm

from openmm_nti.fluid.energy import nearest_image
from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.fluid_system import set_cutoff

ALPHA = 0.5  # minimises the thermodynamic length of the pair approximation at T* = 1.25
PARAMETER = "lambda_softcore"


def soft_pair(
    r2: np.ndarray, state: StatePoint, lambdas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Soft-core pair energy and its lambda derivative at each lambda.

    Parameters
    ----------
    r2
        Squared distances. Any shape S, sigma^2.
    lambdas
        Shape (K,).

    Returns
    -------
    energy, slope
        u_lambda and du_lambda/dlambda, shape (K, *S), kT; energy is +infinity for r = 0 at lambda =
        1.
    """
    coupling = lambdas.reshape(-1, *[1] * r2.ndim)
    end = state.pair_potential
    return end.pair_in_kt.soft_core(r2, coupling, ALPHA, end.cutoff.factor(r2))


def soft_potential(
    positions_sigma: np.ndarray, state: StatePoint, lambdas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Reduced soft-core potential of each frame and its lambda derivative, in float64.

    Parameters
    ----------
    positions_sigma
        Positions, wrapped or not. Shape (F, N, 3), sigma.
    lambdas
        Shape (K,).

    Returns
    -------
    potential, slope
        U_lambda and dU_lambda/dlambda. Shape (F, K), kT.
    """
    potential = np.empty((len(positions_sigma), len(lambdas)))
    slope = np.empty_like(potential)
    for frame, positions in enumerate(positions_sigma):
        r2 = _pair_r2(positions, state)
        energies, slopes = soft_pair(r2[r2 < state.cutoff_sigma**2], state, lambdas)
        potential[frame], slope[frame] = energies.sum(axis=-1), slopes.sum(axis=-1)
    return potential, slope


def soft_system(state: StatePoint) -> openmm.System:
    """The soft-core fluid as an OpenMM System with the global parameter `lambda_softcore` and its
    derivative.
    """
    system = openmm.System()
    for _ in range(state.n_particles):
        system.addParticle(state.mass_dalton)
    system.addForce(soft_force(state))
    system.setDefaultPeriodicBoxVectors(*(state.box_length_nm * np.eye(3)))
    return system


def soft_force(state: StatePoint) -> openmm.CustomNonbondedForce:
    """u_lambda between all pairs of the fluid; interaction groups added to it leave some out."""
    force = openmm.CustomNonbondedForce(state.pair.soft_core_expression(ALPHA, PARAMETER))
    force.addGlobalParameter(PARAMETER, 0.0)
    force.addEnergyParameterDerivative(PARAMETER)
    set_cutoff(force, state)
    for _ in range(state.n_particles):
        force.addParticle([])
    return force


def _pair_r2(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Squared minimum-image distances of one frame (N, 3). Shape (N (N - 1) / 2,), sigma^2."""
    first, second = np.triu_indices(state.n_particles, k=1)
    separation = positions_sigma[first] - positions_sigma[second]
    separation = nearest_image(separation, state.box_length_sigma)
    return np.asarray((separation**2).sum(axis=-1))
