"""Both ends exact, symmetries, and derivatives against finite differences, for a network with
random weights.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import make_random_model

from openmm_nti import LambdaHamiltonian, StatePoint
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.hamiltonian.networks.edges import edges_at, exponents, initial_basis
from openmm_nti.references.noise import effective_variance, log_noise

BOX = torch.full((3,), 6.0, dtype=torch.float64)
LAMBDAS = torch.tensor([0.05, 0.3, 0.5, 0.7, 0.95], dtype=torch.float64)


def energies(model, positions, lam=LAMBDAS):
    """U at all of `lam` for one configuration (N, 3)."""
    return model(torch.as_tensor(positions).expand(len(lam), -1, -1), BOX, lam).numpy()


@pytest.fixture(
    scope="module", params=[("density", 0), ("density", 1), ("density", 2), ("painn", 2)], ids=str
)
def model(request, small_state):
    kind, n_refinements = request.param
    return make_random_model(small_state, kind=kind, n_refinements=n_refinements)


def test_the_network_contributes(model, small_state, fluid_positions):
    bare = LambdaHamiltonian(small_state.pair_potential)
    assert (
        np.abs(energies(model, fluid_positions[0]) - energies(bare, fluid_positions[0])).min()
        > 1e-4
    )


@pytest.mark.parametrize("convention", ["switched", "truncated"])
def test_lambda_one_is_exactly_lennard_jones(convention, fluid_positions):
    state = StatePoint(
        n_particles=12, box_length_sigma=6.0, temperature_star=1.25, convention=convention
    )
    found = make_random_model(state)(
        torch.as_tensor(fluid_positions), BOX, torch.ones(8, dtype=torch.float64)
    )
    np.testing.assert_allclose(
        found.numpy(), reduced_potential_numpy(fluid_positions, state), rtol=1e-12
    )


def test_lambda_zero_is_exactly_the_ideal_gas(model, fluid_positions):
    crowded = torch.as_tensor(fluid_positions * 0.3)  # overlaps that Lennard-Jones would forbid
    assert (model(crowded, BOX, torch.zeros(8, dtype=torch.float64)) == 0.0).all()


@pytest.mark.parametrize("convention", ["switched", "truncated"])
def test_the_path_is_continuous_at_both_ends(convention, fluid_positions):
    state = StatePoint(
        n_particles=12, box_length_sigma=6.0, temperature_star=1.25, convention=convention
    )
    model = make_random_model(state)
    ends = energies(
        model, fluid_positions[0], torch.tensor([0.0, 1e-9, 1.0 - 1e-9, 1.0], dtype=torch.float64)
    )
    assert ends[0] == pytest.approx(ends[1], abs=1e-6)
    # At lambda = 1 the spline of the two-body term gives way to the formula: 1e-5 kT a pair at
    # contact.
    assert ends[2] == pytest.approx(ends[3], abs=1e-3)


def test_permutation_leaves_the_energy(model, fluid_positions):
    order = np.random.default_rng(0).permutation(12)
    np.testing.assert_allclose(
        energies(model, fluid_positions[0][order]),
        energies(model, fluid_positions[0]),
        rtol=1e-10,
        atol=1e-10,
    )


def test_the_cubic_group_leaves_the_energy(model, fluid_positions):
    positions = fluid_positions[0]
    for axes, signs in itertools.product(
        itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
    ):
        turned = positions[:, axes] * np.array(signs)
        np.testing.assert_allclose(
            energies(model, turned), energies(model, positions), rtol=1e-10, atol=1e-10
        )


@settings(max_examples=10, deadline=None)
@given(shift=st.lists(st.floats(-20, 20), min_size=3, max_size=3), seed=st.integers(0, 1000))
def test_translation_and_box_vectors_leave_the_energy(shift, seed):
    """The whole fluid moved anywhere, and every atom into any cell, also with neighbours split over
    the boundary.
    """
    state = StatePoint(n_particles=12, box_length_sigma=6.0, temperature_star=1.25)
    model = make_random_model(state)
    rng = np.random.default_rng(seed)
    positions = (
        np.stack(np.meshgrid([0, 1, 2], [0, 1], [0, 1], indexing="ij"), -1).reshape(-1, 3) * 1.12
    )
    positions = positions + rng.normal(scale=0.05, size=positions.shape)
    moved = positions + np.array(shift) + 6.0 * rng.integers(-3, 4, size=positions.shape)
    np.testing.assert_allclose(
        energies(model, moved), energies(model, positions), rtol=1e-8, atol=1e-8
    )


def test_the_force_is_the_gradient(model, fluid_positions):
    x = (
        torch.as_tensor(fluid_positions[0])
        .expand(len(LAMBDAS), -1, -1)
        .clone()
        .requires_grad_(True)
    )
    (gradient,) = torch.autograd.grad(model(x, BOX, LAMBDAS).sum(), x)
    step = 1e-5
    for atom, axis in [(0, 0), (5, 1), (11, 2)]:
        shift = torch.zeros_like(x)
        shift[:, atom, axis] = step
        numerical = (
            model(x.detach() + shift, BOX, LAMBDAS) - model(x.detach() - shift, BOX, LAMBDAS)
        ) / (2 * step)
        np.testing.assert_allclose(
            gradient[:, atom, axis].numpy(), numerical.numpy(), rtol=1e-5, atol=1e-5
        )


def test_dudl_is_the_derivative(model, fluid_positions):
    x = torch.as_tensor(fluid_positions[0]).expand(len(LAMBDAS), -1, -1)
    lam = LAMBDAS.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(model(x, BOX, lam).sum(), lam)
    step = 1e-6
    numerical = (model(x, BOX, LAMBDAS + step) - model(x, BOX, LAMBDAS - step)) / (2 * step)
    np.testing.assert_allclose(slope.numpy(), numerical.numpy(), rtol=1e-5, atol=1e-5)


def test_the_analytic_pair_gradient_is_autograds(model, fluid_positions):
    x = torch.as_tensor(fluid_positions[0]).expand(len(LAMBDAS), -1, -1)
    log_s = log_noise(LAMBDAS, BOX)
    whole = model.gradient(x, BOX, log_s)
    y = x.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(
        (model.pair_energy(y, BOX, log_s) + model.network_energy(y, BOX, log_s)).sum(), y
    )
    np.testing.assert_allclose(whole.numpy(), expected.numpy(), rtol=1e-9, atol=1e-9)


def test_the_divergence_of_the_pair_field(model, fluid_positions):
    x, log_s, h = (
        torch.as_tensor(fluid_positions[:1]),
        torch.tensor([-2.0], dtype=torch.float64),
        1e-5,
    )
    steps = h * torch.eye(36, dtype=torch.float64).reshape(36, 12, 3)
    before, after = (
        model.pair_field(x + sign * steps, BOX, log_s.expand(36))[0] for sign in (-1, 1)
    )
    divergence = torch.diagonal((after - before).reshape(36, 36)).sum() / (2 * h)
    assert model.pair_field(x, BOX, log_s)[1].item() == pytest.approx(divergence.item(), rel=1e-6)


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.4])
def test_the_pair_field_does_not_jump_at_the_cutoff(noise):
    """Where the two-body force does, by up to 1e-3 kT / sigma; elsewhere the two differ by no more
    than that.
    """
    state = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)
    model, box = LambdaHamiltonian(state.pair_potential), cubic_box(7.0)
    x = torch.zeros(3, 2, 3, dtype=torch.float64)
    x[:, 1, 0] = torch.tensor([model.cutoff - 1e-9, model.cutoff + 1e-9, 1.2], dtype=torch.float64)
    log_s = torch.full((3,), math.log(noise), dtype=torch.float64)
    (inside, outside, near), force = (
        model.pair_field(x, box, log_s)[0],
        model.pair_gradient(x, box, log_s),
    )
    assert 1e-4 < force[0].abs().max() < 2e-3
    assert inside.abs().max() < 1e-8
    assert outside.abs().max() == 0.0
    assert (near - force[2]).abs().max() == pytest.approx(force[0].abs().max().item(), rel=1e-5)


def test_energies_at_many_lambdas_are_those_of_single_ones(model, fluid_positions):
    lam = torch.linspace(0, 1, 7, dtype=torch.float64)
    model.atoms_per_chunk = 3 * 2 * 12  # two frames of 12 atoms at three levels
    found = model.energies_at(torch.as_tensor(fluid_positions[:2]), BOX, lam)
    expected = np.stack([energies(model, frame, lam) for frame in fluid_positions[:2]])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-10)
    assert not found.requires_grad


def test_particles_out_of_reach_have_no_energy(model):
    far = torch.tensor([[[0.0, 0.0, 0.0], [3.0, 3.0, 3.0]]], dtype=torch.float64)
    level = torch.log(torch.tensor([0.15], dtype=torch.float64))
    assert model.pair_energy(far, BOX, level).item() == 0.0
    assert abs(model.network_energy(far, BOX, level).item()) < 1e-12


def test_float32_network_agrees_with_float64(small_state, fluid_positions):
    single, double = (
        make_random_model(small_state, "float32"),
        make_random_model(small_state, "float64"),
    )
    double.load_state_dict({k: v.double() for k, v in single.state_dict().items()})
    found, expected = energies(single, fluid_positions[0]), energies(double, fluid_positions[0])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 3e-6)])
def test_gaussians_as_exponentials_of_polynomials(dtype, tolerance):
    vectors = torch.linspace(-1.2, 1.2, 60, dtype=dtype).reshape(3, 1, 4, 5)
    basis = initial_basis(2.0, 10).to(dtype)
    gaussians, _, inverse, _ = edges_at(
        vectors, torch.ones(1, 4, 5, dtype=dtype), exponents(basis), 2.0
    )
    r = (vectors.double().square().sum(0) + 0.1**2).sqrt()
    centre, sharpness = basis.double().reshape(2, 10, 1, 1, 1)
    expected = torch.exp(-sharpness.exp() * (r - centre).square())
    np.testing.assert_allclose(gaussians.numpy(), expected.numpy(), atol=tolerance)
    np.testing.assert_allclose(inverse.numpy(), 1.0 / r.numpy(), rtol=tolerance)


def test_no_noise_at_lambda_one():
    assert effective_variance(log_noise(torch.ones(1, dtype=torch.float64), BOX)).item() == 0.0
