"""Stages are cut so that an error costs least, by what they are expected to dissipate."""

import itertools
import math

import numpy as np
import pytest

from openmm_nti.validation.sampling.paths.cuts import _FLAT, _OVERLAP_KT, cuts


def variance(losses, ends, at):
    losses = losses + _FLAT * losses.mean()
    return sum(
        math.expm1((losses[a:b].sum() + ends[a] + ends[b]) / _OVERLAP_KT)
        for a, b in itertools.pairwise(at)
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_other_cuts_have_less_variance(seed):
    rng = np.random.default_rng(seed)
    losses, ends = rng.exponential(2.0, 9), rng.exponential(0.7, 10)
    ends[[0, -1]] = 0.0
    for n_stages in (2, 3, 5):
        inner = itertools.combinations(range(1, 9), n_stages - 1)
        least = min(variance(losses, ends, [0, *one, 9]) for one in inner)
        found = cuts(losses, ends, n_stages, 1.0, 1.0)
        assert len(found) == n_stages + 1
        assert variance(losses, ends, found) == pytest.approx(least)


def test_equal_losses_are_cut_evenly_and_more_loss_makes_more_stages():
    losses, ends = np.full(300, 0.1), np.zeros(301)
    np.testing.assert_allclose(cuts(losses, ends, 5, 1.0, 1.0), 60 * np.arange(6), atol=2)
    np.testing.assert_allclose(cuts(0.001 * losses, ends, 5, 1.0, 1.0), 60 * np.arange(6), atol=2)
    counts = [len(cuts(k * losses, ends, None, 100.0, 20.0)) - 1 for k in (0.03, 0.3, 1, 3)]
    assert counts == sorted(counts)
    assert counts[0] == 2 < counts[2] < counts[3]


def test_dear_cuts_are_few_and_elsewhere():
    losses, ends = np.full(300, 0.1), np.zeros(301)
    many = len(cuts(losses, ends, None, 100.0, 5.0))
    assert len(cuts(losses, ends, None, 100.0, 500.0)) < many
    ends[150:300] = 8.0  # the energies are wrong there
    assert max(cuts(losses, ends, 4, 1.0, 1.0)[1:-1]) < 150


@pytest.mark.parametrize("losses", [np.zeros(10), np.eye(10)[3], np.eye(10)[0], np.eye(10)[9]])
def test_each_stage_has_a_step_at_least(losses):
    ends = np.zeros(11)
    assert cuts(losses, ends, 1000, 1.0, 1.0) == list(range(11))
    at = np.array(cuts(losses, ends, 4, 1.0, 1.0))
    assert (np.diff(at) > 0).all()
    assert (at[0], at[-1]) == (0, 10)


@pytest.mark.parametrize("n_stages", [None, 2, 130, 1000])
def test_of_many_steps_some_levels_are_looked_at(n_stages):
    losses = np.random.default_rng(1).exponential(0.02, 5000)
    found = cuts(losses, np.zeros(5001), n_stages, 100.0, 5.0)
    assert (found[0], found[-1]) == (0, 5000)
    assert (np.diff(found) > 0).all()
    assert n_stages in (None, len(found) - 1)


def test_huge_losses_are_no_overflow():
    with np.errstate(over="raise", invalid="raise"):
        assert len(cuts(np.full(40, 1e6), np.full(41, 1e5), None, 1.0, 1.0)) > 2


@pytest.mark.parametrize("n_stages", [None, 4])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_pilot_that_failed_leaves_stages_with_steps(bad, n_stages):
    """Works of such a model are refused later; their stages must exist until then."""
    losses, ends = np.full(40, 0.1), np.zeros(41)
    losses[7] = bad
    at = cuts(losses, ends, n_stages, 100.0, 5.0)
    assert len(at) == (n_stages or len(at) - 1) + 1 > 2
    assert (np.diff(at) > 0).all()
