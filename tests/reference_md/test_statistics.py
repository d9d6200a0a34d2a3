"""Statistics on series whose answers are known: autoregressive noise, constants, chains that disagree."""

import subprocess
import sys

import numpy as np
import pytest

from openmm_nti.reference_md.statistics import (
    bootstrap_chains,
    equilibration,
    evenly_spaced,
    mean_and_error,
    statistical_inefficiency,
)


def autoregressive(rng, chains, n, memory):
    """x' = a x + noise: g = (1 + a) / (1 - a), variance 1."""
    series = np.empty((chains, n))
    series[:, 0] = rng.normal(size=chains)
    for step in range(1, n):
        series[:, step] = memory * series[:, step - 1] + np.sqrt(1 - memory**2) * rng.normal(size=chains)
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


def test_equilibration_finds_the_end_of_a_transient():
    series = autoregressive(np.random.default_rng(2), 8, 1000, 0.5)
    transient = 10 * np.exp(-np.arange(1000) / 20)
    assert equilibration(series) <= 100
    assert 40 <= equilibration(series + transient) <= 200


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
    samples = list(bootstrap_chains(chain, rng=np.random.default_rng(0), n_bootstraps=5, block_length=5))
    unit = 20 if n_chains == 8 else 5
    assert len(samples) == 5
    for indices in samples:
        starts = indices.reshape(-1, unit)
        np.testing.assert_array_equal(starts, starts[:, :1] + np.arange(unit))
        assert (starts[:, 0] % unit == 0).all()
    assert not np.array_equal(samples[0], samples[1])
