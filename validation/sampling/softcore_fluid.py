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
from openmm import unit

from openmm_nti.fluid.energy import nearest_image, numbers_of_pairs
from openmm_nti.fluid.reduced import PairKind, by_kind
from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.fluid_system import bare_system, pair_force
from openmm_nti.md.platforms import minimize

ALPHA = 0.5  # minimises the thermodynamic length of the pair approximation at T* = 1.25
PARAMETER = "lambda_softcore"
_RAMP_STAGES = 20
_OVERLAP_KT = 5.0  # per particle; a fluid without overlaps has less at any lambda
_FEWEST_WINDOWS = 5


def soft_pair(
    r2: np.ndarray, state: StatePoint, lambdas: np.ndarray, kind: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the soft-core pair energy and its lambda derivative at each lambda.

    Parameters
    ----------
    r2
        Squared distances. Any shape S, sigma^2.
    lambdas
        Shape (K,).
    kind
        Kind of each pair, from `StatePoint.kinds`; broadcasts with `r2`.

    Returns
    -------
    energy, slope
        u_lambda and du_lambda/dlambda, shape (K, *S), kT; energy is +infinity for r = 0 at lambda =
        1.
    """

    def of(each: PairKind, r2: np.ndarray) -> np.ndarray:
        coupling = lambdas.reshape(-1, *[1] * r2.ndim)
        return np.stack(each.pair_in_kt.soft_core(r2, coupling, ALPHA, each.cutoff.factor(r2)))

    energy, slope = by_kind(state.pair_potential, of, r2, kind)
    return energy, slope


def soft_potential(
    positions_sigma: np.ndarray, state: StatePoint, lambdas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the reduced soft-core potential of each frame and its lambda derivative, in float64.

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
    kinds = state.kinds(*np.triu_indices(state.n_particles, k=1))
    for frame, positions in enumerate(positions_sigma):
        r2 = _pair_r2(positions, state)
        within = r2 < state.cutoff_sigma**2
        kind = None if kinds is None else kinds[within]
        energies, slopes = soft_pair(r2[within], state, lambdas, kind)
        potential[frame], slope[frame] = energies.sum(axis=-1), slopes.sum(axis=-1)
    return potential, slope


def soft_system(state: StatePoint) -> openmm.System:
    """Return the soft-core fluid as an OpenMM System with the global parameter `lambda_softcore`.

    Its energy derivative is there too.
    """
    return bare_system(state, soft_force(state))


def soft_force(state: StatePoint) -> openmm.CustomNonbondedForce:
    """Return u_lambda between all pairs; interaction groups added to it leave some out."""
    force = pair_force(state, lambda pair: pair.soft_core_expression(ALPHA, PARAMETER))
    force.addGlobalParameter(PARAMETER, 0.0)
    force.addEnergyParameterDerivative(PARAMETER)
    return force


def place_windows(
    state: StatePoint, n_pairs: float, window_length: float, n_windows: int | None
) -> np.ndarray:
    """Return lambdas from 0 to 1, equidistant in the pair estimate of thermodynamic length, (K,).

    That is int std(dU/dlambda) dlambda with

        var(dU/dlambda) = n_pairs / V int (du/dlambda)^2 exp(-u_lambda) 4 pi r^2 dr,

    which is exact at low density and needs no simulation.

    Parameters
    ----------
    state
        Box and pair potential.
    n_pairs
        How many pairs are soft.
    window_length
        Length between neighbours.
    n_windows
        Their number instead; None for as many as `window_length` asks.
    """
    grid = np.linspace(0, 1, 401)
    r = np.linspace(0, state.cutoff_sigma, 2001)[1:]
    counts = numbers_of_pairs(state)
    shares = counts / max(counts.sum(), 1.0)
    variance = np.zeros(len(grid))
    for number, share in enumerate(shares):
        kind = np.array(number) if len(shares) > 1 else None
        energy, slope = soft_pair(r**2, state, grid, kind)
        with np.errstate(invalid="ignore"):  # infinity times zero where r -> 0 at lambda = 1
            integrand = np.nan_to_num(slope**2 * np.exp(-energy)) * 4 * np.pi * r**2
        variance += share * n_pairs / state.volume_sigma3 * np.trapezoid(integrand, r)
    deviation = np.sqrt(variance)
    steps = 0.5 * (deviation[1:] + deviation[:-1]) * np.diff(grid)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    count = n_windows or max(_FEWEST_WINDOWS, 1 + int(np.ceil(length[-1] / window_length)))
    lambdas = np.interp(np.linspace(0, length[-1], count), length, grid)
    lambdas[[0, -1]] = 0, 1
    return lambdas


def raise_coupling(context: openmm.Context, coupling: float, n_steps: int) -> None:
    """Raise lambda from 0 to `coupling` in stages during half of the steps, then relax there.

    In a dense fluid some atoms may still overlap when their cores harden. Minimisation moves them
    apart; an equilibrated fluid never needs it.
    """
    integrator = context.getIntegrator()
    temperature = integrator.getTemperature()
    n_particles = context.getSystem().getNumParticles()
    fluid_at_most = _OVERLAP_KT * n_particles * unit.MOLAR_GAS_CONSTANT_R * temperature
    for stage in range(1, _RAMP_STAGES + 1):
        context.setParameter(PARAMETER, coupling * stage / _RAMP_STAGES)
        if context.getState(energy=True).getPotentialEnergy() > fluid_at_most:
            minimize(context, max_iterations=100)
            velocity_seed = integrator.getRandomNumberSeed() + stage
            context.setVelocitiesToTemperature(temperature, velocity_seed)
        integrator.step(n_steps // (2 * _RAMP_STAGES))
    integrator.step(n_steps // 2)


def _pair_r2(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return squared nearest-image distances of a frame (N, 3), (N (N - 1) / 2,), sigma^2."""
    first, second = np.triu_indices(state.n_particles, k=1)
    separation = positions_sigma[first] - positions_sigma[second]
    separation = nearest_image(separation, state.edges_sigma)
    return np.asarray((separation**2).sum(axis=-1))
