"""Path weights are exact for any model, bracket the answer, and own up where nothing overlaps."""

import math

import numpy as np
import pytest
from exact import exact_ensemble, pair_free_energy
from models import make_random_model

from openmm_nti import Ensemble, LambdaHamiltonian, StatePoint
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators import path_weights
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.path_weights import PathConfig, Works
from openmm_nti.validation.pace import Pace

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)
CONFIG = PathConfig(n_paths=1000, n_steps=30)


@pytest.fixture(scope="module")
def pairs():
    return exact_ensemble(PAIR, 4000)


@pytest.mark.parametrize("network", ["none", "density", "denoiser"])
def test_two_particles_exactly_for_any_network(network, pairs, tmp_path):
    if network == "none":
        model = LambdaHamiltonian(PAIR.pair_potential)
    else:
        model = make_random_model(PAIR, "float32", kind=network)
    works = path_weights.sample(model, pairs, CONFIG, seed=1, directory=tmp_path, progress=False)
    exact = pair_free_energy(PAIR)
    bar = path_weights.estimate_bar(works, seed=1)
    assert abs(bar.value - exact) < 3 * bar.std_err
    assert bar.std_err < (0.02 if network == "none" else 0.1)
    found = bar.diagnostics
    assert found["lower"] < exact + 3 * found["lower_err"]
    assert found["upper"] > exact - 3 * found["upper_err"]


def test_a_stopped_calculation_goes_on_to_the_same_works(pairs, tmp_path):
    model, config = LambdaHamiltonian(PAIR.pair_potential), PathConfig(n_paths=700, n_steps=10)
    first = path_weights.sample(model, pairs, config, seed=1, directory=tmp_path, progress=False)
    files = sorted((tmp_path / "path_weights").glob("*.npz"))
    files[0].unlink()
    stamps = [path.stat().st_mtime_ns for path in files[1:]]
    again = path_weights.sample(model, pairs, config, seed=1, directory=tmp_path, progress=False)
    np.testing.assert_array_equal(first.forward, again.forward)
    np.testing.assert_array_equal(first.reverse, again.reverse)
    assert stamps == [path.stat().st_mtime_ns for path in files[1:]]


def gaussian_works(difference, dissipation, n=4000):
    """Works of a Gaussian process obey Crooks when the variance is twice the dissipation."""
    rng = np.random.default_rng(5)
    spread = math.sqrt(2 * dissipation)
    return Works(
        PAIR,
        forward=rng.normal(difference - dissipation, spread, n),
        reverse=rng.normal(difference + dissipation, spread, n),
    )


def test_gaussian_works_give_their_difference_and_both_bounds():
    works = gaussian_works(-20.0, 1.5)
    for estimate in (
        path_weights.estimate_bar(works, seed=2),
        path_weights.estimate_bracket(works),
    ):
        assert estimate.value == pytest.approx(-20.0, abs=3 * estimate.std_err)
        assert estimate.std_err < 0.15
    assert (
        path_weights.PathBar().converged(path_weights.estimate_bar(works, seed=2)).level == "good"
    )
    assert estimate.diagnostics["lower"] == pytest.approx(-21.5, abs=0.1)
    assert estimate.diagnostics["upper"] == pytest.approx(-18.5, abs=0.1)


def test_works_that_do_not_meet_have_the_bracket_for_an_error():
    works = gaussian_works(-20.0, 60.0, n=64)
    bar, bracket = path_weights.estimate_bar(works, seed=2), path_weights.estimate_bracket(works)
    assert bar.verdict.level == "bad"
    assert bar.verdict.text.startswith("unreliable: overlap 0.0")
    assert bar.std_err > 50.0 > bar.diagnostics["bootstrap_err"]
    assert bracket.diagnostics["lower"] < -20.0 < bracket.diagnostics["upper"]


