"""mu(rho), p(N) and <rho>(mu) of models whose answers are known: the ideal gas, a virial gas, a
made-up fluid.
"""

import math

import numpy as np
import pytest
from scipy.stats import poisson

from openmm_nti.free_energy import FreeEnergy
from openmm_nti.validation.analysis import observables
from openmm_nti.validation.analysis.observables import FreeEnergyCurve, fit_curve

BOX, VOLUME, VIRIAL = 6.0, 216.0, -3.0
FLUID = np.array([-3.2, 1.5, 4.0])  # coefficients of a made-up fluid


def estimate(n_particles, value, std_err=0.1, **changes):
    facts = {"method": "mbar_neural", "convention": "switched", **changes}
    return FreeEnergy(value, std_err, n_particles=n_particles, **facts)


def virial_gas(n):
    """beta F_ex = B N (N - 1) / V, so beta mu_ex(N) = 2 B N / V."""
    n = np.asarray(n, dtype=float)
    return VIRIAL * n * (n - 1) / VOLUME


def fluid(n):
    n = np.asarray(n, dtype=float)
    x = (n - 1) / VOLUME
    return n * (FLUID[0] * x + FLUID[1] * x**2 + FLUID[2] * x**3)


def chain(errors, correlation, values=None):
    diagnostics = {
        "beta_mu_ex": list(np.zeros(len(errors)) if values is None else values),
        "beta_mu_ex_std_err": list(errors),
        "neighbour_correlation": list(correlation),
    }
    return estimate(len(errors) + 1, 0.0, method="bar_chain", diagnostics=diagnostics)


def test_the_ideal_gas_is_a_poisson_distribution():
    beta_mu = math.log(20 / VOLUME)
    p, error = observables.number_distribution(np.zeros(80), np.zeros((80, 80)), BOX, beta_mu)
    np.testing.assert_allclose(p, poisson.pmf(np.arange(80), 20), rtol=1e-9)
    assert (error == 0).all()
    density, _ = observables.mean_density(
        np.zeros(80), np.zeros((80, 80)), BOX, [beta_mu, beta_mu - 1]
    )
    np.testing.assert_allclose(density, [20 / VOLUME, 20 / VOLUME / math.e], rtol=1e-9)


def test_a_virial_gas_is_one_power_and_obeys_detailed_balance():
    numbers = np.array([10, 20, 30, 40, 60])
    curve = FreeEnergyCurve(numbers, virial_gas(numbers), np.diag(np.full(5, 0.01**2)), BOX)
    fit = fit_curve(curve)
    assert fit.degree == 1
    assert fit.coefficients[0] == pytest.approx(VIRIAL)
    value, error = fit.chemical_potential([25, 25.5])
    np.testing.assert_allclose(value, 2 * VIRIAL * np.array([25, 25.5]) / VOLUME, rtol=1e-9)
    assert (error > 0).all()
    beta_mu = -3.5
    p, _ = observables.number_distribution(*fit.beta_f_ex(np.arange(100)), BOX, beta_mu)
    insertion = (
        math.exp(beta_mu)
        * VOLUME
        / np.arange(1, 100)
        * np.exp(-2 * VIRIAL * np.arange(99) / VOLUME)
    )
    np.testing.assert_allclose(p[1:] / p[:-1], insertion, rtol=1e-6)


def test_differences_are_exact_for_neighbours_and_for_pairs():
    every = np.arange(2, 30)
    errors = np.linspace(0.1, 0.3, len(every))
    curve = FreeEnergyCurve(every, fluid(every), np.diag(errors**2), BOX)
    n, value, error = observables.chemical_potential_by_differences(curve)
    np.testing.assert_array_equal(n, every[:-1])
    np.testing.assert_allclose(value, fluid(n + 1) - fluid(n))
    np.testing.assert_allclose(error, np.hypot(errors[1:], errors[:-1]))
    wide = np.array([10, 20, 50])
    n, value, _ = observables.chemical_potential_by_differences(
        FreeEnergyCurve(wide, virial_gas(wide), np.eye(3), BOX)
    )
    np.testing.assert_allclose(value, 2 * VIRIAL * n / VOLUME)


