"""Windows that have not come to equilibrium, on a path whose free energy is known exactly."""

import logging
import math

import numpy as np
import pytest

from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import Verdict
from openmm_nti.validation.analysis.equilibration import CHANCE, check_equilibration
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_estimates import estimate_mbar, estimate_ti

STATE = StatePoint(n_particles=2, box_length_sigma=6, temperature_star=1.25)
STIFFNESS, DIMENSIONS = 8.0, 10
GOOD = Verdict("good", "good")
EXACT = 0.5 * DIMENSIONS * math.log(STIFFNESS)


def oscillators(seed, *, n=60, n_chains=8, n_windows=9, memory=0.5, excess=None):
    """U = k(lambda) x^2 / 2 with k from 1 to `STIFFNESS`; `excess` times the right amplitude at
    each time, (K, n).
    """
    rng = np.random.default_rng(seed)
    lambdas = np.linspace(0, 1, n_windows)
    k = 1 + (STIFFNESS - 1) * lambdas
    x = np.empty((n_windows, n_chains, n, DIMENSIONS))
    x[:, :, 0] = rng.standard_normal(x[:, :, 0].shape)
    for step in range(1, n):
        kick = rng.standard_normal(x[:, :, 0].shape)
        x[:, :, step] = memory * x[:, :, step - 1] + math.sqrt(1 - memory**2) * kick
    if excess is not None:
        x *= np.broadcast_to(1 + excess, (n_windows, n))[:, None, :, None]
    half_x2 = 0.5 * (x**2).sum(axis=-1).reshape(n_windows, -1) / k[:, None]
    chain = np.repeat(np.arange(n_chains), n)
    return WindowData(lambdas, half_x2[:, :, None] * k, (STIFFNESS - 1) * half_x2, chain)


def relaxation(time, n=60, amplitude=0.5):
    return amplitude * np.exp(-np.arange(n) / time)


def test_windows_at_rest_are_used_whole():
    data = oscillators(1)
    test = check_equilibration(data, method="mbar_softcore")
    assert test.data is data
    assert (test.error, test.verdict, test.facts["left_out"]) == (0, None, 0)
    assert test.joined(GOOD) is GOOD


def test_alarms_on_windows_at_rest_are_as_rare_as_they_should_be():
    alarms = sum(
        check_equilibration(oscillators(seed), method="mbar_softcore").verdict is not None
        for seed in range(500)
    )
    assert alarms <= 500 * CHANCE + 3 * math.sqrt(500 * CHANCE)


@pytest.mark.parametrize("estimate", [estimate_mbar, estimate_ti])
def test_a_short_transient_is_left_out_and_said(estimate, caplog):
    data = oscillators(2, excess=relaxation(5, amplitude=0.7))
    with caplog.at_level(logging.WARNING):
        result = estimate(data, STATE, method="mbar_softcore", seed=1)
    facts = result.diagnostics["drift"]
    assert abs(result.value - EXACT) < 3 * result.std_err < 3
    assert (
        np.trapezoid(data.dudl.mean(axis=1), data.lambdas) > EXACT + 1.5
    )  # what it would have been
    assert (facts["left_out"], facts["worst_lambda"] in data.lambdas) == (0.5, True)
    assert facts["z"] < -5
    assert facts["change"] < -5 * facts["change_std_err"]
    assert abs(facts["rest"]["change"]) < 2
    assert result.diagnostics["n_samples"] == data.dudl.size // 2
    assert result.verdict.text.startswith("poor equilibration (only the later half is used")
    assert "mbar_softcore: poor" in caplog.text
    assert "raise estimates.softcore.equilibration" in caplog.text


@pytest.mark.parametrize("estimate", [estimate_mbar, estimate_ti])
def test_a_drift_to_the_end_has_no_error_bar(estimate):
    result = estimate(
        oscillators(3, excess=relaxation(60, amplitude=1.0)), STATE, method="mbar_neural", seed=1
    )
    assert result.std_err == math.inf
    assert result.diagnostics["drift"]["rest"]["chance"] < CHANCE
    assert result.verdict.text.startswith(
        "unreliable, not in equilibrium (the later half does not show"
    )
    assert "raise estimates.windows.equilibration_steps" in result.verdict.text


@pytest.mark.parametrize("amplitude", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("time", [3, 10, 30, 90])
def test_a_drift_that_was_seen_is_covered_by_the_error(time, amplitude):
    """Relaxation in a twentieth of the production to longer than all of it: three errors, or none,
    cover the truth.
    """
    seen = misses = 0
    for seed in range(20):
        data = oscillators(200 + seed, excess=relaxation(time, amplitude=amplitude))
        result = estimate_ti(data, STATE, method="ti", seed=seed, n_bootstraps=40)
        if result.diagnostics["drift"]["left_out"]:
            seen += 1
            misses += abs(result.value - EXACT) > 3 * result.std_err
    assert misses <= 2
    assert seen >= 19 or amplitude == 0.1


def test_one_bad_window_among_many_is_named():
    excess = np.zeros((9, 60))
    excess[5] = relaxation(8, amplitude=0.8)
    test = check_equilibration(oscillators(4, excess=excess), method="somebody's")
    assert test.facts["worst_lambda"] == pytest.approx(5 / 8)
    assert abs(test.facts["worst_z"]) > abs(test.facts["z"])
    assert "the window at lambda = 0.625 drifts" in test.verdict.text
    assert test.verdict.text.endswith("equilibrate longer before the first frame")


def test_chains_of_few_samples():
    """One sample a chain shows no drift; of two that differ, one says nothing about the end of the
    drift.
    """
    single = oscillators(5, n=1, n_chains=60)
    assert check_equilibration(single, method="ti").facts is None
    pairs = check_equilibration(
        oscillators(6, n=2, n_chains=60, excess=np.array([1.0, 0.0])), method="ti"
    )
    assert pairs.error == math.inf
    assert pairs.facts["rest"] is None


def test_the_graver_verdict_comes_first():
    test = check_equilibration(oscillators(2, excess=relaxation(5, amplitude=0.7)), method="mbar")
    worse = test.joined(Verdict("bad", "unreliable: the windows do not overlap"))
    assert worse.level == "bad"
    assert worse.text.startswith("unreliable: the windows do not overlap; poor equilibration")
    same = test.joined(Verdict("warn", "poor overlap"))
    assert same.level == "warn"
    assert same.text.startswith("poor equilibration")
    assert same.text.endswith("; poor overlap")
    assert test.joined(GOOD).level == "warn"
