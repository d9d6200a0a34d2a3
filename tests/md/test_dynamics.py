"""Physics along lambda in plain OpenMM: both ends, conserved energy and the thermostat."""

import numpy as np
import openmm
import pytest
import torch
from contexts import langevin, make_context
from openmm import unit

from openmm_nti import load_model
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.fluid_system import lj_system
from openmm_nti.md.forces import create_system, torch_force
from openmm_nti.reference_md.statistics import mean_and_error
from openmm_nti.validation.analysis.gr import radial_distribution


def test_a_trajectory_at_lambda_one_has_openmms_energies(
    random_model, small_state, fluid_positions
):
    system = create_system(small_state, torch_force(random_model, small_state))
    positions = fluid_positions[0] * small_state.sigma_nm
    learned = make_context(system, positions, langevin(small_state, 0.008))
    native = make_context(lj_system(small_state))
    learned.setVelocitiesToTemperature(small_state.temperature_kelvin, 4)
    found, expected = [], []
    for _ in range(10):
        learned.getIntegrator().step(5)
        state = learned.getState(getEnergy=True, getPositions=True)
        native.setPositions(state.getPositions())
        found.append(state.getPotentialEnergy()._value)
        expected.append(native.getState(getEnergy=True).getPotentialEnergy()._value)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.ptp(expected) > 1.0


def test_lambda_zero_is_an_ideal_gas(random_model, small_state):
    """Steps of 6 ps carry every atom far: each frame is independent of the one before."""
    n_replicas, n_frames, state = 10, 30, small_state
    force = torch_force(random_model, state, n_replicas=n_replicas)
    start = np.tile(lattice_positions_nm(state, seed=1), (n_replicas, 1))
    system = create_system(state, force, n_replicas=n_replicas)
    context = make_context(system, start, langevin(state, 6.0))
    context.setParameter("lambda_nti", 0.0)
    frames = []
    for _ in range(n_frames):
        context.getIntegrator().step(2)
        found = context.getState(getEnergy=True, getForces=True, getPositions=True)
        assert found.getPotentialEnergy()._value == 0.0
        assert not found.getForces(asNumpy=True)._value.any()
        frames.append(
            found.getPositions(asNumpy=True).value_in_unit(unit.nanometer) / state.sigma_nm
        )
    positions = np.array(frames).reshape(-1, state.n_particles, 3)
    profiles = np.array(
        [
            radial_distribution(frame[np.newaxis], state.box_length_sigma, n_bins=6)[1]
            for frame in positions
        ]
    )
    deviation = profiles.mean(0) - (1 - 1 / state.n_particles)
    errors = profiles.std(0, ddof=1) / np.sqrt(len(profiles))
    assert (np.abs(deviation) < 3 * errors).all()
    assert errors[-1] < 0.02


def argon(dtype):
    """The shipped model and a fluid it was trained on, N = 40."""
    model = load_model("lj-fluid-t1.25")
    model.network.to(dtype)
    return model, StatePoint(n_particles=40, **model.potential.model_dump(), box_length_sigma=6.0)


def equilibrated(model, state, coupling):
    system = create_system(state, torch_force(model, state))
    start = lattice_positions_nm(state, seed=1)
    context = make_context(system, start, langevin(state, 0.004), "CPU")
    context.setParameter("lambda_nti", coupling)
    context.setVelocitiesToTemperature(state.temperature_kelvin, 4)
    context.getIntegrator().step(500)
    return context


def drift(model, state, coupling):
    """Slope of the total energy by a line through 20 ps without a thermostat, kT a particle per
    ns.
    """
    start = equilibrated(model, state, coupling).getState(getPositions=True, getVelocities=True)
    system = create_system(state, torch_force(model, state))
    context = make_context(system, start.getPositions(), openmm.VerletIntegrator(0.004))
    context.setVelocities(start.getVelocities())
    context.setParameter("lambda_nti", coupling)
    times_ns, energies = np.linspace(0.0, 0.02, 251), []
    for _ in times_ns:
        found = context.getState(getEnergy=True)
        energies.append(found.getPotentialEnergy()._value + found.getKineticEnergy()._value)
        context.getIntegrator().step(20)
    a_particle = np.array(energies) / state.kt_kj_mol / state.n_particles
    (slope, _), covariance = np.polyfit(times_ns, a_particle, 1, cov=True)
    error = covariance[0, 0] ** 0.5
    text = f"lambda = {coupling}: drift {slope:.1e} ± {error:.1e} kT a particle per ns"
    print(text)  # noqa: T201 (see it by pytest -s)
    return slope


@pytest.mark.slow
@pytest.mark.parametrize("coupling", [0.3, 0.7, 1.0])
def test_energy_is_conserved_over_20_ps_of_argon(coupling):
    assert abs(drift(*argon(torch.float64), coupling)) < 1e-3


@pytest.mark.slow
def test_a_float32_network_drifts_little():
    assert abs(drift(*argon(torch.float32), 0.7)) < 0.1


@pytest.mark.slow
def test_the_thermostat_holds_the_models_temperature():
    model, state = argon(torch.float32)
    context = equilibrated(model, state, 0.5)
    # 10 / ps: the energy forgets in 0.1 ps, and 16 ps are enough.
    context.getIntegrator().setFriction(10.0)
    temperatures = []
    for _ in range(200):
        context.getIntegrator().step(20)
        kinetic = context.getState(getEnergy=True).getKineticEnergy()._value
        temperatures.append(2.0 * kinetic / (3.0 * state.n_particles * state.kt_kj_mol))
    mean, error = mean_and_error(np.array(temperatures))
    print(f"T / T of the model = {mean:.4f} ± {error:.4f}")  # noqa: T201 (see it by pytest -s)
    assert abs(mean - 1.0) < 3.0 * error
    assert error < 0.02
