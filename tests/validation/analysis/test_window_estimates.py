"""MBAR and TI on one-dimensional paths whose free energies are known exactly."""

import math
from dataclasses import replace

import numpy as np
import pytest
from windows import gaussian_windows, harmonic_windows

from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.analysis import mbar_equations
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_diagnostics import (
    graded_overlap,
    integral_verdict,
    overlap_verdict,
)
from openmm_nti.validation.analysis.window_estimates import estimate_bar, estimate_mbar, estimate_ti

STATE = StatePoint(n_particles=2, box_length_sigma=6, temperature_star=1.25)


def test_mbar_and_ti_find_the_free_energy_of_an_oscillator():
    data, exact = harmonic_windows(np.random.default_rng(1))
    mbar = estimate_mbar(data, STATE, method="mbar", seed=1)
    ti = estimate_ti(data, STATE, method="ti", seed=1)
    for result in (mbar, ti):
        assert abs(result.value - exact) < 3 * result.std_err
        assert 0.005 < result.std_err < 0.2
        assert (result.convention, result.n_particles, result.quantity) == (
            "switched",
            2,
            "beta_f_ex",
        )
    assert mbar.method == "mbar"
    assert mbar.verdict.level == "good"
    np.testing.assert_allclose(np.sum(mbar.diagnostics["overlap_matrix"], axis=1), 1, atol=1e-6)


def test_mbar_finds_the_ratio_of_gaussian_widths():
    data, exact = gaussian_windows(np.random.default_rng(2), spacing=1.5, n=1600)
    result = estimate_mbar(data, STATE, method="mbar", seed=0)
    assert abs(result.value - exact) < 3 * result.std_err
    assert result.std_err < 0.1


def test_a_good_verdict_gives_way_to_moves_that_hardly_succeed():
    data, _ = harmonic_windows(np.random.default_rng(1), n=160, stiffness=2.0)
    data = replace(
        data, acceptance=np.array([np.nan, *[0.8] * 7, 0.1]), timestep_star=np.full(9, 0.01)
    )
    for estimate in (estimate_mbar, estimate_ti):
        result = estimate(data, STATE, method="mbar_neural", seed=1)
        assert result.verdict.level == "warn"
        assert result.verdict.text.startswith(
            "few moves accepted (10% at lambda 1): raise equilibration_steps"
        )
        assert result.diagnostics["acceptance"] == [None, *[0.8] * 7, 0.1]
    for overlap, level, words in ((1e-4, "bad", "do not overlap"), (0.01, "warn", "poor overlap")):
        verdict = overlap_verdict(np.array([0.2, *[overlap] * 7]), data, 0.1)
        assert verdict.level == level
        assert words in verdict.text


def test_nan_empty_and_constant_data_are_not_blessed():
    data, _ = harmonic_windows(np.random.default_rng(1), n=160)
    good, nan = np.full(8, 0.2), np.full(8, np.nan)
    assert overlap_verdict(good, data, 0.1).level == "good"
    assert integral_verdict(good, data, 0.1, 0.0).level == "good"
    still = replace(data, dudl=np.ones_like(data.dudl))
    for verdict in (
        overlap_verdict(nan, data, 0.1),
        overlap_verdict(good, data, math.nan),
        overlap_verdict(good, still, 0.0),
        integral_verdict(nan, data, 0.1, 0.0),
        integral_verdict(good, data, math.nan, 0.0),
        integral_verdict(good, data, 0.1, math.nan),
        integral_verdict(good, still, 0.0, 0.0),
        graded_overlap(math.nan),
    ):
        assert verdict.level != "good"


def test_an_integral_over_windows_that_do_not_overlap_is_not_called_good():
    """A Gaussian of unit width is moved by 60: F = 0, and nothing is seen between six windows."""
    lambdas, distance = np.linspace(0, 1, 6), 60.0
    noise = np.random.default_rng(1).standard_normal((6, 400))
    x = distance * lambdas[:, None] + noise
    u_kln = 0.5 * (x[:, :, None] - distance * lambdas) ** 2
    data = WindowData(lambdas, u_kln, -distance * noise, np.repeat(np.arange(8), 50))
    result = estimate_ti(data, STATE, method="ti_neural_md", seed=1)
    assert abs(result.value) < 3 * result.std_err
    assert result.diagnostics["min_neighbour_overlap"] < 1e-3
    assert result.verdict.level == "warn"
    assert "neighbours do not overlap" in result.verdict.text
    assert estimate_bar(data, STATE, method="bar_neural", seed=1).verdict.level == "bad"


