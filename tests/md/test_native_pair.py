"""The two-body path as OpenMM's own force is the module's, in energy, forces and dU/dlambda, at any
distance.
"""

import numpy as np
import openmm
import pytest
import torch
from contexts import make_context, numbers

from openmm_nti import LambdaHamiltonian, StatePoint
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.md.forces import create_system
from openmm_nti.md.native_pair import native_pair_force
from openmm_nti.references.noise import log_noise

LAMBDAS = (0.0, 0.02, 0.1, 0.15, 0.3, 0.5, 0.7, 0.9, 0.97, 0.999, 1.0)


def by_the_module(model, state, positions_nm, coupling):
    """Energy kJ/mol, forces (N, 3) and dU/dlambda of the pair part, by autograd."""
    x = torch.tensor(positions_nm / state.sigma_nm).unsqueeze(0).requires_grad_(True)
    lam = torch.tensor([coupling], dtype=torch.float64, requires_grad=True)
    box = cubic_box(state.box_length_sigma)
    energy = model.pair_energy(x, box, log_noise(lam, box)).sum()
    gradient, slope = torch.autograd.grad(energy, (x, lam))
    kt = state.kt_kj_mol
    return energy.item() * kt, -gradient[0].numpy() * kt / state.sigma_nm, slope.item() * kt


def context_of(model, state, positions_nm, platform="Reference"):
    system = create_system(state, native_pair_force(model, state))
    return make_context(system, positions_nm, platform=platform)


@pytest.fixture(scope="module", params=["switched", "truncated"])
def fluid(request):
    state = StatePoint(
        n_particles=12, box_length_sigma=6.5, temperature_star=1.25, convention=request.param
    )
    return LambdaHamiltonian(state.pair_potential).eval(), state


@pytest.mark.parametrize(("platform", "tolerance"), [("Reference", 1e-7), ("CPU", 1e-5)])
def test_it_is_the_modules_pair_part(platform, tolerance, fluid, fluid_positions):
    model, state = fluid
    for frame in fluid_positions[:2]:
        positions = frame * state.sigma_nm
        context = context_of(model, state, positions, platform)
        for coupling in LAMBDAS:
            energy, forces, slope = by_the_module(model, state, positions, coupling)
            found = numbers(context, coupling)
            assert found[0] == pytest.approx(energy, rel=tolerance, abs=tolerance)
            assert found[2] == pytest.approx(slope, rel=tolerance, abs=10 * tolerance)
            np.testing.assert_allclose(
                found[1], forces, rtol=tolerance, atol=tolerance * (1 + np.abs(forces).max())
            )


@pytest.mark.parametrize(
    "distance", [1e-6, 1e-3, 0.004, 0.05, 0.3, 0.7, 0.95, 1.5, 2.7, 2.995, 3.2]
)
def test_pairs_at_any_distance(distance, fluid):
    """At lambda < 1 particles pass through each other: the table must hold down to contact."""
    model, state = fluid
    positions = np.full((state.n_particles, 3), 0.0)
    positions[1, 0] = distance * state.sigma_nm
    two = state.model_copy(update={"n_particles": 2})
    context = context_of(model, two, positions[:2], "Reference")
    for coupling in LAMBDAS:
        energy, forces, slope = by_the_module(model, two, positions[:2], coupling)
        found = numbers(context, coupling)
        assert found[0] == pytest.approx(energy, rel=1e-8, abs=1e-8)
        assert found[2] == pytest.approx(slope, rel=1e-8, abs=1e-8)
        np.testing.assert_allclose(
            found[1], forces, rtol=1e-8, atol=1e-8 * (1 + np.abs(forces).max())
        )


def test_its_ends_are_the_fluid_and_the_ideal_gas(fluid, fluid_positions):
    model, state = fluid
    positions = fluid_positions[0] * state.sigma_nm
    context = context_of(model, state, positions, "Reference")
    energy, forces, _ = numbers(context, 0.0)
    assert (energy, forces.any()) == (0.0, False)
    expected = reduced_potential_numpy(positions[np.newaxis] / state.sigma_nm, state)[0]
    assert numbers(context, 1.0)[0] / state.kt_kj_mol == pytest.approx(
        expected, abs=1e-4 * state.n_particles
    )


def test_it_goes_through_xml(fluid, fluid_positions):
    model, state = fluid
    system = create_system(state, native_pair_force(model, state))
    copy = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    found = []
    for each in (system, copy):
        context = make_context(each, fluid_positions[0] * state.sigma_nm)
        found.append(numbers(context, 0.8))
    assert found[0][0] == found[1][0]
    assert found[0][2] == found[1][2]
