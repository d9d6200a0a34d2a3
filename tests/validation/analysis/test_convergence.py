"""Forward and backward series of an estimate."""

from dataclasses import replace

import numpy as np
import pytest
from windows import harmonic_windows

from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.analysis.convergence import convergence
from openmm_nti.validation.analysis.window_estimates import estimate_mbar

STATE = StatePoint(n_particles=2, box_length_sigma=6, temperature_star=1.25)


def test_both_series_end_in_the_estimate_from_all_samples():
    data, exact = harmonic_windows(np.random.default_rng(1))
    found = convergence(data, STATE, method="mbar", seed=1)
    value = estimate_mbar(data, STATE, method="mbar", seed=1).value
    np.testing.assert_allclose(found.fractions, [0.2, 0.4, 0.6, 0.8, 1.0])
    assert found.forward[-1] == found.backward[-1] == pytest.approx(value)
    for values, errors in (
        (found.forward, found.forward_err),
        (found.backward, found.backward_err),
    ):
        assert (np.abs(values - exact) < 4 * errors).all()
        assert errors[0] > 1.5 * errors[-1]


def test_with_control_variates_both_series_end_in_the_number_reported():
    """Halves with coefficients of their own would both lie beside the whole."""
    rng = np.random.default_rng(4)
    data, _ = harmonic_windows(rng)
    followed = 10 - data.dudl * (2 / 7) * (1 + 7 * data.lambdas)[:, np.newaxis]  # of zero mean
    functions = followed + 3 * rng.standard_normal(followed.shape)
    data = replace(data, control_variates=functions[:, :, np.newaxis])
    reported = estimate_mbar(data, STATE, method="mbar", seed=1)
    plain = reported.diagnostics["control_variates"]["value_without"]
    assert abs(reported.value - plain) > 1e-3
    found = convergence(data, STATE, method="mbar", seed=1)
    assert found.forward[-1] == found.backward[-1] == pytest.approx(reported.value, abs=1e-9)


def test_a_drift_parts_the_series():
    """The early samples of every chain are of a stiffer oscillator: the series from the start
    begins too high.
    """
    data, _ = harmonic_windows(np.random.default_rng(2), n=800)
    early = np.arange(800) % 100 < 30
    u_kln, dudl = data.u_kln.copy(), data.dudl.copy()
    u_kln[:, early] *= 2.0
    dudl[:, early] *= 2.0
    found = convergence(
        type(data)(data.lambdas, u_kln, dudl, data.chain), STATE, method="mbar", seed=1
    )
    assert found.forward[0] - found.backward[0] > 3 * np.hypot(
        found.forward_err[0], found.backward_err[0]
    )


def test_one_frame_shows_nothing():
    data, _ = harmonic_windows(np.random.default_rng(1), n=8, n_chains=8)
    with pytest.raises(ValueError, match="chains of one frame"):
        convergence(data, STATE, method="mbar", seed=1)


def test_one_chain_begins_with_two_samples():
    data, _ = harmonic_windows(np.random.default_rng(1), n=4, n_chains=1)
    assert convergence(data, STATE, method="mbar", seed=1).fractions.tolist() == [0.5, 0.75, 1.0]


def test_a_part_without_a_solution_leaves_a_gap(monkeypatch):
    """Few samples need not overlap: a run does not end for that."""

    def fails_on_few(data, *_, **settings):
        if data.n_samples < 400:
            raise RuntimeError("MBAR failed")
        return estimate_mbar(data, STATE, method="mbar", execution=settings["execution"])

    monkeypatch.setattr("openmm_nti.validation.analysis.convergence.estimate_mbar", fails_on_few)
    data, exact = harmonic_windows(np.random.default_rng(1))
    found = convergence(data, STATE, method="mbar", seed=1)
    assert np.isnan(found.forward[:-1]).all()
    assert np.isinf(found.backward_err[:-1]).all()
    assert abs(found.forward[-1] - exact) < 4 * found.forward_err[-1]
