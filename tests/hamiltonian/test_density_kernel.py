"""Energies of the density network in one compiled operation are those of its separate parts."""

import pytest
import torch
from models import make_random_model

from openmm_nti import kernels, load_model
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.references.noise import log_noise


@pytest.fixture(autouse=True, scope="module")
def _compiled():
    if not kernels.loaded():
        pytest.skip("the operations are not compiled: openmm-nti compile")


def energies_and_derivatives(model, positions, box, lam, *, once):
    """Energies (B,), and the derivatives of a sum over them by the pairs' vectors and lambda."""
    pairs = model.search.pairs(positions, box, model.reach)
    near = model.near(pairs, positions.shape[1])
    lam = lam.clone().requires_grad_(True)
    vectors = near.vectors.float().requires_grad_(True)
    near = near._replace(vectors=vectors)
    energies = model._learned(positions, box, log_noise(lam, box), near, once)
    factors = torch.linspace(1.0, 2.0, len(lam), dtype=torch.float64)
    return energies.detach(), *torch.autograd.grad((energies * factors).sum(), [vectors, lam])


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("n_refinements", [0, 1, 2])
def test_energies_forces_and_slope_are_those_of_the_parts(
    n_refinements, n_threads, small_state, fluid_positions
):
    model = make_random_model(
        small_state, dtype="float32", n_refinements=n_refinements, kind="density"
    ).requires_grad_(False)
    positions, box = torch.as_tensor(fluid_positions), box_of(small_state)
    lam = torch.linspace(0.1, 0.95, len(positions), dtype=torch.float64)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads)
        parts, whole = (
            energies_and_derivatives(model, positions, box, lam, once=once)
            for once in (False, True)
        )
    finally:
        torch.set_num_threads(before)
    for found, wanted in zip(whole, parts, strict=True):
        assert float(wanted.abs().max()) > 0
        assert float((found - wanted).abs().max()) < 2e-5 * float(wanted.abs().max())


@pytest.mark.parametrize("name", ["lj-fluid-t1.25", "lj-family"])
def test_the_shipped_models_have_the_same_gradient_in_one_operation(name, small_state):
    model = load_model(name).bind(small_state)
    positions = torch.as_tensor(lattice_positions_nm(small_state, 3) / small_state.sigma_nm)[None]
    positions = positions + 0.1 * torch.sin(1.0 + torch.arange(positions.numel())).reshape(
        positions.shape
    )
    box = box_of(small_state)
    log_s = torch.tensor([-1.0], dtype=torch.float64)
    once, parts = (
        model.gradient(positions, box, log_s, create_graph=graph).detach()
        for graph in (False, True)
    )
    assert float((once - parts).abs().max()) < 1e-5 * float(parts.abs().max())


def test_a_second_derivative_is_refused(small_state, fluid_positions):
    """It would be zero where it is not."""
    model = make_random_model(small_state, dtype="float32", n_refinements=1, kind="density")
    positions, box = torch.as_tensor(fluid_positions), box_of(small_state)
    near = model.near(model.search.pairs(positions, box, model.reach), positions.shape[1])
    near = near._replace(vectors=near.vectors.float().requires_grad_(True))
    log_s = torch.full((len(positions),), -1.0, dtype=torch.float64)
    energy = model._learned(positions, box, log_s, near, True).sum()
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(energy, near.vectors, create_graph=True)
