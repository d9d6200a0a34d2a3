"""One short chain, as a user's own trajectory is: its error is honest, or says that it is unknown.

The series are autoregressive noise of known mean and g. Drawn are 200 of each length.
"""

import numpy as np
import pytest
from scipy.signal import lfilter

from openmm_nti import StatePoint
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.reference_md._thinning import n_independent, thin
from openmm_nti.reference_md.statistics import (
    equilibration,
    error_of_mean,
    mean_and_error,
    mean_of_frames,
    statistical_inefficiency,
)

STATE = StatePoint(n_particles=4, box_length_sigma=6, temperature_star=1.25)


def series(n, g, *, seed=1, count=200):
    """x' = a x + noise with g = (1 + a) / (1 - a), mean 0 and variance 1, (count, n)."""
    memory = (g - 1) / (g + 1)
    noise = np.random.default_rng(seed).standard_normal((count, n + 200))
    return np.sqrt(1 - memory**2) * lfilter([1], [1, -memory], noise)[:, 200:]


def equilibrated_means(chains):
    """Mean and error of each chain after equilibration, as `thin` finds it. Shape (2, count)."""
    return np.array([mean_and_error(chain[equilibration(chain) :]) for chain in chains]).T


def thinned(energies):
    frames = np.broadcast_to(lattice_positions_nm(STATE, 1), (1, len(energies), 4, 3))
    zeros = np.zeros((1, len(energies)))
    return thin(STATE, frames, energies[np.newaxis], zeros, n_frames=len(energies), provenance={})


@pytest.mark.parametrize("g", [1.0, 2.0, 5.2])
@pytest.mark.parametrize("n", [60, 100, 200, 400])
def test_errors_of_stationary_chains_are_honest(n, g):
    mean, error = equilibrated_means(series(n, g))
    known = np.isfinite(error)
    assert known.mean() > 0.8
    deviation = np.sqrt(np.mean((mean[known] / error[known]) ** 2))
    assert (0.6 if g < 5 else 0.8) < deviation < 1.25


@pytest.mark.parametrize(("n", "g"), [(20, 5.2), (40, 10), (60, 20)])
def test_chains_of_a_few_correlation_times_mostly_have_no_error(n, g):
    mean, error = equilibrated_means(series(n, g))
    known = np.isfinite(error)
    assert known.mean() < 0.5
    # As many fall far outside as fewer than 10 % of all chains.
    assert (np.abs(mean[known]) > 3 * error[known]).sum() < 0.1 * len(mean)


@pytest.mark.parametrize("n", [100, 400])
def test_thinned_frames_are_worth_what_they_say(n):
    scores = []
    for energies in series(n, 5.2):
        ensemble = thinned(energies)
        assert ensemble.n_independent < ensemble.n_frames
        mean, error = mean_of_frames(ensemble.reduced_potentials, ensemble.n_independent)
        scores.append(mean / error)  # 0 for an infinite error
    assert 0.75 < np.sqrt(np.mean(np.square(scores))) < 1.25


@pytest.mark.parametrize("n", [40, 100, 400])
def test_a_stationary_start_is_rarely_discarded(n):
    assert np.mean([equilibration(chain) > 0 for chain in series(n, 5.2)]) < 0.08


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_transients_are_found(share):
    n = 400
    transient = 10 * np.exp(-np.arange(n) / (share * n / 3))
    cuts = np.array([equilibration(chain + transient) for chain in series(n, 5.2, count=50)]) / n
    assert np.mean(cuts > 0) > 0.9
    assert share / 3 < np.median(cuts) < 1.8 * share


def test_one_wild_frame_does_not_make_the_others_independent():
    ratios = []
    for number, chain in enumerate(series(200, 5.2, count=40)):
        wild = chain.copy()
        wild[(7 * number) % 200] += 130
        ratios.append(statistical_inefficiency(wild) / statistical_inefficiency(chain))
    assert np.mean(ratios) > 0.85
    assert min(ratios) > 0.6


def test_few_samples_say_that_their_error_is_unknown():
    for n in (1, 2, 3):
        values = np.arange(float(n))
        assert mean_and_error(values) == (values.mean(), float("inf"))
    assert error_of_mean(1.0, 3.0) == float("inf")
    ensemble = thinned(series(20, 5.2, count=1)[0])
    assert ensemble.provenance["mean_reduced_potential"][1] is None
    assert any("too short to know its error" in text for text in ensemble.provenance["warnings"])


def test_a_constant_has_no_spread():
    assert statistical_inefficiency(np.full(50, 3.0)) == 1
    assert mean_and_error(np.full(50, 3.0)) == (3.0, 0.0)


def test_a_few_independent_samples_have_the_spread_of_students_t():
    rng = np.random.default_rng(2)
    samples = rng.standard_normal((20000, 8))
    errors = [error_of_mean(spread, 8) for spread in samples.std(axis=1)]
    assert np.std(samples.mean(axis=1) / errors) == pytest.approx(1, abs=0.03)


def test_thinning_by_g_leaves_three_quarters():
    assert n_independent(100, 5.2, 5.2) == pytest.approx(76, abs=1)
    assert n_independent(100, 30, 5.2) == pytest.approx(100, abs=0.1)
    assert n_independent(100, 1, 1) == 100


def test_what_the_energy_does_not_explain_keeps_no_correlation_of_it():
    energies, others = np.random.default_rng(3).standard_normal((2, 100))
    independent = 75.0
    _, worst = mean_of_frames(energies, independent)
    assert mean_of_frames(energies, independent, energies)[1] == pytest.approx(worst)
    _, found = mean_of_frames(others, independent, energies)
    assert found == pytest.approx(error_of_mean(others.std(), 100), rel=0.02)
