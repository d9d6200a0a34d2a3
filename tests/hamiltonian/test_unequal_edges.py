"""Models in boxes of unequal edges: exact for two atoms and at both ends, and blind to axes."""

import numpy as np
import openmm
import pytest
import torch
from models import make_random_model
from openmm import unit

from openmm_nti import LambdaHamiltonian, StatePoint, load_model
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.md.forces import create_system, python_force, torch_force
from openmm_nti.md.native_pair import native_pair_force
from openmm_nti.model_files import load_denoiser
from openmm_nti.references.noise import log_noise, log_noise_max

PLAIN = {"temperature_star": 1.25, "cutoff_sigma": 2.5, "switch_sigma": 2.0}
STATE = StatePoint(n_particles=12, box_sigma=(6.6, 5.4, 5.0), **PLAIN)
BOX = box_of(STATE)
LAM = torch.tensor([0.2, 0.5, 0.8, 0.95], dtype=torch.float64)


@pytest.fixture(scope="module")
def model():
    return make_random_model(STATE).bind(STATE)


@pytest.fixture(scope="module")
def x():
    """Atoms in a row of pairs, some across each wall, (1, N, 3), sigma."""
    rng = np.random.default_rng(2)
    sites = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return (
        torch.tensor(sites[rng.permutation(27)[:12]] * 1.2 + rng.uniform(-0.2, 0.2, (12, 3)))[None]
        - torch.tensor([1.3, 1.3, 1.3]).double()
    )


@pytest.mark.parametrize("edges", [(6.6, 5.4, 5.0), (5.0, 5.0, 15.0)])
def test_the_free_energy_of_two_atoms_by_quadrature_in_three_dimensions(edges):
    state = StatePoint(n_particles=2, box_sigma=edges, **PLAIN)
    model = LambdaHamiltonian(state.pair_potential).bind(state)
    # One eighth of the box, by midpoints: the rest is its mirror images.
    step = 0.05
    ticks = [(np.arange(round(e / 2 / step)) + 0.5) / round(e / 2 / step) * e / 2 for e in edges]
    r = np.stack(np.meshgrid(*ticks, indexing="ij"), -1).reshape(-1, 3)
    near = (r**2).sum(-1) < state.cutoff_sigma**2
    second = torch.tensor(r[near])
    pair = torch.stack([torch.zeros_like(second), second], dim=1)
    u = model.energies_at(pair, box_of(state), LAM).numpy()
    far = torch.tensor([[[0.0] * 3, [0.5 * e for e in edges]]], dtype=torch.float64)
    gauge = model.energies_at(far, box_of(state), LAM).numpy()
    found = gauge[0] - np.log1p(near.mean() * np.expm1(gauge - u).mean(0))
    end = model.two_body.free_energy_at_end(box_of(state).prod())
    assert float(end) < -0.01
    np.testing.assert_allclose(found, LAM * float(end), atol=2e-5)


@pytest.mark.parametrize("edges", [(6.6, 5.4, 5.0), (5.0, 5.0, 100.0)])
def test_both_ends_are_exact_in_any_box(edges, x):
    state = StatePoint(n_particles=12, box_sigma=edges, **PLAIN)
    model, box = make_random_model(state).bind(state), box_of(state)
    assert float(log_noise_max(box)) == pytest.approx(np.log(0.5 * state.box_length_sigma))
    # Tables end before the noise does, for half the shortest edge has room for the cutoff.
    assert model.two_body.log_s_min + (
        model.two_body.n_noise - 1
    ) * model.two_body.log_s_step < log_noise_max(box)
    assert float(model(x, box, torch.zeros(1))) == 0.0
    assert float(model.energies_at(x, box, torch.zeros(1))) == 0.0
    exact = reduced_potential_numpy(x.numpy(), state)
    np.testing.assert_allclose(model(x, box, torch.ones(1)).numpy(), exact, rtol=1e-10)


def test_gradients_and_slopes_are_those_of_the_energy(model, x):
    lam = torch.tensor([0.6], dtype=torch.float64)
    gradient = model.gradient(x, BOX, log_noise(lam, BOX))
    for atom, axis in ((1, 0), (5, 1), (8, 2)):
        step = torch.zeros_like(x)
        step[0, atom, axis] = 1e-5
        slope = (model(x + step, BOX, lam) - model(x - step, BOX, lam)) / 2e-5
        assert float(slope) == pytest.approx(float(gradient[0, atom, axis]), abs=1e-5)
    at = lam.clone().requires_grad_(True)
    (dudl,) = torch.autograd.grad(model(x, BOX, at).sum(), at)
    slope = (model(x, BOX, lam + 1e-5) - model(x, BOX, lam - 1e-5)) / 2e-5
    assert float(slope) == pytest.approx(float(dudl), rel=1e-5)


@pytest.mark.parametrize("axes", [(1, 2, 0), (1, 0, 2)])
def test_edges_and_coordinates_permuted_together_change_nothing(model, x, axes):
    turned, box = x[..., axes], BOX[list(axes)]
    torch.testing.assert_close(
        model.energies_at(turned, box, LAM), model.energies_at(x, BOX, LAM), rtol=1e-9, atol=1e-9
    )
    log_s = torch.tensor([-1.5], dtype=torch.float64)
    for each in (load_model("lj-fluid-t1.25"), load_denoiser("lj-fluid-t1.25")):
        bound = each.bind(STATE)
        torch.testing.assert_close(
            bound.gradient(turned, box, log_s),
            bound.gradient(x, BOX, log_s)[..., axes],
            rtol=1e-4,
            atol=1e-5,
        )


def test_an_atom_that_crosses_a_wall_changes_nothing(model, x):
    for axis in range(3):
        moved = x.clone()
        moved[0, axis, axis] += BOX[axis]
        torch.testing.assert_close(
            model.energies_at(moved, BOX, LAM), model.energies_at(x, BOX, LAM)
        )


def test_forces_in_openmm_are_those_of_the_model(model, x):
    gradient = model.gradient(x, BOX, log_noise(LAM[1:2], BOX))[0].numpy()
    for make in (torch_force, python_force):
        system = create_system(STATE, make(model, STATE, lambda_nti=0.5))
        found, forces = by_openmm(system, x)
        assert found == pytest.approx(float(model(x, BOX, LAM[1:2])), rel=1e-6, abs=1e-6)
        np.testing.assert_allclose(-forces, gradient, rtol=1e-4, atol=1e-4)
    pairs = native_pair_force(model, STATE)
    pairs.setGlobalParameterDefaultValue(0, 0.5)
    found, _ = by_openmm(create_system(STATE, pairs), x)
    expected = float(model.pair_energy(x, BOX, log_noise(LAM[1:2], BOX)))
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_force_refuses_another_box_of_the_same_volume(model, x):
    system = create_system(STATE, python_force(model, STATE))
    system.setDefaultPeriodicBoxVectors(*np.diag(STATE.edges_nm[[1, 0, 2]]))
    with pytest.raises(Exception, match="the box is not that of the state"):
        by_openmm(system, x)


def by_openmm(system, x):
    """Energy in kT, and forces in kT / sigma, on the Reference platform."""
    platform = openmm.Platform.getPlatform("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(x[0].numpy() * STATE.sigma_nm)
    found = context.getState(energy=True, forces=True)
    forces = found.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    energy = found.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    return energy / STATE.kt_kj_mol, forces * STATE.sigma_nm / STATE.kt_kj_mol
