"""Vapour and liquid from F(N): those of van der Waals' fluid, whose binodal is known exactly."""

import numpy as np
import pytest
from scipy.optimize import fsolve

from openmm_nti.validation.analysis.free_energy_curve import FreeEnergyCurve
from openmm_nti.validation.phases.coexistence import QUANTITIES, coexistence
from openmm_nti.validation.phases.isotherm import Isotherm
from openmm_nti.validation.phases.peaks import Phase

EDGE, T = 9.0, 0.75  # sigma, critical temperatures
A = 27 / 8  # with b = 1 and the critical temperature as unit
VAPOUR = [3, 8, 14, 20, 28, 36, 46, 60, 75, 90]
BETWEEN = [150, 200, 250, 300]
LIQUID = [*range(380, 640, 16)]


def free_energy(n):
    rho = np.asarray(n) / EDGE**3
    return n * (-np.log1p(-rho) - A * rho / T)


def binodal():
    """Return rho of vapour and liquid, beta mu and beta p, by equal p and mu."""

    def of(rho):
        p = rho / (1 - rho) - A * rho**2 / T
        return p, np.log(rho) - np.log1p(-rho) + rho / (1 - rho) - 2 * A * rho / T

    vapour, liquid = fsolve(lambda r: np.subtract(of(r[0]), of(r[1])), [0.08, 0.6])
    return vapour, liquid, of(vapour)[1], of(vapour)[0]


def isotherm(numbers, noise=0.0, seed=0):
    n = np.array(numbers)
    errors = np.maximum(0.3 * n / 500, 0.005)
    drawn = free_energy(n) + noise * np.random.default_rng(seed).normal(0, errors)
    curve = FreeEnergyCurve(n, drawn, np.diag(errors**2), EDGE)
    return Isotherm.without_pressure(curve)


def test_the_binodal_is_that_of_the_equation_of_state():
    vapour, liquid, mu, p = binodal()
    found = coexistence(isotherm(VAPOUR + LIQUID), np.random.default_rng(1))
    assert found.verdict.level == "good"
    # A box of this size differs from the bulk in the second place of the vapour.
    assert found.values["rho_vapour"] == pytest.approx(vapour, abs=0.004)
    assert found.values["rho_liquid"] == pytest.approx(liquid, abs=0.004)
    assert found.values["beta_mu"] == pytest.approx(mu, abs=0.01)
    assert found.values["beta_p"] == pytest.approx(p, abs=0.002)
    for name in ("vapour", "liquid"):
        rho = found.values[f"rho_{name}"]
        ideal = found.values["beta_mu"] - np.log(rho)
        assert found.values[f"beta_mu_ex_{name}"] == pytest.approx(ideal)
        assert found.values[f"a_{name}"] == pytest.approx(
            float(free_energy(rho * EDGE**3)) / (rho * EDGE**3), abs=2e-3
        )
    weights = [np.exp(one.log_p).sum() for one in (found.vapour, found.liquid)]
    assert weights[0] == pytest.approx(weights[1])


def test_pressures_make_the_densities_sharper_and_do_not_move_them():
    known = isotherm(VAPOUR + LIQUID, noise=1.0, seed=3)
    rho = known.n_particles / EDGE**3
    errors = np.full(len(rho), 0.01)
    exact = rho**2 / (1 - rho) - A * rho**2 / T
    noise = np.random.default_rng(5).normal(0, errors)
    both = Isotherm(known.curve, exact + noise, errors)
    without, found = (coexistence(one, np.random.default_rng(1)) for one in (known, both))
    assert found.values["rho_liquid"] == pytest.approx(binodal()[1], abs=0.004)
    assert found.values["beta_mu"] == pytest.approx(binodal()[2], abs=0.01)
    for name in ("rho_vapour", "rho_liquid"):
        assert found.errors[name] < without.errors[name], name


def test_states_between_the_phases_change_nothing():
    without = coexistence(isotherm(VAPOUR + LIQUID), np.random.default_rng(1))
    odd = isotherm(VAPOUR + BETWEEN + LIQUID)
    # Drops and slabs: free energies between the phases are lower than those of one phase.
    odd.curve.beta_f_ex[len(VAPOUR) : len(VAPOUR) + len(BETWEEN)] -= 3.0
    found = coexistence(odd, np.random.default_rng(1))
    assert not set(BETWEEN) & set(found.used)
    for name in QUANTITIES:
        assert found.values[name] == pytest.approx(without.values[name], abs=2e-3), name


def test_the_errors_are_those_of_many_trials(monkeypatch):
    monkeypatch.setattr("openmm_nti.validation.phases.coexistence.N_BOOTSTRAPS", 30)
    exact = coexistence(isotherm(VAPOUR + LIQUID), np.random.default_rng(1)).values
    trials = [
        coexistence(isotherm(VAPOUR + LIQUID, 1.0, seed), np.random.default_rng(seed))
        for seed in range(12)
    ]
    for name in ("rho_vapour", "rho_liquid", "beta_mu", "beta_p"):
        pulls = np.array([(one.values[name] - exact[name]) / one.errors[name] for one in trials])
        assert 0.3 < np.sqrt(np.mean(pulls**2)) < 2.0, name


def test_a_peak_ends_where_p_rises_again():
    n = np.arange(100, 160)
    log_p = -0.5 * ((n - 140) / 8) ** 2
    assert Phase(n, log_p).valley == 0
    log_p[n < 112] = log_p[n == 112] + 0.1 * (112 - n[n < 112])
    assert Phase(n, log_p).valley == 112


def test_what_does_not_show_two_phases_gives_no_binodal():
    hot = isotherm(VAPOUR + LIQUID)
    n = hot.n_particles
    hot.curve.beta_f_ex[:] = n * -np.log1p(-n / EDGE**3)  # repulsion alone
    found = coexistence(hot, np.random.default_rng(1))
    assert found.verdict.level == "bad"
    assert "one phase" in found.verdict.text
    assert all(np.isnan(found.values[name]) for name in QUANTITIES)
    thin = coexistence(isotherm(VAPOUR[-3:] + LIQUID), np.random.default_rng(1))
    assert thin.verdict.text.startswith("the vapour needs 4 N from 2 to ")
    short = coexistence(isotherm(VAPOUR + LIQUID[:7]), np.random.default_rng(1))
    assert short.verdict.level == "bad"
    few = coexistence(isotherm(LIQUID[:7]), np.random.default_rng(1))
    assert few.verdict.text.startswith("7 numbers of particles have a free energy with an error")


def test_free_energies_that_no_curve_fits_are_not_good():
    odd = isotherm(VAPOUR + LIQUID)
    odd.curve.beta_f_ex[len(VAPOUR) :: 2] += 3.0
    assert coexistence(odd, np.random.default_rng(1)).verdict.level != "good"
