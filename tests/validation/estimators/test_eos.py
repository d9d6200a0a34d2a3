"""The equation of state against simulated free energies, its tail against the exact integral, and
its honesty.
"""

import math

import numpy as np
import pytest

from openmm_nti import StatePoint

pytest.importorskip("teqp")

from openmm_nti.validation.estimators import eos


def fluid(n_particles, convention="truncated", temperature=1.25):
    return StatePoint(
        n_particles=n_particles,
        box_length_sigma=6.0,
        temperature_star=temperature,
        convention=convention,
    )


@pytest.mark.parametrize(
    ("n_particles", "convention", "simulated"),
    [(120, "truncated", -155.48), (120, "switched", -150.49)],
)
def test_it_agrees_with_simulation_outside_of_the_dome(n_particles, convention, simulated):
    found = eos.estimate(fluid(n_particles, convention))
    assert abs(found.value - simulated) < 3 * found.std_err
    assert 0 < found.std_err < 0.7
    assert found.verdict.level == "good"


def test_the_tail_is_the_exact_integral():
    cutoff = 3.0
    exact = 16 * math.pi * (cutoff**-9 / 9 - cutoff**-3 / 3)
    assert eos.removed_integral(fluid(40)) == pytest.approx(exact, rel=1e-6)
    r = np.linspace(2.5, 3.0, 100_001)
    x = 2 * (r - 2.5)
    switch = 1 - 6 * x**5 + 15 * x**4 - 10 * x**3
    between = np.trapezoid(4 * math.pi * r**2 * 4 * (r**-12 - r**-6) * (1 - switch), r)
    assert eos.removed_integral(fluid(40, "switched")) == pytest.approx(exact + between, rel=1e-5)


def test_the_two_phase_region_is_flagged():
    assert "0.132 < rho* < 0.514" in eos.estimate(fluid(80)).verdict.text
    hot = eos.estimate(fluid(80, temperature=2.0))
    assert hot.verdict.level == "good"


def test_an_unknown_two_phase_region_is_not_blessed():
    assert eos._verdict(0.3, math.nan, math.nan).level == "bad"
    assert eos._verdict(math.nan, 0.1, 0.5).level == "bad"
    assert eos._verdict(0.05, 0.1, 0.5).level == eos._verdict(0.6, 0.1, 0.5).level == "good"


def test_the_chemical_potential_is_one_more_particle_in_the_same_box():
    found = eos.chemical_potential(fluid(120))
    assert found.quantity == "beta_mu_ex"
    assert found.value == pytest.approx(
        eos.estimate(fluid(121)).value - eos.estimate(fluid(120)).value, abs=1e-9
    )
    assert found.value == pytest.approx(
        -1.965, abs=0.05
    )  # simulated; the small box is not in the equation
    assert 0 < found.std_err < 0.05


def test_the_ideal_gas_has_no_excess():
    thin = StatePoint(n_particles=2, box_length_sigma=200.0, temperature_star=1.25)
    assert eos.estimate(thin).value == pytest.approx(0.0, abs=1e-4)


def test_another_potential_is_refused():
    soft = StatePoint(
        n_particles=100, box_length_sigma=6, temperature_star=1.25, potential={"type": "wca"}
    )
    for compute in (eos.estimate, eos.chemical_potential):
        with pytest.raises(ValueError, match="potential = wca: eos knows the Lennard-Jones"):
            compute(soft)
