"""Tethered chains: a gap that is known beforehand is measured, and stored chains are reused."""

import math

import numpy as np
import pytest
import torch
from exact import exact_ensemble, pair_free_energy

from openmm_nti import LambdaHamiltonian, StatePoint
from openmm_nti.hamiltonian.length_scale import packing
from openmm_nti.references.noise import effective_variance
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators import denoising_bound, tethered
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.denoising_bound import BoundConfig
from openmm_nti.validation.estimators.model_bound import ModelBound
from openmm_nti.validation.estimators.tethered import Gap
from openmm_nti.validation.pace import Pace

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)
PUSH = 2.0  # kT / sigma
EVEN = 2.0  # kT
LOWEST, HIGHEST = 0.012, 3.0  # sigma, of chains where a gap goes on at both ends


class Pushed(LambdaHamiltonian):
    """The exact path of two particles with a constant force too much on them, opposite ways."""

    def gradient(self, positions, box, log_s, create_graph=False):
        extra = torch.zeros_like(positions)
        extra[:, 0, 2], extra[:, 1, 2] = PUSH, -PUSH
        return super().gradient(positions, box, log_s, create_graph) + extra


class PushedEvenly(LambdaHamiltonian):
    """A force too much in proportion to 1 / s: there is as much gap in each unit of ln s."""

    def gradient(self, positions, box, log_s, create_graph=False):
        extra = torch.zeros_like(positions)
        extra[:, 0, 2], extra[:, 1, 2] = EVEN, -EVEN
        extra = extra * torch.exp(-log_s)[:, None, None]
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
    """1/2 int |extra gradient|^2 d(s^2) = PUSH^2 (s_high^2 - s_low^2) for two pushed particles.

    Most of it lies above `NOISE_SIGMA`, where chains follow it to the largest noise of the box.
    """
    exact = PUSH**2 * (HIGHEST**2 - tethered.NOISE_SIGMA[0] ** 2)
    value, std_err = measured.integral(getattr(measured, name))
    assert 0 < std_err < 0.2 * exact
    assert abs(value - exact) < 3.5 * std_err, (value, std_err, exact)


def test_a_gap_that_goes_on_at_both_ends_is_followed(pairs):
    """2 EVEN^2 by unit of ln s."""
    gap = tethered.measure(PushedEvenly(PAIR.pair_potential), pairs, 32, 240, seed=1)
    assert LOWEST < gap.noise_sigma.min() < 0.03
    assert 2.0 < gap.noise_sigma.max() < HIGHEST
    exact = 2 * EVEN**2 * math.log(HIGHEST / LOWEST)
    value, std_err = gap.integral(gap.middle)
    assert 0 < std_err < 0.1 * exact
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


