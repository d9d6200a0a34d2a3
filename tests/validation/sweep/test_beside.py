"""A model beside the data: what follows from the slope of free energies that are known."""

from types import SimpleNamespace

import numpy as np
import pytest

from openmm_nti.free_energy import Verdict
from openmm_nti.validation.estimators.registry import estimator
from openmm_nti.validation.sweep.beside import check_method, slopes
from openmm_nti.validation.sweep.thermodynamics import Thermodynamics

N = 100


def fluid(temperatures, c=(5.0, -2.0, -3.0, -0.5)):
    """Exact thermodynamics of f(b) = N (c0 + c1 b + c2 b^(2/5) + c3 b^2)."""
    b = 1 / np.asarray(temperatures)
    f = N * (c[0] + c[1] * b + c[2] * b**0.4 + c[3] * b**2)
    u = N * (c[1] * b + 0.4 * c[2] * b**0.4 + 2 * c[3] * b**2)
    heat = -N * (-0.24 * c[2] * b**0.4 + 2 * c[3] * b**2)
    values = {"beta_f_ex": f, "beta_u_ex": u, "s_ex": u - f, "c_v_ex": heat}
    values |= {"c_v": heat + 1.5 * N, "pressure_star": np.full(len(b), np.nan)}
    errors = {name: np.full(len(b), 0.02) for name in values}
    return Thermodynamics(
        np.asarray(temperatures), values, errors, np.empty(0), Verdict("good", "")
    )


def estimates(values, errors):
    return [SimpleNamespace(value=v, std_err=e) for v, e in zip(values, errors, strict=True)]


def test_exact_free_energies_have_exact_slopes():
    data = fluid([1.0, 1.25, 1.6, 2.2, 3.0, 1.1, 2.0])
    found = slopes(estimates(data.values["beta_f_ex"][:5], [0.1] * 5), data)
    for name in ("beta_u_ex", "s_ex", "c_v_ex", "c_v"):
        assert found.values[name] == pytest.approx(data.values[name], abs=1e-6 * N), name
        assert (found.errors[name] > 0).all()
    assert np.isnan(found.values["pressure_star"]).all()
    assert found.verdict.level == "good"
    # Another fluid has its own slopes, not those of the data.
    other = fluid(data.temperatures, c=(5.0, -2.1, -3.0, -0.5))
    found = slopes(estimates(other.values["beta_f_ex"][:5], [0.1] * 5), data)
    assert found.values["beta_u_ex"] == pytest.approx(other.values["beta_u_ex"], abs=1e-6 * N)
    assert (found.verdict.level, "at T* = 1" in found.verdict.text) == ("warn", True)


def test_the_errors_are_those_of_many_trials():
    data = fluid([1.0, 1.25, 1.6, 2.2, 3.0])
    rng = np.random.default_rng(1)
    sizes = np.array([0.3, 0.2, 0.2, 0.1, 0.1])
    trials = [
        slopes(estimates(data.values["beta_f_ex"] + rng.normal(0, sizes), sizes), data)
        for _ in range(300)
    ]
    for name in ("beta_u_ex", "s_ex", "c_v_ex"):
        pulls = [(t.values[name] - data.values[name]) / t.errors[name] for t in trials]
        assert np.sqrt(np.mean(np.square(pulls), axis=0)) == pytest.approx(1.0, abs=0.25), name


def test_few_temperatures_have_an_error_of_the_fit():
    data = fluid([1.0, 3.0, 1.7])
    found = slopes(estimates(data.values["beta_f_ex"][:2], [1e-3] * 2), data)
    off = np.abs(found.values["beta_u_ex"] - data.values["beta_u_ex"])
    assert (off > 1.0).any()  # a straight line through two points is wrong,
    assert (off <= 1.001 * found.errors["beta_u_ex"]).all()  # and its errors say so


@pytest.mark.parametrize(
    ("errors", "has_slope"),
    [([np.inf, 0.1, 0.1], True), ([np.inf, np.inf, 0.1], False), ([0.0, np.nan, 0.1], False)],
)
def test_what_has_no_error_gives_no_slope_and_is_not_good(errors, has_slope):
    data = fluid([1.0, 1.5, 2.0])
    found = slopes(estimates(data.values["beta_f_ex"], errors), data)
    assert np.isfinite(found.values["beta_u_ex"]).all() == has_slope
    assert found.verdict.level == "warn"
    assert found.values["beta_f_ex"] == pytest.approx(data.values["beta_f_ex"])
    nothing = slopes(estimates([np.nan] * 3, [0.1] * 3), data)
    assert nothing.verdict.level == "warn"
    assert len(nothing.rows()) == 3


def test_a_method_that_gives_no_free_energy_of_a_model_is_refused():
    assert check_method(estimator("path_bar")).name == "path_bar"
    for name in ("widom", "mbar_softcore", "mu_decoupling"):
        with pytest.raises(ValueError, match=f"{name} gives no beta F_ex of a model from frames"):
            check_method(estimator(name))
