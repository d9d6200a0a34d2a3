"""Langevin dynamics in OpenMM of many chains in one window of the learned path.

The chains are replicas in one Context. The time step is as long as the forces allow: a smooth Hamiltonian, far from
lambda = 1, vibrates slowly. The mean square force is kT times the mean curvature, so the root of it is a frequency
(E|grad U|^2 = E[laplacian U] holds at equilibrium), and the step is the one asked for at lambda = 1 in units of it.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import openmm
import torch
from openmm import unit
from torch import Tensor

from openmm_nti.forces import LAMBDA, create_system, python_force, torch_force
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.platforms import fastest_platform, platform_properties
from openmm_nti.state import StatePoint
from openmm_nti.tasks import derive_seed

LONGEST_TIMESTEP_STAR = 0.05  # sigma sqrt(m / epsilon): with weak forces the friction sets the pace


def sample(
    model: LambdaHamiltonian,
    state: StatePoint,
    lam: float,
    start: Tensor,
    reference: Tensor,
    *,
    n_frames: int,
    n_steps: int,
    equilibration_steps: int,
    timestep_star: float,
    friction_star: float,
    force: Literal["torch", "python"],
    platform: str | None,
    seed: int,
) -> tuple[Tensor, float]:
    """Frames (C, n_frames, N, 3), sigma, of C chains at `lam`, and the time step they were made with.

    Parameters
    ----------
    model, state, lam
        The Hamiltonian, the system it acts on, and the coupling.
    start
        Where the chains begin, (C, N, 3), sigma.
    reference
        Frames of the fluid at lambda = 1, (R, N, 3), sigma, whose forces `timestep_star` is for.
    n_frames, n_steps
        Frames kept of each chain, and the steps between them.
    equilibration_steps
        Steps before.
    timestep_star, friction_star
        Time step at lambda = 1, in sigma sqrt(m / epsilon), and friction, in the inverse of that.
    force, platform
        TorchForce or PythonForce; the OpenMM platform, None for the fastest.
    seed
        Of velocities and thermostat.
    """
    make_force = torch_force if force == "torch" else python_force
    n_chains, n_particles = start.shape[:2]
    system = create_system(state, make_force(model, state, n_replicas=n_chains), n_replicas=n_chains)
    integrator = openmm.LangevinMiddleIntegrator(
        state.temperature_kelvin * unit.kelvin,
        friction_star / state.time_unit_ps / unit.picosecond,
        timestep_star * state.time_unit_ps * unit.picosecond,
    )
    integrator.setRandomNumberSeed(derive_seed(seed, "thermostat"))
    fastest = fastest_platform(platform)
    context = openmm.Context(system, integrator, fastest, platform_properties(fastest))
    strongest = _rms_force(context, 1.0, reference[torch.arange(n_chains) % len(reference)], state)
    own = _rms_force(context, lam, start, state)
    longer = min(max(1.0, strongest / max(own, 1e-9)), LONGEST_TIMESTEP_STAR / timestep_star)
    integrator.setStepSize(longer * timestep_star * state.time_unit_ps * unit.picosecond)
    context.setVelocitiesToTemperature(state.temperature_kelvin * unit.kelvin, derive_seed(seed, "velocities"))
    integrator.step(equilibration_steps)
    frames = []
    for _ in range(n_frames):
        integrator.step(n_steps)
        positions = context.getState(getPositions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        frames.append(torch.as_tensor(positions / state.sigma_nm).reshape(n_chains, n_particles, 3))
    return torch.stack(frames, dim=1), longer * timestep_star


def _rms_force(context: openmm.Context, lam: float, positions: Tensor, state: StatePoint) -> float:
    """Root mean square of the forces at `positions` (C, N, 3), sigma, which the Context then holds; kJ/mol/nm."""
    context.setParameter(LAMBDA, lam)
    context.setPositions(positions.reshape(-1, 3).numpy() * state.sigma_nm)
    forces = context.getState(getForces=True).getForces(asNumpy=True)
    return math.sqrt(float(np.square(forces.value_in_unit(unit.kilojoule_per_mole / unit.nanometer)).mean()))
