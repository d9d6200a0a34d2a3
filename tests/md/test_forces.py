"""TorchForce == PythonForce == the eager module, in energy, forces and dU/dlambda; and bad input is
refused.
"""

import numpy as np
import openmm
import pytest
import torch
from contexts import energy_and_forces, make_context

from openmm_nti import LambdaHamiltonian, StatePoint
from openmm_nti.md.fluid_system import lj_system
from openmm_nti.md.forces import create_system, python_force, torch_force
from openmm_nti.md.openmm_energy import OpenMMEnergy
from openmm_nti.md.readers import dudl

LAMBDAS = (0.0, 0.25, 0.6, 0.9, 1.0)


def context_of(force, state, positions, platform="Reference", n_replicas=1):
    system = create_system(state, force, n_replicas=n_replicas)
    return make_context(system, positions, platform=platform)


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
@pytest.mark.parametrize("make_force", [torch_force, python_force])
def test_a_force_equals_the_eager_module(
    make_force, platform, random_model, small_state, fluid_positions
):
    positions = fluid_positions[0] * small_state.sigma_nm
    context = context_of(make_force(random_model, small_state), small_state, positions, platform)
    module = OpenMMEnergy(random_model, small_state)
    box = torch.eye(3, dtype=torch.float64) * small_state.box_length_nm
    for value in LAMBDAS:
        x = torch.tensor(positions, requires_grad=True)
        lam = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        energy = module(x, box, lam)
        gradient, slope = torch.autograd.grad(energy, (x, lam))
        context.setParameter("lambda_nti", value)
        found_energy, found_forces = energy_and_forces(context)
        assert found_energy == pytest.approx(energy.item(), rel=1e-5, abs=1e-6)
        np.testing.assert_allclose(
            found_forces, -gradient.numpy(), rtol=1e-5, atol=1e-5 * gradient.abs().max().item()
        )
        assert dudl(context) == pytest.approx(slope.item(), rel=1e-5, abs=1e-6)


def test_lambda_one_is_openmms_own_lennard_jones(random_model, small_state, fluid_positions):
    positions = fluid_positions[0] * small_state.sigma_nm
    ours = context_of(torch_force(random_model, small_state), small_state, positions)
    native = make_context(lj_system(small_state), positions)
    (our_energy, our_forces), (energy, forces) = energy_and_forces(ours), energy_and_forces(native)
    assert our_energy == pytest.approx(energy, rel=1e-6)
    np.testing.assert_allclose(our_forces, forces, rtol=1e-5, atol=1e-5 * np.abs(forces).max())


def test_replicas_do_not_see_each_other(random_model, small_state, fluid_positions):
    positions = fluid_positions[:3] * small_state.sigma_nm
    force = torch_force(random_model, small_state, n_replicas=3)
    together = context_of(force, small_state, positions.reshape(-1, 3), n_replicas=3)
    alone = context_of(torch_force(random_model, small_state), small_state, positions[0])
    together.setParameter("lambda_nti", 0.5)
    alone.setParameter("lambda_nti", 0.5)
    total, one_by_one = energy_and_forces(together)[0], 0.0
    for frame in positions:
        alone.setPositions(frame)
        one_by_one += energy_and_forces(alone)[0]
    assert total == pytest.approx(one_by_one, rel=1e-5)


def test_dudl_refuses_a_silent_zero(small_state):
    force = openmm.CustomNonbondedForce("lambda_nti * r")
    force.addGlobalParameter("lambda_nti", 1.0)
    for _ in range(small_state.n_particles):
        force.addParticle([])
    positions = np.random.default_rng(0).uniform(size=(small_state.n_particles, 3))
    context = context_of(force, small_state, positions)
    with pytest.raises(ValueError, match="reports no derivative"):
        dudl(context)


def test_dudl_refuses_a_context_without_the_parameter(small_state):
    context = openmm.Context(
        lj_system(small_state), openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform(0)
    )
    with pytest.raises(ValueError, match="no force in this Context"):
        dudl(context)


def test_nan_positions_are_refused(random_model, small_state, fluid_positions):
    positions = fluid_positions[0] * small_state.sigma_nm
    positions[3, 1] = np.nan
    context = context_of(torch_force(random_model, small_state), small_state, positions)
    with pytest.raises(openmm.OpenMMException, match="NaN"):
        energy_and_forces(context)


def test_another_number_of_particles_is_refused(random_model, small_state):
    more = small_state.model_copy(update={"n_particles": small_state.n_particles + 1})
    positions = np.random.default_rng(0).uniform(size=(more.n_particles, 3))
    context = context_of(torch_force(random_model, small_state), more, positions)
    with pytest.raises(openmm.OpenMMException, match="another number of particles"):
        energy_and_forces(context)


def test_a_box_under_two_cutoffs_is_refused(random_model, small_state, fluid_positions):
    context = context_of(
        torch_force(random_model, small_state), small_state, fluid_positions[0] * 0.3
    )
    context.setPeriodicBoxVectors(*(0.8 * small_state.box_length_nm * np.eye(3)))
    with pytest.raises(openmm.OpenMMException, match="under two cutoffs"):
        energy_and_forces(context)


def test_a_model_of_another_cutoff_takes_that_of_the_state(small_state, fluid_positions):
    other = StatePoint(
        n_particles=12, box_length_sigma=6.0, temperature_star=1.25, cutoff_sigma=2.8
    )
    energies = [
        energy_and_forces(
            context_of(
                torch_force(LambdaHamiltonian(state.pair_potential), small_state),
                small_state,
                fluid_positions[0],
            )
        )[0]
        for state in (other, small_state)
    ]
    assert energies[0] == energies[1]


def test_a_missing_plugin_is_named(monkeypatch, random_model, small_state):
    monkeypatch.setitem(__import__("sys").modules, "openmmtorch", None)
    with pytest.raises(RuntimeError, match="openmm-torch cannot be imported.*python_force"):
        torch_force(random_model, small_state)
