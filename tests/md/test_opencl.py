"""The forces on OpenCL and CUDA, against the Reference platform, in each precision of the device.

`make test-opencl` runs the part for OpenCL; Debian's pocl-opencl-icd is a device for any CPU.
"""

import numpy as np
import openmm
import pytest
from contexts import langevin
from models import make_random_model

from openmm_nti import StatePoint
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.md.fluid_system import fluid_system
from openmm_nti.md.forces import add_to_system, create_system, python_force, torch_force
from openmm_nti.md.platforms import fastest_platform, minimize, platform_properties
from openmm_nti.md.readers import dudl

STATE = StatePoint(n_particles=12, box_length_sigma=6.0, temperature_star=1.25)
N_OTHERS = 600
TOLERANCES = {"single": 2e-4, "mixed": 2e-4, "double": 2e-6}  # of the largest force; the plugin's
MAKERS = [torch_force, python_force]


def _usable(name):
    try:
        return fastest_platform(name)
    except ValueError as error:
        return pytest.skip(str(error))


@pytest.fixture(
    params=[
        pytest.param("OpenCL", marks=pytest.mark.opencl),
        pytest.param("CUDA", marks=pytest.mark.gpu),
    ]
)
def device(request):
    return _usable(request.param)


@pytest.fixture(params=["single", "mixed", "double"])
def precision(request):
    return request.param


def context_of(system, platform, precision, positions_nm, integrator=None):
    properties = {**platform_properties(platform), "Precision": precision}
    integrator = integrator or openmm.VerletIntegrator(0.001)
    try:
        context = openmm.Context(system, integrator, platform, properties)
    except openmm.OpenMMException as error:
        pytest.skip(f"{precision} precision: {error}")
    context.setPositions(positions_nm)
    return context


def everything(context, coupling):
    context.setParameter("lambda_nti", coupling)
    state = context.getState(getEnergy=True, getForces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value, dudl(context)


@pytest.mark.parametrize("make_force", MAKERS)
def test_numbers_are_those_of_the_reference_platform(make_force, device, precision):
    model = make_random_model(STATE)
    system = create_system(STATE, make_force(model, STATE))
    positions = lattice_positions_nm(STATE, 0)
    exact = openmm.Platform.getPlatform("Reference")
    reference = openmm.Context(system, openmm.VerletIntegrator(0.001), exact)
    reference.setPositions(positions)
    context = context_of(system, device, precision, positions)
    for coupling in (0.4, 0.8, 1.0):
        energy, forces, slope = everything(reference, coupling)
        found_energy, found_forces, found_slope = everything(context, coupling)
        largest = np.abs(forces).max()
        assert largest > 0.1
        tolerance = TOLERANCES[precision]
        assert found_energy == pytest.approx(energy, rel=tolerance, abs=tolerance)
        assert found_slope == pytest.approx(slope, rel=tolerance, abs=tolerance)
        np.testing.assert_allclose(found_forces, forces, atol=tolerance * largest)


def test_the_derivative_is_right_where_no_forces_are_asked_for(device):
    system = create_system(STATE, torch_force(make_random_model(STATE), STATE))
    context = context_of(system, device, "single", lattice_positions_nm(STATE, 0))
    for coupling in (0.3, 0.9):
        context.setParameter("lambda_nti", coupling)
        alone = context.getState(getEnergy=True, getParameterDerivatives=True)
        slope = alone.getEnergyParameterDerivatives()["lambda_nti"]
        with_forces = context.getState(getForces=True, getParameterDerivatives=True)
        assert slope == with_forces.getEnergyParameterDerivatives()["lambda_nti"]
        assert dudl(context) == slope
        assert abs(slope) > 0.1


@pytest.mark.parametrize("make_force", MAKERS)
def test_among_others_that_the_device_puts_in_another_order(make_force, device):
    """Devices sort the particles of a System in space from time to time."""
    model, rng = make_random_model(STATE), np.random.default_rng(2)
    chosen = rng.permutation(STATE.n_particles + N_OTHERS)[: STATE.n_particles]
    system = openmm.System()
    for _ in range(STATE.n_particles + N_OTHERS):
        system.addParticle(STATE.mass_dalton)
    system.setDefaultPeriodicBoxVectors(*(STATE.box_length_nm * np.eye(3)))
    repulsion = openmm.CustomNonbondedForce("10 * exp(-(r / 0.2)^2)")
    repulsion.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
    repulsion.setCutoffDistance(0.6)
    for _ in range(system.getNumParticles()):
        repulsion.addParticle([])
    others = np.delete(np.arange(system.getNumParticles()), chosen).tolist()
    repulsion.addInteractionGroup(others, others)
    system.addForce(repulsion)
    add_to_system(system, model, STATE, make_force=make_force, particles=chosen)
    positions = rng.uniform(0, STATE.box_length_nm, (system.getNumParticles(), 3))
    positions[chosen] = lattice_positions_nm(STATE, 0)
    context = context_of(system, device, "single", positions, langevin(STATE, 0.002))
    context.setParameter("lambda_nti", 0.8)
    context.getIntegrator().step(600)
    after = context.getState(getPositions=True).getPositions(asNumpy=True)._value
    alone = create_system(STATE, make_force(model, STATE))
    exact = openmm.Platform.getPlatform("Reference")
    reference = openmm.Context(alone, openmm.VerletIntegrator(0.001), exact)
    reference.setPositions(after[chosen])
    assert np.abs(after[chosen] - positions[chosen]).max() > 0.05
    _, found_forces, found_slope = everything(context, 0.8)
    _, forces, slope = everything(reference, 0.8)
    largest = np.abs(forces).max()
    assert largest > 1
    assert found_slope == pytest.approx(slope, abs=1e-3 * abs(slope) + 1e-3)
    np.testing.assert_allclose(found_forces[chosen], forces, atol=1e-3 * largest)


def test_reference_dynamics_have_the_energy_of_the_formula(device):
    integrator = langevin(STATE, 0.004)
    properties = platform_properties(device)
    context = openmm.Context(fluid_system(STATE), integrator, device, properties)
    context.setPositions(lattice_positions_nm(STATE, 0))
    integrator.step(200)
    state = context.getState(energy=True, positions=True)
    frame = state.getPositions(asNumpy=True)._value / STATE.sigma_nm
    exact = reduced_potential_numpy(frame[np.newaxis], STATE)[0]
    assert exact < -0.1
    found = state.getPotentialEnergy()._value / STATE.kt_kj_mol
    assert found == pytest.approx(exact, abs=1e-3)


def test_energies_are_minimised_without_a_crash(device):
    """On pocl 3.1 the kernel of OpenMM's own minimizer ends with a segmentation fault."""
    positions = lattice_positions_nm(STATE, 3)
    context = context_of(fluid_system(STATE), device, "single", positions)
    before = context.getState(energy=True).getPotentialEnergy()
    minimize(context, tolerance=0.01, max_iterations=200)
    assert context.getState(energy=True).getPotentialEnergy() < before