def test_the_fit_finds_a_known_chemical_potential_with_honest_errors():
    numbers = np.array([2, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200])
    errors = np.linspace(0.02, 0.4, len(numbers))
    rng, scores, degrees = np.random.default_rng(3), [], []
    at = np.array([30.0, 90.0, 150.0])
    truth = fluid(at + 1) - fluid(at)
    for _ in range(200):
        noisy = fluid(numbers) + errors * rng.standard_normal(len(numbers))
        fit = fit_curve(FreeEnergyCurve(numbers, noisy, np.diag(errors**2), BOX))
        value, error = fit.chemical_potential(at)
        scores.append((value - truth) / error)
        degrees.append(fit.degree)
    assert np.median(degrees) == 3
    assert 0.8 < np.sqrt(np.mean(np.square(scores))) < 1.3
    assert np.abs(np.mean(scores, axis=0)).max() < 0.3
    assert error.max() < 0.02


def test_a_curve_that_no_polynomial_fits_gets_larger_errors():
    numbers = np.arange(10, 90, 10)
    wild = virial_gas(numbers) + np.where(np.arange(8) % 2, 1.0, -1.0)
    tight = fit_curve(FreeEnergyCurve(numbers, wild, np.eye(8) * 0.01**2, BOX), largest_degree=2)
    assert tight.chi_squared / tight.n_degrees_of_freedom > 100
    loose = fit_curve(FreeEnergyCurve(numbers, wild, np.eye(8), BOX), largest_degree=2)
    assert tight.chemical_potential([40])[1][0] > 0.5 * loose.chemical_potential([40])[1][0]


def test_a_curve_that_fits_too_well_keeps_its_errors():
    numbers = np.arange(10, 90, 10)
    curve = FreeEnergyCurve(numbers, virial_gas(numbers), np.eye(8) * 0.1**2, BOX)
    smallest = 0.1 / np.linalg.norm(virial_gas(numbers)) * abs(2 * VIRIAL * 40 / VOLUME)
    value, error = fit_curve(curve, largest_degree=1).chemical_potential([40])
    assert value[0] == pytest.approx(2 * VIRIAL * 40 / VOLUME)
    assert error[0] == pytest.approx(smallest)


def test_three_values_are_enough_for_a_line():
    line = FreeEnergyCurve(np.array([10, 20, 30]), np.array([-1.0, -2.0, -3.0]), np.eye(3), BOX)
    assert fit_curve(line, largest_degree=1).degree == 1


def test_errors_of_p_and_density_are_those_of_perturbed_curves():
    numbers = np.arange(2, 60)
    rng = np.random.default_rng(4)
    steps = 0.02 * np.ones(58)
    curve = FreeEnergyCurve.from_chain(
        chain(steps, np.full(57, -0.3), np.diff(fluid(np.arange(1, 60)))), BOX
    )
    np.testing.assert_allclose(curve.beta_f_ex, fluid(numbers), atol=1e-12)
    beta_f, covariance = curve.at_every_n()
    beta_mu = -3.4
    p, error = observables.number_distribution(beta_f, covariance, BOX, beta_mu)
    density, density_error = observables.mean_density(beta_f, covariance, BOX, [beta_mu])
    moved = rng.multivariate_normal(beta_f, covariance, size=2000)
    distributions = np.array(
        [observables.number_distribution(f, covariance, BOX, beta_mu)[0] for f in moved]
    )
    likely = p > 0.1 * p.max()
    np.testing.assert_allclose(distributions.std(axis=0)[likely], error[likely], rtol=0.15)
    densities = distributions @ np.arange(60) / VOLUME
    assert densities.std() == pytest.approx(density_error[0], rel=0.1)
    assert densities.mean() == pytest.approx(density[0], abs=3 * density_error[0])