def test_integration_is_not_good_where_mbar_sees_no_overlap():
    """Twenty windows crowd at one end: two windows alone would overlap by 0.01."""
    lambdas = np.concatenate([[0.0], 1 - 1e-6 * np.arange(20)[::-1]])
    k = 1 + 7 * lambdas
    normal = np.random.default_rng(1).standard_normal((21, 200, 14))
    half_x2 = 0.5 * (normal**2).sum(axis=-1) / k[:, None]
    data = WindowData(lambdas, half_x2[:, :, None] * k, 7 * half_x2, np.repeat(np.arange(8), 25))
    mbar, ti = (make(data, STATE, method="any", seed=1) for make in (estimate_mbar, estimate_ti))
    assert (mbar.verdict.level, ti.verdict.level) == ("bad", "warn")
    of_mbar = np.diagonal(mbar.diagnostics["overlap_matrix"], 1)
    assert ti.diagnostics["neighbour_overlap"][1:] == pytest.approx(of_mbar[1:], rel=0.3)


def test_diagnostics_are_those_that_were_set():
    data, _ = harmonic_windows(np.random.default_rng(1))
    result = estimate_mbar(data, STATE, method="mbar", seed=1)
    assert "acceptance" not in result.diagnostics
    assert set(result.to_dict()["diagnostics"]) == {*result.diagnostics.keys(), "verdict"}
    assert result.diagnostics["control_variates"] is None


def test_bar_of_neighbours_is_mbar_of_two_windows():
    """With two windows there is nobody else; with more, both find the oscillator's free energy."""
    two, exact = harmonic_windows(np.random.default_rng(1), n_windows=2, stiffness=2.0)
    bar, mbar = (make(two, STATE, method="any", seed=1) for make in (estimate_bar, estimate_mbar))
    assert bar.value == pytest.approx(mbar.value, abs=1e-5)
    assert bar.std_err == pytest.approx(mbar.std_err, rel=0.02)
    assert bar.diagnostics["neighbour_overlap"][0] == pytest.approx(
        mbar.diagnostics["min_neighbour_overlap"], abs=1e-5
    )
    data, exact = harmonic_windows(np.random.default_rng(1))
    bar = estimate_bar(data, STATE, method="bar_neural", seed=1)
    assert abs(bar.value - exact) < 3 * bar.std_err < 0.6
    assert sum(bar.diagnostics["differences"]) == pytest.approx(bar.value)
    assert bar.verdict.level == "good"


def test_bar_without_overlap_has_no_error():
    for spacing in (25.0, 60.0):  # with and without a numerical solution
        data, _ = gaussian_windows(np.random.default_rng(4), spacing=spacing, n_windows=3)
        result = estimate_bar(data, STATE, method="bar", seed=0)
        assert result.std_err == math.inf
        assert "do not overlap" in result.verdict.text


@pytest.mark.parametrize("n_chains", [2, 8])
def test_standard_errors_cover_the_truth(n_chains):
    """Over 40 experiments on correlated samples, (value - exact) / std_err has the spread of a
    standard normal.
    """
    z = {"mbar": [], "bar": [], "ti": []}
    for seed in range(40):
        data, exact = harmonic_windows(
            np.random.default_rng(seed),
            n=160,
            n_windows=5,
            n_chains=n_chains,
            memory=0.7,
            stiffness=3.0,
        )
        for name, estimate in (("mbar", estimate_mbar), ("bar", estimate_bar), ("ti", estimate_ti)):
            result = estimate(data, STATE, method=name, seed=seed, n_bootstraps=40)
            z[name].append((result.value - exact) / result.std_err)
    for scores in z.values():
        assert (
            0.7 < np.std(scores) < 1.4
        )  # the spread of 40 scores is known to 11 %, each error to some 15 %
        assert abs(np.mean(scores)) < 3 / math.sqrt(40)


def test_ignoring_correlation_would_fail_the_coverage_test():
    """The same data labelled as 160 chains of one sample: the error comes out too small by sqrt(g)
    = 1.7 or so.
    """
    data, _ = harmonic_windows(np.random.default_rng(0), n=160, n_chains=2, memory=0.7)
    naive = WindowData(data.lambdas, data.u_kln, data.dudl, np.arange(160))
    honest = estimate_mbar(data, STATE, method="mbar", seed=0).std_err
    assert estimate_mbar(naive, STATE, method="mbar", seed=0).std_err < 0.8 * honest


def test_bootstrap_solver_agrees_with_pymbar():
    """Newton's method with weights 0, 1, 2, ... against pymbar given the samples that many
    times.
    """
    from pymbar import MBAR

    rng = np.random.default_rng(3)
    data, _ = gaussian_windows(rng, spacing=1.0)
    u_kn = data.u_kln.reshape(-1, data.n_windows).T
    f_k, _ = mbar_equations.solve(data)
    drawn = np.stack(
        [rng.integers(data.n_samples, size=data.n_samples) for _ in range(data.n_windows)]
    )
    weights = np.stack([np.bincount(row, minlength=data.n_samples) for row in drawn]).ravel()
    shift = mbar_equations.newton_shift(mbar_equations.assignments(u_kn, f_k), weights)
    columns = (drawn + data.n_samples * np.arange(data.n_windows)[:, None]).ravel()
    reference = MBAR(
        u_kn[:, columns], np.full(data.n_windows, data.n_samples), solver_protocol="robust"
    ).f_k
    np.testing.assert_allclose(f_k + shift, reference, atol=1e-5)
    assert np.abs(shift).max() > 0.01


