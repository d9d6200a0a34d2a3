"""Statistics on series whose answers are known: autoregressive noise, constants, chains that
disagree.
"""

import subprocess
import sys

import numpy as np
import pytest

from openmm_nti.reference_md import statistics
from openmm_nti.reference_md.drift import drift
from openmm_nti.reference_md.statistics import (
    bootstrap_chains,
    equilibration,
    evenly_spaced,
    mean_and_error,
    mean_of_frames,
    statistical_inefficiency,
)


def autoregressive(rng, chains, n, memory):
    """x' = a x + noise: g = (1 + a) / (1 - a), variance 1."""
    series = np.empty((chains, n))
    series[:, 0] = rng.normal(size=chains)
    for step in range(1, n):
        series[:, step] = memory * series[:, step - 1] + np.sqrt(1 - memory**2) * rng.normal(
            size=chains
        )
    return series


def test_importing_is_silent():
    code = "import openmm_nti.reference_md.statistics"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
def test_statistical_inefficiency_of_autoregressive_noise(memory):
    series = autoregressive(np.random.default_rng(1), 8, 4000, memory)
    assert statistical_inefficiency(series) == pytest.approx((1 + memory) / (1 - memory), rel=0.15)


def test_chains_that_disagree_are_worth_little():
    series = autoregressive(np.random.default_rng(1), 4, 500, 0.5)
    assert statistical_inefficiency(series + np.array([[-5], [-2], [2], [5]])) > 100


def test_chains_of_one_sample_each_are_independent():
    assert statistical_inefficiency(np.random.default_rng(1).normal(size=(200, 1))) == 1


def test_the_estimate_from_neighbours_by_hand():
    first = 0.5 + (1 + 4 * 0.5) / 100 + 0.75 * np.sqrt((1 - 0.25) / 100)
    found = statistics._of_neighbours(np.array([10.0, 5.0]), np.array([100]))
    assert found == pytest.approx((1 + first) / (1 - first))


def test_a_start_shorter_than_the_memory_is_one_sample():
    (rest,) = autoregressive(np.random.default_rng(3), 1, 4000, 0.8)
    assert statistics._is_transient(np.array([5.0]), rest)
    assert not statistics._is_transient(np.array([2.0]), rest)


def test_frames_that_are_still_correlated_count_for_fewer():
    (values,) = autoregressive(np.random.default_rng(3), 1, 4000, 0.8)
    mean, error = mean_of_frames(values + 50, 4000)
    assert mean == pytest.approx(50 + values.mean())
    assert error == pytest.approx(np.sqrt(9 / 4000), rel=0.25)
    assert mean_of_frames(values, 100)[1] == pytest.approx(0.1, rel=0.1)


def test_equilibration_finds_the_end_of_a_transient():
    series = autoregressive(np.random.default_rng(2), 8, 1000, 0.5)
    transient = 10 * np.exp(-np.arange(1000) / 20)
    assert equilibration(series) <= 100
    assert 40 <= equilibration(series + transient) <= 200


def test_a_transient_to_a_series_that_is_mostly_one_value_is_found():
    series = np.zeros(200)
    series[:20] = 5.0
    assert 20 <= equilibration(series) <= 60


@pytest.mark.parametrize("series", [np.full(50, 3.0), np.zeros(1), np.arange(2.0)])
def test_constant_and_tiny_series_are_harmless(series):
    assert equilibration(series) == 0
    assert statistical_inefficiency(series) >= 1


def test_thinning_by_g_decorrelates():
    series = autoregressive(np.random.default_rng(3), 1, 4000, 0.8)[0]
    g = statistical_inefficiency(series)
    indices = evenly_spaced(np.zeros(4000), int(4000 / g))
    assert np.diff(indices).min() >= int(g)
    assert statistical_inefficiency(series[indices]) < 1.6


def test_a_series_with_nan_is_refused():
    with pytest.raises(ValueError, match="must be finite and not empty: remove NaN"):
        statistical_inefficiency(np.array([1.0, np.nan]))


def test_even_spacing_follows_the_weights():
    np.testing.assert_array_equal(evenly_spaced(np.zeros(10), 10), np.arange(10))
    np.testing.assert_array_equal(evenly_spaced(np.zeros(10), 5), [0, 2, 4, 6, 8])
    heavy = np.concatenate([np.zeros(500), np.full(500, np.log(3))])
    assert (evenly_spaced(heavy, 100) < 500).sum() == 25


@pytest.mark.parametrize("chains", [1, 8])
def test_standard_errors_cover_the_truth(chains):
    rng = np.random.default_rng(4)
    n = 4000 // chains
    scores = []
    for _ in range(60):
        series = autoregressive(rng, chains, n, 0.6)
        mean, error = mean_and_error(series.ravel(), np.repeat(np.arange(chains), n))
        scores.append(mean / error)
    assert 0.75 < np.std(scores) < 1.35