def test_a_chain_adds_up_to_its_own_error():
    errors, correlation = np.array([0.1, 0.2, 0.3]), np.array([-0.4, 0.2])
    curve = FreeEnergyCurve.from_chain(chain(errors, correlation), BOX)
    np.testing.assert_array_equal(curve.n_particles, [2, 3, 4])
    total = (errors**2).sum() + 2 * (correlation * errors[1:] * errors[:-1]).sum()
    assert curve.covariance[-1, -1] == pytest.approx(total)
    assert curve.covariance[0, 1] == pytest.approx(0.1**2 - 0.4 * 0.1 * 0.2)
    np.testing.assert_allclose(observables.chemical_potential_by_differences(curve)[2], errors[1:])


def test_estimates_at_several_n_make_a_curve_in_any_order():
    curve = FreeEnergyCurve.from_estimates([estimate(80, -76.4, 0.2), estimate(40, -21.1)], BOX)
    np.testing.assert_array_equal(curve.n_particles, [40, 80])
    np.testing.assert_array_equal(curve.covariance, [[0.1**2, 0], [0, 0.2**2]])
    with pytest.raises(ValueError, match="fit_curve"):
        curve.at_every_n()
    with pytest.raises(ValueError, match="at least 3"):
        fit_curve(curve)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"convention": "truncated"}, "differ in convention"),
        ({"quantity": "beta_mu_ex"}, "beta_f_ex with an error bar"),
        ({"std_err": math.inf}, "beta_f_ex with an error bar"),
        ({"std_err": 0.0}, "beta_f_ex with an error bar"),
    ],
)
def test_what_is_no_curve_is_refused(change, message):
    other = estimate(**{"n_particles": 80, "value": -76.4, "std_err": 0.1, **change})
    with pytest.raises(ValueError, match=message):
        FreeEnergyCurve.from_estimates([estimate(40, -21.1), other], BOX)
    with pytest.raises(ValueError, match="bar_chain estimate"):
        FreeEnergyCurve.from_chain(other, BOX)
    with pytest.raises(ValueError, match="must ascend from 2"):
        FreeEnergyCurve(np.array([40, 40]), np.zeros(2), np.eye(2), BOX)
    with pytest.raises(ValueError, match="not positive definite"):
        FreeEnergyCurve(np.array([40, 80]), np.zeros(2), np.diag([0.01, 0.0]), BOX)
    with pytest.raises(ValueError, match="beta_f_ex holds NaN"):
        FreeEnergyCurve(np.array([40, 80]), np.array([1.0, np.nan]), np.eye(2), BOX)
    with pytest.raises(ValueError, match="expected"):
        FreeEnergyCurve(np.array([40, 50]), np.zeros(3), np.eye(2), BOX)


def test_a_distribution_that_is_cut_off_is_refused():
    with pytest.raises(ValueError, match="lower beta_mu"):
        observables.number_distribution(
            np.zeros(30), np.zeros((30, 30)), BOX, math.log(25 / VOLUME)
        )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(bad):
    n, values, covariance = [2, 3], [-0.1, -0.3], [[0.1, 0.0], [0.0, 0.1]]
    with pytest.raises(ValueError, match="not symmetric, or holds NaN"):
        FreeEnergyCurve(n, values, [[0.1, bad], [0.0, 0.1]], 6.0)
    with pytest.raises(ValueError, match="must be a length"):
        FreeEnergyCurve(n, values, covariance, bad)
    for curve in ([0.0, 0.0, bad], []):
        with pytest.raises(ValueError, match="empty, NaN or infinite"):
            observables.number_distribution(np.array(curve), np.zeros((len(curve),) * 2), 2.0, -8.0)


def test_the_axis_of_the_paper():
    assert observables.to_paper_axis(np.array([25.013, 0.0])) == pytest.approx([0.0, -25.013])