def test_the_bracket_of_three_works_by_hand():
    works = Works(PAIR, np.array([0.0, 1.0, 2.0]), np.array([3.0, 5.0, 7.0]))
    found = path_weights.estimate_bracket(works)
    assert found.value == 3.0
    assert found.diagnostics["systematic_err"] == pytest.approx((4 - 1) / 4)
    assert found.diagnostics["statistical_err"] == pytest.approx(0.5 * math.sqrt((1 + 4) / 3))
    assert found.std_err == pytest.approx(math.sqrt(9 / 16 + 5 / 12))
    assert (
        Works(PAIR, works.forward[:2], works.reverse[:2]).forward.size == 2
    )  # enough for an error


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_work_that_is_not_finite_is_refused(bad):
    good = gaussian_works(-20.0, 1.5, n=64)
    for name, other in (("forward", "reverse"), ("reverse", "forward")):
        values = getattr(good, name).copy()
        values[7] = bad
        with pytest.raises(ValueError, match=f"1 of 64 {name} works are not finite"):
            Works(PAIR, **{name: values, other: getattr(good, other)})


def test_equal_works_are_not_called_good():
    found = path_weights.estimate_bar(Works(PAIR, np.full(16, -3.0), np.full(16, -3.0)), seed=1)
    assert found.value == pytest.approx(-3.0)
    assert found.verdict.level == "bad"
    assert found.std_err == math.inf
    assert path_weights.PathBar().converged(found).level != "good"


def test_an_overlap_that_is_not_a_number_is_not_called_good():
    assert path_weights._verdict(math.nan, 0.1).level == "bad"
    assert path_weights._verdict(0.5, math.nan).level == "bad"


def test_both_estimators_share_their_samples(pairs, tmp_path):
    bar, bracket = path_weights.ESTIMATORS
    config = PathConfig(n_paths=16, n_steps=10)
    model = LambdaHamiltonian(PAIR.pair_potential)
    job = Job(PAIR, pairs, model, Execution(seed=1, directory=tmp_path))
    found = bar.estimate(job, config)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("path_weights/*")}
    middle = bracket.estimate(job, config)
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.glob("path_weights/*")}
    assert stamps
    assert isinstance(found.diagnostics, bar.Diagnostics)
    assert isinstance(middle.diagnostics, bracket.Diagnostics)
    assert bar.bounds(found) == bracket.bounds(middle)
    lower, upper = bar.bounds(found).lower[0], bar.bounds(found).upper[0]
    assert middle.value == pytest.approx(0.5 * (lower + upper))
    (figure,) = bar.figures(found, tmp_path)
    forward = [work for direction, work in figure.rows if direction == "forward"]
    assert np.mean(forward) == pytest.approx(lower)
    assert list(bracket.figures(middle, tmp_path)) == []
    assert bar.overlap(found, {}).text.endswith("between the two directions")
    assert bar.evaluations(config, found) == bar.seconds(config, 2, Pace((1.0, 0.0))) == 320


def test_another_model_or_other_frames_do_not_take_up_old_works(pairs, tmp_path):
    config = PathConfig(n_paths=8, n_steps=10)
    model = LambdaHamiltonian(PAIR.pair_potential)
    turned = Ensemble(PAIR, pairs.positions_nm[:, :, ::-1], pairs.reduced_potentials, {})
    works = [
        path_weights.sample(score, data, config, Execution(seed=seed, directory=tmp_path))
        for score, data, seed in (
            (model, pairs, 1),
            (model, pairs, 2),
            (make_random_model(PAIR, "float32"), pairs, 1),
            (model, turned, 1),  # the same sum of positions
        )
    ]
    assert len({float(one.forward.sum()) for one in works}) == 4


def test_few_frames_start_few_paths_and_too_few_are_named(tmp_path):
    model = LambdaHamiltonian(PAIR.pair_potential)
    config = PathConfig(n_paths=40, n_steps=10)
    few = exact_ensemble(PAIR, 20)
    works = path_weights.sample(model, few, config, seed=1, directory=tmp_path, progress=False)
    assert (works.forward.size, works.reverse.size) == (15, 40)
    with pytest.raises(
        ValueError, match="path weights: 8 different frames are too few.*12 or more"
    ):
        path_weights.sample(model, exact_ensemble(PAIR, 8), config, seed=1, directory=tmp_path)