def test_one_sample_has_no_error_bar():
    assert mean_and_error(np.array([2.0])) == (2.0, float("inf"))


@pytest.mark.parametrize("n_chains", [2, 8])
def test_bootstrap_draws_whole_units(n_chains):
    chain = np.repeat(np.arange(n_chains), 20)
    samples = list(
        bootstrap_chains(chain, rng=np.random.default_rng(0), n_bootstraps=5, block_length=5)
    )
    unit = 20 if n_chains == 8 else 5
    assert len(samples) == 5
    for indices in samples:
        starts = indices.reshape(-1, unit)
        np.testing.assert_array_equal(starts, starts[:, :1] + np.arange(unit))
        assert (starts[:, 0] % unit == 0).all()
    assert not np.array_equal(samples[0], samples[1])


def windows(rng, n_series, chains, n, memory):
    """Independent series of the chains above, (n_series, chains, n); variance 1."""
    return autoregressive(rng, n_series * chains, n, memory).reshape(n_series, chains, n)


def drift_of(samples, weights=None):
    n_series, chains, n = samples.shape
    weights = np.ones(n_series) if weights is None else weights
    return drift(samples.reshape(n_series, -1), np.repeat(np.arange(chains), n), weights)


@pytest.mark.parametrize("memory", [0.0, 0.8, 0.97])
@pytest.mark.parametrize(
    ("n_series", "chains", "n"), [(20, 2, 60), (6, 8, 20), (25, 8, 60), (15, 32, 6), (20, 1, 60)]
)
def test_stationary_series_hardly_ever_drift(n_series, chains, n, memory):
    """300 sets each of normal and of skew samples: 1 % by construction, here at most 2.5 % (3.8 of
    its errors).
    """
    rng = np.random.default_rng(5)
    alarms = 0
    for trial in range(600):
        samples = windows(rng, n_series, chains, n, memory) * rng.lognormal(size=(n_series, 1, 1))
        found = drift_of(np.exp(samples) if trial % 2 else samples, rng.uniform(0, 1, n_series))
        alarms += found.chance < 0.01
    assert alarms <= 15


def test_the_deviate_of_stationary_series_is_standard_normal():
    rng = np.random.default_rng(6)
    z = [drift_of(windows(rng, 20, 8, 40, 0.0)).z for _ in range(400)]
    assert abs(np.mean(z)) < 3 / np.sqrt(400)
    assert np.std(z) == pytest.approx(1, abs=0.12)


def test_a_drift_of_all_series_shows_in_their_sum_alone():
    """0.4 standard deviations from start to end, in each of 30 series: far below the noise of any
    of them.
    """
    samples = windows(np.random.default_rng(7), 30, 8, 40, 0.5) + 0.4 * np.linspace(0, 1, 40)
    found = drift_of(samples)
    assert found.z > 4
    assert abs(found.worst_z) < 2.5
    assert found.change == pytest.approx(30 * 0.4 * 0.75, abs=3 * found.std_err)
    assert drift_of(samples[:, :, ::-1]).z < -4


def test_one_series_that_drifts_is_named():
    samples = windows(np.random.default_rng(8), 30, 8, 40, 0.5)
    samples[17] -= 3 * np.linspace(0, 1, 40)
    found = drift_of(samples)
    assert found.worst == 17
    assert found.worst_z < -3
    assert abs(found.z) < 2
    assert found.chance < 0.01


def test_a_few_enormous_values_at_the_start_do_not_hide_the_transient_behind_them():
    rng = np.random.default_rng(9)
    samples = windows(rng, 20, 8, 40, 0.5) + np.exp(-np.arange(40) / 6)
    samples[:, :, 0] += rng.pareto(0.5, size=(20, 8))
    found = drift_of(samples)
    assert found.z < -4
    assert found.change > -20  # kT-like numbers, not those of the enormous values


def test_single_chains_drift_together_or_not_at_all():
    samples = windows(np.random.default_rng(10), 20, 1, 60, 0.5)
    found = drift_of(samples + 2 * np.linspace(0, 1, 60))
    assert found.chance < 0.01
    assert found.worst_z == 0


def test_constant_series_do_not_drift_and_single_samples_cannot():
    found = drift_of(np.full((3, 4, 10), 0.1))
    assert (found.change, found.std_err, found.z, found.worst_z, found.chance) == (0, 0, 0, 0, 1)
    assert drift_of(np.zeros((3, 8, 1))) is None


def test_a_rare_event_does_not_count_as_an_outlier():
    """Samples that are mostly zero have no interquartile range: nothing of them may be cut off."""
    rng = np.random.default_rng(11)
    samples = (rng.uniform(size=(20, 8, 40)) < 0.05 + 0.15 * np.linspace(0, 1, 40)).astype(float)
    assert drift_of(samples).z > 4