@pytest.mark.parametrize("crowding", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("n_frames", [4, 7, 64])
def test_levels_integrate_over_all_noise_wherever_they_crowd(n_frames, crowding):
    generator, (low, high) = torch.Generator().manual_seed(3), tethered.NOISE_SIGMA
    found = []
    for _ in range(20_000 // n_frames):
        levels, weight = tethered._levels(n_frames, crowding, generator)
        assert levels.shape == weight.shape == (n_frames,)
        assert math.log(low) < levels.min() < levels.max() < math.log(high)
        assert weight.mean() == pytest.approx(math.log(high / low), rel=1e-12)
        found.append((weight * np.exp(2 * levels)).mean())
    assert np.mean(found) == pytest.approx((high**2 - low**2) / 2, rel=0.03)


def test_near_freezing_more_frames_have_tethers_as_long_as_cages():
    low, high = tethered._DIVIDED_SIGMA
    shares = []
    for n in (40, 120, 160, 200):
        state = StatePoint(n_particles=n, box_length_sigma=6.0, temperature_star=1.25)
        levels, _ = tethered._levels(1000, packing(state), torch.Generator())
        shares.append(((math.log(low) < levels) & (levels < math.log(high))).mean())
    assert shares[:2] == pytest.approx([0.5, 0.5], abs=0.01)
    assert shares[2] == pytest.approx(0.68, abs=0.02)
    assert shares[3] == pytest.approx(0.85, abs=0.02)


@pytest.mark.slow  # test_a_known_gap_is_found is the quick one
def test_the_exact_score_has_no_gap(pairs, tmp_path):
    model = LambdaHamiltonian(PAIR.pair_potential)
    gap = tethered.measure(model, pairs, 32, 1600, seed=2, directory=tmp_path)
    for values in (gap.lower, gap.middle, gap.upper):
        value, std_err = gap.integral(values)
        assert abs(value) < 3.5 * std_err
        assert std_err < 0.2


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
    parts = [facts[name] for name in ("model_bound_err", "gap_err", "gap_missing")]
    assert found.std_err == pytest.approx(math.hypot(*parts))
    within = PUSH**2 * (
        HIGHEST**2 - tethered.NOISE_SIGMA[0] ** 2
    )  # of the gap; chains see no other
    outside = PUSH**2 * float(effective_variance(torch.tensor(math.log(3.0)))) - within
    assert abs(found.value - (pair_free_energy(PAIR) - outside)) < 3.5 * found.std_err
    assert facts["model_bound"] < bound.value - 0.5 * within
    alone = denoising_bound.estimate(
        model, pairs, config.model_copy(update={"n_tethered": 0}), seed=1, directory=tmp_path
    )
    assert alone.value == facts["model_bound"]
    assert len(list((tmp_path / "bound").iterdir())) == 1
    assert "lower" not in alone.diagnostics
    assert all(facts[name] == value for name, value in alone.diagnostics.items())


@pytest.mark.parametrize("share", [0.7, 1.0])
def test_what_chains_from_the_model_lack_is_in_the_error(share, pairs, monkeypatch):
    """After a share of the way `middle` is too small; `lower` knows by how much, or nearly."""
    exact, noise = 5.0, 0.1 * np.sin(np.arange(32))
    gap = Gap(
        np.linspace(0.1, 0.5, 32),
        lower=share * (2 - share) * exact - noise,
        middle=share * exact + noise,
        upper=share * exact + 0.5 * noise,
        weight=np.ones(32),
    )
    alone = ModelBound(-10.0, 0.1, None)
    monkeypatch.setattr(denoising_bound, "_parts", lambda *_: (alone, gap))
    found = denoising_bound.estimate_tethered(None, pairs, BoundConfig(), seed=1)
    missing = exact - (found.value - alone.value)
    assert found.diagnostics.gap_missing == pytest.approx(share * missing, abs=0.03)
    assert abs(missing) < 2 * found.std_err
    assert (found.std_err < 0.2) is (share == 1.0)


def test_where_chains_disagree_the_error_reaches_to_the_upper_bound(pairs, monkeypatch):
    noise = 0.1 * np.sin(np.arange(32))
    gap = Gap(np.linspace(0.1, 0.5, 32), 3 + noise, 5 + noise, 9 + noise, np.ones(32))
    monkeypatch.setattr(denoising_bound, "_parts", lambda *_: (ModelBound(-10.0, 0.1, None), gap))
    found = denoising_bound.estimate_tethered(None, pairs, BoundConfig(), seed=1)
    assert found.value == pytest.approx(-5.0, abs=0.05)
    assert found.std_err == pytest.approx(4 / math.sqrt(3), abs=0.05)
    assert found.verdict.level == "warn"


def test_chains_that_remember_are_called_poor():
    noise = 0.1 * np.sin(np.arange(32))
    gap = Gap(np.linspace(0.1, 0.5, 32), 0.1 * noise, 1 + noise, 2 + noise, np.ones(32))
    alone = ModelBound(-10.0, 0.1, None)
    facts, verdict = denoising_bound.from_chains(alone, gap, 64, 6000)
    assert facts.lower == pytest.approx(-10.0, abs=0.01)
    assert verdict.level == "warn"
    assert verdict.text.startswith("poor: 2 ± 0.0")
    assert "take more tethered_steps" in verdict.text


@pytest.mark.parametrize("upper", [np.nan, 0.0])
def test_chains_that_say_nothing_are_not_called_good(upper):
    """Neither NaN nor values that do not scatter at all."""
    gap = Gap(np.linspace(0.1, 0.5, 32), *(np.zeros(32),) * 2, np.full(32, upper), np.ones(32))
    _, verdict = denoising_bound.from_chains(ModelBound(-10.0, 0.1, None), gap, 64, 6000)
    assert verdict.level == "bad"


def test_chains_that_run_into_nan_are_refused(pairs, monkeypatch):
    nothing = {name: np.full(8, np.nan) for name in ("lower", "middle", "upper")}
    monkeypatch.setattr(tethered, "_gaps", lambda *_: nothing)
    with pytest.raises(ValueError, match="tethered chains: 8 of 8 lower are not finite"):
        tethered.measure(LambdaHamiltonian(PAIR.pair_potential), pairs, 4, 240, seed=1)


def test_both_estimators_say_what_they_are(pairs, tmp_path):
    bound, exact = denoising_bound.ESTIMATORS
    config = BoundConfig(n_levels=4, n_pairs=16, n_tethered=4, tethered_steps=240)
    model = LambdaHamiltonian(PAIR.pair_potential)
    job = Job(PAIR, pairs, model, Execution(seed=1, directory=tmp_path))
    found = bound.estimate(job, config)
    assert isinstance(found.diagnostics, bound.Diagnostics)
    assert bound.bounds(found).lower == (found.value, found.std_err)
    assert bound.bounds(found).upper is None
    assert bound.converged(found).text.startswith("yes: 4 noise levels leave")
    other = exact.estimate(job, config)
    assert isinstance(other.diagnostics, exact.Diagnostics)
    assert exact.converged(other).level in {"good", "warn"}
    (figure,) = exact.figures(other, tmp_path)
    assert [row[0] for row in figure.rows] == other.diagnostics.gap_noise_sigma
    assert exact.applies(config, PAIR)
    assert not exact.applies(BoundConfig(n_tethered=0), PAIR)
    pace = Pace((1.0, 0.0), (0.0, 0.1))
    chains = bound.seconds(config, 20, pace) - bound.evaluations(config, found)
    # A step takes 2.0 at n = 20; below 160 particles chains are two and a half times as long.
    assert chains > 3 * 4 * 240 * 2.5 * 2.0


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
