"""OpenMM Contexts for the tests, the numbers that they give, and short trajectories by them."""

import mdtraj
import numpy as np
import openmm
from openmm import unit

from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.md.fluid_system import fluid_system, lj_topology
from openmm_nti.md.readers import dudl


def make_context(system, positions_nm=None, integrator=None, platform="Reference"):
    integrator = integrator or openmm.VerletIntegrator(0.002)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform))
    if positions_nm is not None:
        context.setPositions(positions_nm)
    return context


def langevin(state, step_ps, friction=1.0, seed=5):
    integrator = openmm.LangevinMiddleIntegrator(state.temperature_kelvin, friction, step_ps)
    integrator.setRandomNumberSeed(seed)
    return integrator


def energy_and_forces(context):
    """Return the energy in kJ/mol and the forces (N, 3) in kJ/mol/nm."""
    state = context.getState(getEnergy=True, getForces=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    forces = state.getForces(asNumpy=True)
    return energy, forces.value_in_unit(unit.kilojoule_per_mole / unit.nanometer)


def numbers(context, coupling):
    """Return energy, forces and dU/dlambda at lambda = `coupling`."""
    context.setParameter("lambda_nti", coupling)
    return *energy_and_forces(context), dudl(context)


def simulated(state, n_frames, interval=40, seed=5):
    """Frames of the state as an mdtraj trajectory, not wrapped into the box."""
    unit_ps = state.time_unit_ps
    integrator = openmm.LangevinMiddleIntegrator(
        state.temperature_kelvin, 1 / unit_ps, 0.004 * unit_ps
    )
    integrator.setRandomNumberSeed(seed)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(fluid_system(state), integrator, platform)
    context.setPositions(lattice_positions_nm(state, seed))
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=100)
    context.setVelocitiesToTemperature(state.temperature_kelvin, seed)
    integrator.step(1500)
    frames = np.empty((n_frames, state.n_particles, 3), dtype=np.float32)
    for number in range(n_frames):
        integrator.step(interval)
        frames[number] = context.getState(positions=True).getPositions(asNumpy=True)._value
    return mdtraj.Trajectory(
        frames,
        mdtraj.Topology.from_openmm(lj_topology(state)),
        time=np.arange(float(n_frames)),
        unitcell_lengths=np.tile(state.edges_nm, (n_frames, 1)),
        unitcell_angles=np.full((n_frames, 3), 90.0),
    )


def by_openmm(system, state, positions, **parameters):
    """Energy and its parameter derivatives on the Reference platform, kT."""
    platform = openmm.Platform.getPlatform("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions[0] * state.sigma_nm)
    for name, value in parameters.items():
        context.setParameter(name, value)
    found = context.getState(energy=True, parameterDerivatives=True)
    energy = found.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / state.kt_kj_mol
    slopes = found.getEnergyParameterDerivatives()
    return energy, {name: slopes[name] / state.kt_kj_mol for name in slopes}
