"""The tethered fluid: exact means, exact trades between neighbours, and starts with overlaps."""

import itertools
import math

import numpy as np
import pytest

from openmm_nti import StatePoint
from openmm_nti.fluid.energy import pair_energy
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.sampling.metropolis import trades
from openmm_nti.validation.sampling.tethered_fluid import (
    TetheredFluid,
    longest_step_ps,
    remove_overlaps,
)

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)


HOT = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=5.0)
SOFT = StatePoint.model_validate(
    {
        "n_particles": 2,
        "box_length_sigma": 8.0,
        "temperature_star": 1 / 25,
        "potential": {"type": "uhlenbeck_ford"},
    }
)


@pytest.mark.parametrize(
    ("state", "spread", "apart"),
    [(PAIR, 0.3, 0.9), (HOT, 0.02, 0.86), (SOFT, 0.6, 1.2), (SOFT, 0.1, 1.2)],
)
def test_two_tethered_particles_are_where_quadrature_says(state, spread, apart):
    """The relative position has density exp(-u(r) - |r - R|^2 / 4 s^2), the centre of mass none
    that matters. Steps must be short enough for all tethers and potentials, and are long enough.
    """
    fluid = TetheredFluid(state, Execution(seed=4))
    centres = np.array([[5.8, 3.0, 3.0], [5.8 + apart, 3.0, 3.0]])  # one of them over the boundary
    fluid.tether(centres, spread)
    starts = np.array([[-0.7, 0, 0], [0.7, 0, 0]]) * spread
    chains = np.array(
        [fluid.displacements(starts, 2400, settle=False)[1:].mean(axis=0) for _ in range(24)]
    )
    found = chains[:, 1] - chains[:, 0]
    # Cylindrical coordinates about the line of the centres.
    wide = 9.0 * spread
    along, across = np.meshgrid(
        np.linspace(apart - wide, apart + wide, 1001), np.linspace(1e-4, wide, 501), indexing="ij"
    )
    squared = along**2 + across**2
    weight = across * np.exp(
        -pair_energy(squared, state) / state.temperature_star
        - ((along - apart) ** 2 + across**2) / (4 * spread**2)
    )
    exact = (weight * along).sum() / weight.sum() - apart
    error = found.std(axis=0, ddof=1) / math.sqrt(len(found))
    assert exact > 0.1 * spread  # they repel
    assert error[0] < 0.1 * spread
    assert np.abs(found.mean(axis=0) - [exact, 0, 0]).max() < 3.5 * error.max()


def test_the_time_step_follows_stiffness_speed_and_units():
    step = longest_step_ps(PAIR)
    assert step == pytest.approx(0.008 * PAIR.time_unit_ps, rel=0.01)
    heavy = PAIR.model_copy(update={"mass_dalton": 4 * PAIR.mass_dalton})
    assert longest_step_ps(heavy) == pytest.approx(2 * step)
    large = PAIR.model_copy(update={"sigma_nm": 2 * PAIR.sigma_nm, "box_length_nm": 12 * 0.3405})
    assert longest_step_ps(large) == pytest.approx(2 * step)
    # Twice the speed; its atoms touch farther in, where they are less stiff for their kT.
    assert 0.5 * step < longest_step_ps(HOT) < 0.7 * step
    assert longest_step_ps(SOFT) > 10 * step
    never = SOFT.model_copy(update={"temperature_star": 1e4})
    assert np.isfinite(longest_step_ps(never))  # it hardly ever has 2 kT


def test_trades_sample_who_is_where_exactly():
    rng = np.random.default_rng(5)
    edge, spread = 6.0, 0.5
    positions = np.array(
        [[0.1, 3, 3], [5.2, 3, 3], [0.6, 3.9, 3], [0.2, 3.3, 3.9]]
    )  # neighbours over the boundary
    centres = positions + rng.normal(scale=0.5, size=positions.shape)
    orders = [np.array(order) for order in itertools.permutations(range(4))]
    away = [(positions - centres[order] + 3.0) % edge - 3.0 for order in orders]
    weights = np.exp([-(one**2).sum() / (2 * spread**2) for one in away])
    exact = weights / weights.sum()
    counts, whose = np.zeros(len(orders)), np.arange(4)
    for _ in range(8000):
        whose = whose[trades(positions, centres[whose], spread, edge, rng)]
        counts[next(k for k, order in enumerate(orders) if (order == whose).all())] += 1
    assert (exact > 0.02).sum() > 4  # several orders matter
    assert np.abs(counts / counts.sum() - exact).max() < 0.03


def test_trades_do_not_see_images():
    rng = np.random.default_rng(6)
    positions = rng.uniform(0, 6, size=(120, 3))
    centres = positions + rng.normal(scale=0.4, size=positions.shape)
    moved = positions + 6.0 * rng.integers(-2, 3, size=positions.shape)
    one, other = (
        trades(p, centres, 0.4, 6.0, np.random.default_rng(7)) for p in (positions, moved)
    )
    assert (one == other).all()
    assert (one != np.arange(120)).any()


def test_chains_of_a_dense_fluid_trade_and_keep_to_their_tethers():
    state = StatePoint(
        n_particles=40, density_star=0.9, temperature_star=1.25, cutoff_sigma=1.7, switch_sigma=1.5
    )
    centres = lattice_positions_nm(state, 1) / state.sigma_nm
    centres = centres + np.random.default_rng(1).normal(scale=0.4, size=centres.shape)
    fluid = TetheredFluid(state, Execution(seed=1))
    fluid.tether(centres, 0.4)
    away = fluid.displacements(np.zeros_like(centres), 800, settle=True)
    assert np.isfinite(away).all()
    assert np.abs(away).max() < 0.5 * state.box_length_sigma
    assert 0.1 < math.sqrt((away**2).mean()) < 0.6


def test_overlaps_of_a_bad_start_are_pushed_apart():
    rng = np.random.default_rng(9)
    positions = rng.uniform(
        0, 6, size=(200, 3)
    )  # the densest fluid of the paper, from the ideal gas
    positions[1] = positions[0] + 6.0  # in one place, but for the box
    moved = remove_overlaps(positions, 6.0)
    vectors = moved[:, None] - moved[None]
    vectors -= 6.0 * np.round(vectors / 6.0)
    lengths = np.linalg.norm(vectors, axis=-1) + 9.0 * np.eye(200)
    assert lengths.min() > 0.75
    good = (
        lattice_positions_nm(
            StatePoint(n_particles=40, box_length_sigma=6.0, temperature_star=1.25), 1
        )
        / 0.3405
    )
    # where there is room, nothing happens
    assert np.abs(remove_overlaps(good, 6.0) - good).max() < 2e-3


def test_chains_from_overlapping_atoms_go_on():
    state = StatePoint(n_particles=100, box_length_sigma=6.0, temperature_star=1.25)
    centres = np.random.default_rng(2).uniform(0, 6, size=(100, 3))
    fluid = TetheredFluid(state, Execution(seed=2))
    fluid.tether(centres, 0.5)
    assert np.isfinite(fluid.displacements(np.zeros((100, 3)), 240, settle=True)).all()