def test_windows_that_do_not_overlap_give_no_error_bar():
    data, _ = gaussian_windows(np.random.default_rng(4), spacing=25.0, n_windows=3)
    result = estimate_mbar(data, STATE, method="mbar", seed=0)
    assert result.std_err == math.inf
    assert result.verdict.level == "bad"
    assert "do not overlap" in result.verdict.text


def test_poor_overlap_is_named():
    data, _ = gaussian_windows(np.random.default_rng(4), spacing=5.0, n_windows=4)
    verdict = estimate_mbar(data, STATE, method="mbar", seed=0).verdict
    assert verdict.level == "warn"
    assert "poor overlap" in verdict.text


def test_forbidden_configurations_are_infinite_and_harmless():
    """Uniform samples on [0, 1] seen from the left part [0, b] of it: F = -ln b, where u is 0 or
    infinity.
    """
    rng = np.random.default_rng(5)
    widths = np.array([1.0, 0.7, 0.5])
    x = rng.uniform(size=(3, 800)) * widths[:, None]
    u_kln = np.where(x[:, :, None] < widths, 0.0, np.inf)
    data = WindowData(
        np.array([0, 0.5, 1]), u_kln, np.zeros((3, 800)), np.repeat(np.arange(8), 100)
    )
    for estimate in (estimate_mbar, estimate_bar):
        result = estimate(data, STATE, method="mbar", seed=0)
        assert abs(result.value - math.log(2)) < 3 * result.std_err < 0.2


def test_constant_series_have_a_value_and_no_error():
    lambdas = np.array([0.0, 0.5, 1.0])
    u_kln = np.broadcast_to(3 * lambdas, (3, 40, 3))
    data = WindowData(lambdas, u_kln, np.full((3, 40), 3.0), np.zeros(40))
    for estimate in (estimate_mbar, estimate_bar, estimate_ti):
        result = estimate(data, STATE, method="constant", seed=0)
        assert result.value == pytest.approx(3, abs=1e-6)
        assert result.std_err == np.inf
        assert result.verdict.level == "bad"


def test_a_frozen_chain_has_no_error_bar():
    """One chain whose samples are all one correlation time apart or less says nothing about its
    error.
    """
    data, _ = harmonic_windows(np.random.default_rng(6), n=60, n_chains=1, memory=0.999)
    for estimate in (estimate_mbar, estimate_bar, estimate_ti):
        result = estimate(data, STATE, method="frozen", seed=0)
        assert result.std_err == math.inf
        assert "independent samples" in result.verdict.text


def test_ti_reports_the_error_of_its_rule_when_windows_are_few():
    rng = np.random.default_rng(7)
    coarse, exact = harmonic_windows(rng, n=8000, n_windows=4, stiffness=40.0, dimensions=1)
    fine, _ = harmonic_windows(rng, n=8000, n_windows=40, stiffness=40.0, dimensions=1)
    rough, good = (estimate_ti(data, STATE, method="ti", seed=0) for data in (coarse, fine))
    assert abs(rough.value - exact) < 3 * rough.std_err
    assert "add windows" in rough.verdict.text
    assert good.diagnostics["integration_error"] < 0.1 * rough.diagnostics["integration_error"]
    assert abs(good.value - exact) < 3 * good.std_err


@pytest.mark.parametrize(("bend", "width"), [(0.0, 0.15), (0.5, 0.25)])
def test_the_error_of_the_rule_covers_what_falls_between_windows(bend, width):
    """Wherever a bump as narrow as the windows' distance lies; errors of opposite sign in two
    places do not cancel.
    """
    even = np.linspace(0, 1, 9)
    lambdas = (1 - bend) * even + bend * even**2
    fine = np.linspace(0, 1, 20001)
    noise = 1e-6 * np.random.default_rng(1).standard_normal((9, 64))
    for centre in np.linspace(0, 1, 41):
        bump = 10 * np.exp(-(((lambdas - centre) / width) ** 2))
        data = WindowData(
            lambdas, np.zeros((9, 64, 9)), bump[:, None] + noise, np.repeat(np.arange(8), 8)
        )
        result = estimate_ti(data, STATE, method="ti", seed=0, n_bootstraps=20)
        exact = np.trapezoid(10 * np.exp(-(((fine - centre) / width) ** 2)), fine)
        assert abs(result.value - exact) < 2 * result.std_err


def test_results_repeat_with_the_seed():
    data, _ = harmonic_windows(np.random.default_rng(8))
    first, second, other = (
        estimate_mbar(data, STATE, method="mbar", seed=seed) for seed in (1, 1, 2)
    )
    assert first == second
    assert first.value == other.value
    assert first.std_err != other.std_err


def test_one_bootstrap_is_refused():
    data, _ = harmonic_windows(np.random.default_rng(9))
    with pytest.raises(ValueError, match="n_bootstraps = 1"):
        estimate_mbar(data, STATE, method="mbar", seed=0, n_bootstraps=1)
