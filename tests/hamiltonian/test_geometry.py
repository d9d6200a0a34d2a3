"""Cells find the pairs that a look at all distances finds, and the numbers of a large system do not
depend on which.
"""

import itertools
from functools import partial

import numpy as np
import openmm
import pytest
import torch
from models import make_random_model

from openmm_nti import StatePoint
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.hamiltonian import geometry
from openmm_nti.md.forces import create_system, torch_force

BOX = torch.tensor([9.0, 10.5, 6.3], dtype=torch.float64)  # 4, 5 and 3 cells
CUTOFF = 2.0


def random_positions(generator):
    return torch.rand(2, 150, 3, generator=generator, dtype=torch.float64) * BOX


def clustered_positions(generator):
    """Most atoms in one drop over a corner of the box, many cells empty, and one cell with nearly
    all of them.
    """
    positions = random_positions(generator)
    positions[:, 20:] = 0.4 * torch.randn(2, 130, 3, generator=generator, dtype=torch.float64)
    return positions


def unwrapped_positions(generator):
    return random_positions(generator) + BOX * torch.randint(
        -5, 6, (2, 150, 3), generator=generator
    )


def positions_on_borders(generator):
    """Atoms exactly on the walls of cells and of the box, from either side."""
    steps = torch.randint(-8, 9, (2, 150, 3), generator=generator)
    return steps * BOX / torch.tensor([4, 5, 3]) + torch.tensor([0.0, 1e-17, -1e-17]).double()


@pytest.mark.parametrize(
    "make",
    [random_positions, clustered_positions, unwrapped_positions, positions_on_borders],
    ids=lambda f: f.__name__,
)
def test_cells_find_the_pairs_of_a_look_at_all(make):
    positions = make(torch.Generator().manual_seed(1))
    expected = {
        (150 * frame + i, 150 * frame + j)
        for frame, x in enumerate(positions)
        for i, j in torch.nonzero((_distances(x, BOX) < CUTOFF).triu(1)).tolist()
    }
    assert len(expected) > 100
    for search in (geometry.pairs_in_cells, partial(geometry.pairs_of_all, at_a_time=30_000)):
        found = [
            tuple(sorted(pair)) for pair in torch.stack(search(positions, BOX, CUTOFF)).t().tolist()
        ]
        assert set(found) == expected
        assert len(found) == len(expected)


@pytest.mark.parametrize("n_particles", [2, 3, 4, 5])
def test_few_particles_are_all_pairs(n_particles):
    found = geometry.pairs_of_all(torch.zeros(2, n_particles, 3, dtype=torch.float64), BOX, CUTOFF)
    pairs = {(min(pair), max(pair)) for pair in torch.stack(found).t().tolist()}
    n = n_particles
    assert pairs == {
        *itertools.combinations(range(n), 2),
        *itertools.combinations(range(n, 2 * n), 2),
    }
    assert len(pairs) == found[0].shape[0]


def _distances(x, box):
    difference = x[None] - x[:, None]
    return (difference - box * (difference / box).round()).norm(dim=-1)


def test_neighbours_are_those_within_the_cutoff(fluid_positions):
    box = torch.full((3,), 6.0, dtype=torch.float64)
    x = torch.as_tensor(fluid_positions)
    pairs = geometry.closer(geometry.PairSearch().pairs(x, box, 3.0), 1.5)
    vectors, index, mask = geometry.PairSearch().neighbours(pairs, 8, 12)
    difference = x[:, None] - x[:, :, None]
    difference = difference - 6.0 * (difference / 6.0).round()
    for frame, atom in itertools.product(range(8), range(12)):
        expected = {j for j in range(12) if j != atom and difference[frame, atom, j].norm() < 1.5}
        neighbours = mask[frame, atom] > 0
        found = (index[frame, atom][neighbours] - 12 * frame).tolist()
        assert set(found) == expected
        assert len(found) == len(expected)
        np.testing.assert_allclose(
            vectors[:, frame, atom, neighbours].t(), difference[frame, atom, found], atol=1e-12
        )


@pytest.fixture(scope="module")
def large_state():
    return StatePoint(
        n_particles=1000,
        density_star=0.8,
        temperature_star=1.25,
        cutoff_sigma=1.6,
        switch_sigma=1.3,
    )


def test_a_large_system_by_cells_and_by_all(large_state, monkeypatch):
    """Energies, forces and energies at many lambdas; in OpenMM too, where the module is
    compiled.
    """
    model = make_random_model(large_state)
    positions_nm = lattice_positions_nm(large_state, seed=2)
    x = torch.as_tensor(positions_nm / large_state.sigma_nm).unsqueeze(0)
    box = geometry.cubic_box(large_state.box_length_sigma)
    lam = torch.tensor([0.6], dtype=torch.float64)

    def numbers():
        y = x.clone().requires_grad_(True)
        energy = model(y, box, lam)
        return (
            energy.item(),
            torch.autograd.grad(energy.sum(), y)[0],
            model.energies_at(x, box, lam).item(),
        )

    assert geometry.use_cells(x, box, model.reach)
    energy, gradient, at_many = numbers()
    context = openmm.Context(
        create_system(large_state, torch_force(model, large_state, lambda_nti=0.6)),
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    context.setPositions(positions_nm)
    state = context.getState(getEnergy=True, getForces=True)
    monkeypatch.setattr(geometry, "use_cells", lambda *_: False)
    expected, expected_gradient, expected_at_many = numbers()
    assert energy == pytest.approx(expected, rel=1e-12)
    assert at_many == pytest.approx(expected_at_many, rel=1e-12)
    scale = expected_gradient.abs().max()
    np.testing.assert_allclose(gradient / scale, expected_gradient / scale, atol=1e-12)
    assert state.getPotentialEnergy()._value == pytest.approx(
        expected * large_state.kt_kj_mol, rel=1e-10
    )
    forces = -expected_gradient[0] * large_state.kt_kj_mol / large_state.sigma_nm
    found = state.getForces(asNumpy=True)._value
    np.testing.assert_allclose(found, forces, atol=1e-9 * forces.abs().max().item())
