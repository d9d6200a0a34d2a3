"""Stretches of pairs: their determinant, their inverse, and the covariance that they stand for."""

import copy
import math

import pytest
import torch
from models import mixture

from openmm_nti import LambdaHamiltonian, StatePoint, kernels
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.kernels import use_compiled
from openmm_nti.validation.sampling.paths.stretches import rounds, stretched

FLUIDS = {
    "odd": StatePoint(n_particles=5, box_length_sigma=6.0, temperature_star=1.25),
    "even": StatePoint(n_particles=6, box_length_sigma=6.0, temperature_star=1.25),
    "mixture": mixture(3, 2),
}


def fluid(name):
    """A model, two configurations without overlaps (2, N, 3), and their noise."""
    state = FLUIDS[name]
    model = LambdaHamiltonian(state.pair_potential).bind(state)
    use_compiled(model, False)
    generator = torch.Generator().manual_seed(1)
    corners = torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * 3)
    noise = torch.randn((2, 8, 3), generator=generator, dtype=torch.float64)
    positions = (1.1 * corners + 0.06 * noise)[:, : state.n_particles]
    return model, positions, box_of(state), torch.full((2,), math.log(0.06), dtype=torch.float64)


def matrices(model, positions, box, log_s, weight, inverse=False):
    """A of both configurations, (2, 3N, 3N), and ln det A, (2,)."""
    weights, size = torch.full((2,), weight, dtype=torch.float64), positions[0].numel()
    columns = []
    for unit in torch.eye(size, dtype=torch.float64):
        z = unit.reshape(positions[0].shape).expand_as(positions)
        column, log_determinant = stretched(model, positions, box, log_s, z, weights, inverse)
        columns.append(column.reshape(2, size))
    return torch.stack(columns, dim=2), log_determinant


@pytest.mark.parametrize("name", FLUIDS)
def test_the_determinant_and_the_inverse_are_exact(name):
    given = fluid(name)
    matrix, log_determinant = matrices(*given, 3e-3)
    torch.testing.assert_close(torch.linalg.slogdet(matrix)[1], log_determinant)
    assert (log_determinant.abs() > 0.05).all()
    inverse, same = matrices(*given, 3e-3, inverse=True)
    torch.testing.assert_close(
        inverse @ matrix, torch.eye(len(matrix[0])).double().expand_as(matrix)
    )
    torch.testing.assert_close(same, log_determinant)


@pytest.mark.parametrize("name", FLUIDS)
def test_the_covariance_is_that_of_the_hessian_to_second_order(name):
    model, positions, box, log_s = fluid(name)
    hessians = torch.stack(
        [
            torch.autograd.functional.hessian(
                lambda x, level=level: model.pair_energy(x.unsqueeze(0), box, level).sum(), one
            ).reshape(one.numel(), -1)
            for one, level in zip(positions, log_s.split(1), strict=True)
        ]
    )
    errors = []
    for weight in (2e-4, 1e-4):
        matrix, _ = matrices(model, positions, box, log_s, weight)
        exact = torch.linalg.matrix_exp(-weight * hessians)
        errors.append(float((matrix @ matrix.transpose(1, 2) - exact).abs().max()))
        assert errors[-1] < 0.1 * float((exact - torch.eye(len(exact[0]))).abs().max())
    assert errors[0] / errors[1] == pytest.approx(8.0, rel=0.15)


@pytest.mark.skipif(not kernels.loaded(), reason="the operations are not compiled")
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("name", FLUIDS)
def test_compiled_stretches_are_the_same(name, inverse):
    model, *given = fluid(name)
    compiled = copy.deepcopy(model)
    use_compiled(compiled, True)
    for one, other in zip(
        matrices(compiled, *given, 3e-3, inverse),
        matrices(model, *given, 3e-3, inverse),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 8, 11])
def test_every_pair_meets_once_and_no_atom_twice_in_a_round(n):
    table = rounds(n)
    met = sorted(map(tuple, table.reshape(-1, 2).tolist()))
    assert met == [(i, j) for i in range(n) for j in range(i + 1, n)]
    assert all(len(part.unique()) == part.numel() for part in table)
