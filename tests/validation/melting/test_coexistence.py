"""Fluid and crystal in equilibrium, against curves, lattice sums and sizes that are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from models import CRYSTAL

from openmm_nti import StatePoint
from openmm_nti.fluid.displacements import sites_sigma
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.virial import virials
from openmm_nti.validation.estimators.crystals import harmonic
from openmm_nti.validation.melting import run
from openmm_nti.validation.melting.finite_size import to_infinite_size
from openmm_nti.validation.melting.full_potential import tail_of
from openmm_nti.validation.melting.row import Row
from openmm_nti.validation.melting.surface import Known, Slopes, Surface
from openmm_nti.validation.melting.tangent import QUANTITIES, coexistence

T = 1.25
# a = c0 + c1 (rho - middle) + c2 (rho - middle)^2 of two phases, by rho_middle and c0, c1, c2.
CURVES = {"fluid": (0.96, 1.0, 6.8, 9.0), "crystal": (1.05, 1.58, 5.6, 16.0)}


def a_of(phase, rho):
    middle, *powers = CURVES[phase]
    x = rho - middle
    return powers[0] + powers[1] * x + powers[2] * x * x, powers[1] + 2 * powers[2] * x


def equation(phase, rng=None, n=4, error=0.02):
    """The equation of a phase, from pressures at n densities and one a, with noise or without."""
    rho = CURVES[phase][0] + np.linspace(-0.03, 0.03, n)
    pressures = T * rho**2 * a_of(phase, rho)[1]
    a, a_error = a_of(phase, rho[n // 2])[0], 0.002
    if rng is not None:
        pressures = pressures + error * rng.standard_normal(n)
        a += a_error * rng.standard_normal()
    slopes = [Slopes(one, T, pressure, error) for one, pressure in zip(rho, pressures, strict=True)]
    return Surface.fit([Known(rho[n // 2], T, a, a_error)], slopes).at(T)


def test_an_equation_has_the_curve_of_its_data():
    found = equation("fluid", n=5)
    rho = np.linspace(0.93, 0.99, 7)
    a, slope = a_of("fluid", rho)
    assert found.free_energy(rho) == pytest.approx(a, abs=1e-7)
    assert T * found.beta_pressure(rho) == pytest.approx(T * rho**2 * slope, abs=1e-6)
    assert found.beta_mu(rho) == pytest.approx(a + rho * slope, abs=1e-6)
    assert found.reduced == pytest.approx(0, abs=1e-6)


def test_coexistence_is_the_common_tangent():
    both = coexistence(equation("fluid"), equation("crystal"), T, np.random.default_rng(1))
    assert both.verdict.level == "good", both
    rho = [both.values["rho_fluid"], both.values["rho_crystal"]]
    assert 0.93 < rho[0] < 0.99
    assert 1.02 < rho[1] < 1.08
    # The tangent of a per volume: rho a has one slope, mu, at both, and minus p is where it begins.
    for phase, density in zip(CURVES, rho, strict=True):
        a, slope = a_of(phase, density)
        assert a + density * slope == pytest.approx(both.values["beta_mu"], abs=1e-6)
        assert T * density**2 * slope == pytest.approx(both.values["pressure_star"], abs=1e-5)


def test_errors_are_the_scatter_of_repetitions():
    rng = np.random.default_rng(2)
    runs = [
        coexistence(equation("fluid", rng), equation("crystal", rng), T, rng) for _ in range(12)
    ]
    exact = coexistence(equation("fluid"), equation("crystal"), T, rng).values
    for name in QUANTITIES:
        off = np.array([(run.values[name] - exact[name]) / run.errors[name] for run in runs])
        assert 0.4 < np.sqrt((off**2).mean()) < 2


def test_curves_without_a_tangent_are_told():
    fluid, crystal = equation("fluid"), equation("crystal")
    raised = crystal.coefficients + 3 * np.eye(len(crystal.coefficients))[0]
    higher = replace(crystal, coefficients=raised)
    both = coexistence(fluid, higher, T, np.random.default_rng(1))
    assert both.verdict.level == "bad"
    assert math.isnan(both.values["rho_fluid"])
    narrow = replace(fluid, lowest=0.98)
    both = coexistence(narrow, crystal, T, np.random.default_rng(1))
    assert "the fluid has rho* = 0.9" in both.verdict.text
    assert both.verdict.level == "warn"


def test_too_little_data_is_refused():
    some = [(0.9, T, 5.0, 0.1), (0.95, T, 6.0, 0.1)]
    for free_energies, pressures, said in (
        ([], some, "no free energy with an error"),
        ([(0.9, T, math.nan, 0.1)], some, "no free energy with an error"),
        ([(0.9, T, 1.0, 0.1)], some[:1], "1 densities with a pressure at T\\* = 1.25 are too few"),
        ([(0.9, T, 1.0, 0.1)], [], "0 densities with a pressure are too few"),
        ([(0.9, T, 1.0, 0.1)], [(0.9, T, math.nan, 0.1), some[1]], "not finite"),
    ):
        with pytest.raises(ValueError, match=said):
            Surface.fit([Known(*one) for one in free_energies], [Slopes(*one) for one in pressures])


def lattice_with(cells, scale=1.0):
    """A crystal with so many cells along each edge, with its lattice scaled."""
    state = CRYSTAL.model_dump(exclude={"n_particles", "box_sigma", "box_length_sigma"})
    crystal = {"lattice": "fcc", "cells": (cells,) * 3}
    return StatePoint(**{**state, "crystal": crystal, "density_star": 1.1 / scale**3})


def tail_at_rest(state):
    frames = np.repeat(sites_sigma(state)[None], 2, axis=0)
    return tail_of(frames, virials(frames, state), state)


def test_the_tail_of_a_lattice_is_its_sum():
    """A larger box, where the sum goes further, has the same tail of an atom."""
    small, large = lattice_with(2), lattice_with(4)
    tails = [tail_at_rest(state) for state in (small, large)]
    per_atom = [tail.beta_f / s.n_particles for tail, s in zip(tails, (small, large), strict=True)]
    assert per_atom[0] == pytest.approx(per_atom[1], rel=0.01)
    assert tails[0].pressure == pytest.approx(tails[1].pressure, rel=0.01)
    # And what a cutoff far away adds, beyond which there is a hundredth.
    frames, n = sites_sigma(lattice_with(7))[None], lattice_with(7).n_particles
    wide = lattice_with(7).model_copy(update={"cutoff_sigma": 5.3, "switch_sigma": 5.2})
    energies = [reduced_potential_numpy(frames, one)[0] / n for one in (lattice_with(7), wide)]
    assert per_atom[1] == pytest.approx(energies[1] - energies[0], rel=0.03)


def test_the_pressure_of_the_tail_is_the_slope_of_its_energy():
    step = 1e-4
    low, here, high = (lattice_with(3, scale) for scale in (1 - step, 1.0, 1 + step))
    change = tail_at_rest(high).beta_f - tail_at_rest(low).beta_f
    slope = change * here.temperature_star / (6 * step * here.volume_sigma3)
    assert tail_at_rest(here).pressure == pytest.approx(-slope, rel=1e-3)


def test_the_size_of_a_harmonic_crystal_is_known():
    """Crystals of 32, 108 and 256 atoms have one free energy at infinite size."""
    found = []
    for cells in (2, 3, 4):
        state = lattice_with(cells)
        here = harmonic.estimate(state).diagnostics.beta_a_per_particle
        lacking = to_infinite_size(state)
        assert lacking.source.startswith("normal modes of N = ")
        found.append(here + lacking.a)
    assert found[1] == pytest.approx(found[2], abs=3e-4)
    assert found[0] == pytest.approx(found[2], abs=5e-3)


def test_large_and_unstable_crystals_have_the_logarithm_alone():
    simple = {"crystal": {"lattice": "sc", "cells": (3, 3, 3)}, "density_star": 0.95}
    cutoff = {"temperature_star": 0.7, "cutoff_sigma": 1.5, "switch_sigma": 1.25}
    large = lattice_with(8)
    for state, why in ((StatePoint(**simple, **cutoff), "unstable"), (large, "too many atoms")):
        n = state.n_particles
        lacking = to_infinite_size(state)
        assert lacking[:3] == pytest.approx((0.5 * math.log(n) / n, 0, 0))
        assert why in lacking.source


@pytest.mark.parametrize(
    ("level", "expected"), [("bad", "bad"), ("warn", "warn"), ("good", "good")]
)
def test_a_free_energy_in_doubt_is_told(level, expected):
    rows = []
    for phase in CURVES:
        for rho in CURVES[phase][0] + np.linspace(-0.03, 0.03, 4):
            cell = {"crystal": {"lattice": "fcc", "cells": (2, 2, 2)}} if phase == "crystal" else {}
            keys = {"n_particles": 32, "cutoff_sigma": 1.5, "switch_sigma": 1.25} | cell
            state = StatePoint(**keys, density_star=rho, temperature_star=T)
            a, slope = a_of(phase, rho)
            facts = {"verdict": {"level": level if phase == "fluid" else "good", "text": "look"}}
            slopes = Slopes(rho, T, T * rho**2 * slope, 0.02)
            rows.append(Row(state, slopes, Known(rho, T, a, 0.002), facts))
    surfaces, line = run._equilibrium(rows, np.random.default_rng(1))
    assert set(surfaces) == {"fluid", "crystal"}
    assert list(line) == [T]
    both = line[T]
    assert both.verdict.level == level
    assert both.values["rho_fluid"] == pytest.approx(0.959, abs=0.02)
