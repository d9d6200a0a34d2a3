"""Hamiltonian Monte Carlo against known targets, and the properties that make it exact."""

import math

import numpy as np
import pytest
import torch
from models import make_random_model

from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.validation.sampling import hmc

BOX = cubic_box(6.0)
STIFFNESSES = torch.tensor([1.0, 25.0, 400.0], dtype=torch.float64)


def springs(positions, box, lam):
    """Every coordinate on a spring of stiffness `lam`: <U> = 3 N / 2, whatever the stiffness."""
    return 0.5 * lam * positions.square().sum(dim=(1, 2))


def within_box(value):
    """A potential of 0 in the cube of edge 2 around zero, and `value` beyond, that no force
    announces.
    """

    def potential(positions, box, lam):
        beyond = (positions.detach().abs() > 1).flatten(1).any(dim=1)
        return 0.0 * positions.sum(dim=(1, 2)) + torch.where(beyond, value, 0.0)

    return potential


def spring_samples(n_frames):
    """100 chains of 4 particles on springs of each stiffness, from equilibrium."""
    drawn = torch.randn(
        3, 100, 4, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64
    )
    start = drawn / STIFFNESSES.sqrt()[:, None, None, None]
    return hmc.sample(
        springs,
        BOX,
        STIFFNESSES,
        start,
        n_frames=n_frames,
        n_steps=6,
        equilibration_steps=90,
        seed=2,
    )


def test_springs_of_any_stiffness_have_their_mean_energy_and_its_fluctuations():
    """The step is so long that without the Metropolis test <U> would be too large by far more than
    the error.
    """
    found = spring_samples(n_frames=60)
    energy = (
        0.5 * STIFFNESSES[:, None, None] * found.positions.square().sum(dim=(3, 4))
    )  # (K, C, frames)
    for values, exact in ((energy, 6.0), ((energy - 6.0).square(), 6.0)):
        means = values.mean(dim=2)
        error = means.std(dim=1) / math.sqrt(means.shape[1])
        assert (error < 0.05 * exact).all()
        assert ((means.mean(dim=1) - exact).abs() < 3.5 * error).all()


def test_each_window_finds_the_step_of_its_stiffness():
    found = spring_samples(n_frames=20)
    # The longest step allowed, a tenth of the box, is too short for the softest springs.
    assert found.step[0] == pytest.approx(0.6)
    assert found.acceptance[0] > 0.9
    # Adapted in moves half as long, whose errors are other ones: 0.8 is met about.
    assert ((found.acceptance[1:] > 0.65) & (found.acceptance[1:] < 0.9)).all()
    assert (found.step[1] / found.step[2]).item() == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("beyond", [math.inf, math.nan])
def test_moves_into_infinity_or_nan_are_rejected(beyond):
    """Without forces and with the moves over the wall rejected, positions are uniform between the
    walls.
    """
    chains = hmc.Chains(
        within_box(beyond),
        BOX,
        torch.ones(1),
        torch.zeros(1, 400, 1, 3, dtype=torch.float64),
        torch.Generator().manual_seed(1),
    )
    chains.step = torch.full((1,), 0.2, dtype=torch.float64)
    accepted = torch.stack([chains.move(3).mean() for _ in range(60)])
    assert 0.2 < accepted.mean() < 0.8
    assert (chains.positions.abs() <= 1).all()
    squares = chains.positions.square().flatten()
    assert squares.mean().item() == pytest.approx(1 / 3, abs=3.5 * math.sqrt(4 / 45 / 1200))


def test_the_path_leads_back_with_the_momenta_turned_round(small_state, fluid_positions):
    model = make_random_model(small_state)
    lam = torch.linspace(0.3, 1.0, len(fluid_positions), dtype=torch.float64)
    start = hmc.evaluate(model, torch.as_tensor(fluid_positions), BOX, lam)
    momenta = torch.randn(
        start.positions.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    step = torch.linspace(0.002, 0.01, len(lam), dtype=torch.float64)

    def there(point, momenta):
        return hmc.leapfrog(lambda x: hmc.evaluate(model, x, BOX, lam), point, momenta, step, 10)

    end, turned = there(start, momenta)
    assert (end.positions - start.positions).abs().max() > 0.05
    back, final = there(end, -turned)
    np.testing.assert_allclose(back.positions, start.positions, atol=1e-9)
    np.testing.assert_allclose(-final, momenta, atol=1e-8)
    np.testing.assert_allclose(back.energy, start.energy, atol=1e-7)


def test_the_energy_drifts_with_the_square_of_the_step(random_model, fluid_positions):
    lam = torch.full((len(fluid_positions),), 0.8, dtype=torch.float64)
    start = hmc.evaluate(random_model, torch.as_tensor(fluid_positions), BOX, lam)
    momenta = torch.randn(
        start.positions.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )

    def change(n_steps):
        step = torch.full((len(lam),), 0.02 / n_steps, dtype=torch.float64)
        end, final = hmc.leapfrog(
            lambda x: hmc.evaluate(random_model, x, BOX, lam), start, momenta, step, n_steps
        )
        kinetic = 0.5 * (final.square() - momenta.square()).sum(dim=(1, 2))
        return (end.energy - start.energy + kinetic).square().mean().sqrt().item()

    assert change(10) / change(20) == pytest.approx(4.0, rel=0.1)


def test_large_batches_are_evaluated_in_parts(random_model, fluid_positions, monkeypatch):
    positions, lam = (
        torch.as_tensor(fluid_positions),
        torch.linspace(0.2, 1.0, 8, dtype=torch.float64),
    )
    whole = hmc.evaluate(random_model, positions, BOX, lam)
    monkeypatch.setattr(hmc, "ATOMS_PER_BATCH", 3 * positions.shape[1])
    for one, other in zip(hmc.evaluate(random_model, positions, BOX, lam), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_steps_stay_after_equilibration():
    chains = hmc.Chains(
        springs,
        BOX,
        STIFFNESSES,
        torch.full((3, 8, 2, 3), 0.1, dtype=torch.float64),
        torch.Generator().manual_seed(1),
    )
    first = chains.step.clone()
    chains.equilibrate(10, 5)
    adapted = chains.step.clone()
    assert not torch.equal(adapted, first)
    for _ in range(5):
        chains.move(5)
    assert torch.equal(chains.step, adapted)
