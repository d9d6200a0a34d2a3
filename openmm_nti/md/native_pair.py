r"""The two-body path as OpenMM's own CustomNonbondedForce over a table, without torch.

.. math:: U_2(x, \lambda) = \sum_{i<j} \Phi(r_{ij}, s(\lambda)), \qquad
          \lambda = 1 - \frac{\ln s - \ln s_{min}}{\ln s_{max} - \ln s_{min}} .

ln s is linear in lambda. So for a fixed box the table of `hamiltonian.two_body`, equally spaced in
r and ln s, is also a table in r and lambda. OpenMM's spline through its nodes is that of the
module, except at the ends: there it is natural (without curvature), and zero beyond. The table is
therefore continued past r = 0 and lambda = 1 by the polynomials of the module's spline. The
difference falls by a factor 0.27 per node, and the table goes on until it is gone. It ends with the
path, at the noise from which on Phi is zero.

The constant C(lambda) of the path is left out: it is zero at both ends and no force feels it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openmm
import torch

from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.hamiltonian.two_body_table import two_body_table
from openmm_nti.md.openmm_energy import LAMBDA, checked_particles
from openmm_nti.references.noise import log_noise

_MARGIN = 20  # nodes past the ends: 0.27^20 is 4e-12


def native_pair_force(
    model: LambdaHamiltonian,
    state: StatePoint,
    *,
    particles: Sequence[int] | np.ndarray | None = None,
    n_system: int | None = None,
) -> openmm.CustomNonbondedForce:
    """Return `model` without its network, as a CustomNonbondedForce with `lambda_nti`.

    The parameter is 1 at first, and the force computes the derivative by it. The path has the same
    two ends, so free energies along it are as exact; without the network it needs more windows. On
    the Reference platform, energies, forces and dU/dlambda equal those of
    `LambdaHamiltonian.pair_energy` to 1e-7. Outside of [0, 1] the energy is not finite.

    Parameters
    ----------
    model
        A Hamiltonian of the state's pair potential; `LambdaHamiltonian(state.pair_potential)` will
        do.
    state
        State point of the particles on which the force acts. The table is for its box: make a new
        force for another box.
    particles
        Indices of these particles in a larger System, (N,); None for all particles.
    n_system
        Number of all particles in a larger System, which OpenMM needs to know.

    Raises
    ------
    ValueError
        If the model is of another pair potential than `state`, `particles` are not N different
        indices, or only one of `particles` and `n_system` is given.
    """
    if state.is_mixture:
        raise ValueError(
            f"native_pair_force serves one species, not {', '.join(state.composition)}: use "
            "torch_force or python_force"
        )
    fit_model(model, state)
    if (particles is None) != (n_system is None):
        raise ValueError(
            "give particles and n_system together: system.getNumParticles() counts the others too"
        )
    # Divided by 1 inside [0, 1] and by 0 outside: beyond its ends OpenMM takes the table for 0.
    inside = f"step({LAMBDA})*step(1-{LAMBDA})"
    force = openmm.CustomNonbondedForce(f"nti_pair(r, {LAMBDA})/({inside})")
    force.setName("openmm_nti_pair")
    force.addTabulatedFunction("nti_pair", _table(state))
    force.addGlobalParameter(LAMBDA, 1.0)
    force.addEnergyParameterDerivative(LAMBDA)
    force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(state.cutoff_nm)
    for _ in range(n_system or state.n_particles):
        force.addParticle([])
    if particles is not None:
        group = checked_particles(particles, state)
        force.addInteractionGroup(group, group)
    return force


def _table(state: StatePoint) -> openmm.Continuous2DFunction:
    """Return the table of Phi in kJ/mol over r in nm and lambda."""
    from scipy.interpolate import CubicSpline

    log_s, r, values = two_body_table(state.pair_potential.only_kind, state.cutoff_sigma)
    r_step = r[1] - r[0]
    log_s_step = log_s[1] - log_s[0]
    wide_r = r[0] + r_step * np.arange(-_MARGIN, r.size + _MARGIN)
    wide_log_s = log_s[0] + log_s_step * np.arange(-_MARGIN, log_s.size)
    wide = CubicSpline(log_s, CubicSpline(r, values, axis=1)(wide_r), axis=0)(wide_log_s)
    wide[-1] = 0.0
    box = box_of(state)
    start, end = (float(log_noise(torch.tensor(lam), box)) for lam in (1.0, 0.0))
    lambdas = 1.0 - (wide_log_s - start) / (end - start)
    # OpenMM counts both upwards, r first: the noise falls as lambda grows.
    return openmm.Continuous2DFunction(
        wide_r.size,
        wide_log_s.size,
        (wide[::-1] * state.kt_kj_mol).ravel(),
        wide_r[0] * state.sigma_nm,
        wide_r[-1] * state.sigma_nm,
        lambdas[-1],
        lambdas[0],
    )
