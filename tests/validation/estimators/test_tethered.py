"""Tethered chains: exact means, exact trades, and a gap that is known beforehand."""

import itertools
import math

import numpy as np
import pytest
import torch
from exact import exact_ensemble, pair_free_energy

from openmm_nti import LambdaHamiltonian, StatePoint
from openmm_nti.fluid.energy import pair_energy
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.references.noise import effective_variance
from openmm_nti.validation.estimators import denoising_bound, tethered
from openmm_nti.validation.estimators.denoising_bound import BoundConfig
from openmm_nti.validation.estimators.tethered import Gap
from openmm_nti.validation.sampling.metropolis import trades
from openmm_nti.validation.sampling.tethered_fluid import TetheredFluid, apart

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)
PUSH = 2.0  # kT / sigma


class Pushed(LambdaHamiltonian):
    """The exact path of two particles with a constant force too much on them, opposite ways."""

    def gradient(self, positions, box, log_s, create_graph=False):
        extra = torch.zeros_like(positions)
        extra[:, 0, 2], extra[:, 1, 2] = PUSH, -PUSH
        return super().gradient(positions, box, log_s, create_graph) + extra


@pytest.fixture(scope="module")
def pairs():
    return exact_ensemble(PAIR, 4000)


@pytest.fixture(scope="module")
def measured(pairs, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tethered")
    return tethered.measure(
        Pushed(PAIR.pair_potential), pairs, 32, 540, seed=1, directory=directory
    )


@pytest.mark.parametrize("name", ["lower", "middle", "upper"])
def test_a_known_gap_is_found(measured, name):
    """1/2 int |extra gradient|^2 d(s^2) = PUSH^2 (s_high^2 - s_low^2) for two pushed particles."""
    low, high = tethered.NOISE_SIGMA
    exact = PUSH**2 * (high**2 - low**2)
    value, std_err = measured.integral(getattr(measured, name))
    assert 0 < std_err < 0.2 * exact
    assert abs(value - exact) < 3.5 * std_err, (value, std_err, exact)


def test_where_the_gap_lies(measured):
    """By unit of ln s it is 2 PUSH^2 s^2."""
    noise, density, errors = measured.profile(measured.middle)
    assert len(noise) == 8
    assert (np.diff(noise) > 0).all()
    assert (
        np.abs((density - 2 * PUSH**2 * noise**2) / errors).max() < 5
    )  # of four frames each, not all at one noise
    assert density[-1] > 10 * density[0]


@pytest.mark.parametrize("n_frames", [4, 7, 64])
def test_levels_integrate_over_all_noise_wherever_they_crowd(n_frames):
    generator, (low, high) = torch.Generator().manual_seed(3), tethered.NOISE_SIGMA
    found = []
    for _ in range(20_000 // n_frames):
        levels, weight = tethered._levels(n_frames, generator)
        assert levels.shape == weight.shape == (n_frames,)
        assert math.log(low) < levels.min() < levels.max() < math.log(high)
        assert weight.mean() == pytest.approx(math.log(high / low), rel=1e-12)
        found.append((weight * np.exp(2 * levels)).mean())
    assert np.mean(found) == pytest.approx((high**2 - low**2) / 2, rel=0.03)


def test_the_exact_score_has_no_gap(pairs, tmp_path):
    model = LambdaHamiltonian(PAIR.pair_potential)
    gap = tethered.measure(model, pairs, 32, 1600, seed=2, directory=tmp_path)
    for values in (gap.lower, gap.middle, gap.upper):
        value, std_err = gap.integral(values)
        assert abs(value) < 3.5 * std_err
        assert std_err < 0.2


def test_two_tethered_particles_are_where_quadrature_says():
    """The relative position has density exp(-u(r) - |r - R|^2 / 4 s^2), the centre of mass none
    that matters.
    """
    spread, apart = 0.3, 0.9
    fluid = TetheredFluid(PAIR, seed=4)
    centres = np.array([[5.8, 3.0, 3.0], [5.8 + apart, 3.0, 3.0]])  # one of them over the boundary
    fluid.tether(centres, spread)
    starts = np.array([[-0.2, 0, 0], [0.2, 0, 0]])
    chains = np.array(
        [fluid.displacements(starts, 2400, settle=False)[1:].mean(axis=0) for _ in range(24)]
    )
    found = chains[:, 1] - chains[:, 0]
    # Cylindrical coordinates about the line of the centres.
    along, across = np.meshgrid(
        np.linspace(-1.5, 3.5, 1001), np.linspace(1e-3, 2.5, 501), indexing="ij"
    )
    squared = along**2 + across**2
    weight = across * np.exp(
        -pair_energy(squared, PAIR) - ((along - apart) ** 2 + across**2) / (4 * spread**2)
    )
    exact = (weight * along).sum() / weight.sum() - apart
    error = found.std(axis=0, ddof=1) / math.sqrt(len(found))
    assert exact > 0.1  # they repel
    assert error[0] < 0.03
    assert np.abs(found.mean(axis=0) - [exact, 0, 0]).max() < 3.5 * error.max()


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
    fluid = TetheredFluid(state, seed=1)
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
    moved = apart(positions, 6.0)
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
    assert np.abs(apart(good, 6.0) - good).max() < 2e-3  # where there is room, nothing happens


def test_chains_from_overlapping_atoms_go_on():
    state = StatePoint(n_particles=100, box_length_sigma=6.0, temperature_star=1.25)
    centres = np.random.default_rng(2).uniform(0, 6, size=(100, 3))
    fluid = TetheredFluid(state, seed=2)
    fluid.tether(centres, 0.5)
    assert np.isfinite(fluid.displacements(np.zeros((100, 3)), 240, settle=True)).all()


def test_killed_and_shared_out_the_result_is_the_same(pairs, tmp_path):
    model = LambdaHamiltonian(PAIR.pair_potential)
    whole, again = (
        tethered.measure(model, pairs, 8, 240, seed=3, directory=tmp_path / name, workers=workers)
        for name, workers in (("one", 1), ("two", 2))
    )
    assert (whole.middle == again.middle).all()
    min((tmp_path / "one" / "tethered").iterdir()).unlink()
    resumed = tethered.measure(model, pairs, 8, 240, seed=3, directory=tmp_path / "one")
    assert (resumed.upper == whole.upper).all()


def test_a_truncated_file_of_chains_is_named(pairs, tmp_path):
    model = LambdaHamiltonian(PAIR.pair_potential)
    tethered.measure(model, pairs, 4, 240, seed=3, directory=tmp_path)
    (file,) = (tmp_path / "tethered").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RuntimeError, match="truncated"):
        tethered.measure(model, pairs, 4, 240, seed=3, directory=tmp_path)


def test_few_particles_have_longer_chains():
    assert [tethered.steps(1000, n) for n in (2, 40, 64, 100, 160, 200)] == [
        2500,
        2500,
        2500,
        1600,
        1000,
        1000,
    ]


def test_the_error_of_an_integral_is_that_of_repeats():
    rng = np.random.default_rng(8)
    errors, values = [], []
    for _ in range(300):
        log_s = rng.permutation((np.arange(32) + rng.random(32)) / 32)
        gap = Gap(np.exp(log_s), *(np.zeros(32),) * 3, np.ones(32))
        value, error = gap.integral(np.sin(3 * log_s) + rng.normal(scale=0.3, size=32))
        values.append(value)
        errors.append(error)
    assert np.mean(values) == pytest.approx((1 - math.cos(3)) / 3, abs=0.01)
    assert np.mean(np.square(errors)) == pytest.approx(np.var(values), rel=0.25)


def test_the_bound_and_the_estimate_of_a_model_with_a_gap(pairs, tmp_path):
    """Chains win back what the model lacks; both say how much, and share their samples."""
    model = Pushed(PAIR.pair_potential)
    config = BoundConfig(n_levels=24, n_pairs=2000, n_tethered=16, tethered_steps=800)
    bound = denoising_bound.estimate(model, pairs, config, seed=1, directory=tmp_path)
    found = denoising_bound.estimate_tethered(model, pairs, config, seed=1, directory=tmp_path)
    facts = bound.diagnostics
    assert (bound.method, found.method) == ("neural_ti_bound", "neural_ti_tethered")
    assert bound.value == facts["lower"]
    assert bound.std_err == facts["lower_err"]
    assert found.value == pytest.approx(facts["model_bound"] + facts["gap"])
    assert found.std_err == pytest.approx(math.hypot(facts["model_bound_err"], facts["gap_err"]))
    low, high = tethered.NOISE_SIGMA
    within = PUSH**2 * (high**2 - low**2)  # of the gap; the chains see no other
    outside = PUSH**2 * float(effective_variance(torch.tensor(math.log(3.0)))) - within
    assert abs(found.value - (pair_free_energy(PAIR) - outside)) < 3.5 * found.std_err
    assert facts["model_bound"] < bound.value - 0.5 * within
    alone = denoising_bound.estimate(
        model, pairs, config.model_copy(update={"n_tethered": 0}), seed=1, directory=tmp_path
    )
    assert alone.value == facts["model_bound"]
    assert len(list((tmp_path / "bound").iterdir())) == 1


def test_chains_that_remember_are_called_poor():
    gap = Gap(
        np.linspace(0.1, 0.5, 32),
        np.zeros(32),
        np.ones(32),
        2 * np.ones(32) + 0.1 * np.sin(np.arange(32)),
        np.ones(32),
    )
    alone = denoising_bound.FreeEnergy(-10.0, 0.1, "neural_ti_bound", "switched", 40)
    facts = denoising_bound._of_chains(alone, gap, BoundConfig())
    assert facts["verdict"].startswith("poor: 2 +- 0.0")
    assert "take more tethered_steps" in facts["verdict"]


def test_forces_that_jump_have_no_chains(pairs, tmp_path):
    state = StatePoint(**{**PAIR.model_dump(), "convention": "truncated"})
    data = type(pairs)(state, pairs.positions_nm, pairs.reduced_potentials, {})
    model = LambdaHamiltonian(state.pair_potential)
    with pytest.raises(ValueError, match="use `switched`"):
        tethered.measure(model, data, 8, 240, seed=1, directory=tmp_path)
    few = BoundConfig(n_levels=4, n_pairs=8)
    assert "lower" not in denoising_bound.estimate(model, data, few, seed=1).diagnostics
    with pytest.raises(ValueError, match="n_tethered above 0, and the `switched` convention"):
        denoising_bound.estimate_tethered(model, data, few, seed=1)


def test_too_few_frames_for_an_error_are_refused():
    with pytest.raises(ValueError, match="n_tethered = 3 is too few"):
        BoundConfig(n_tethered=3)
