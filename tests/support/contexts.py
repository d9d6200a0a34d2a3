"""OpenMM Contexts for the tests of forces, and the numbers that they give."""

import openmm
from openmm import unit

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
