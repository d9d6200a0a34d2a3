"""Free energies by density and temperature, from one of them and from slopes that are known."""

import numpy as np
import pytest
from models import CRYSTAL

from openmm_nti import StatePoint
from openmm_nti.fluid.displacements import sites_sigma
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.validation.estimators.crystals import harmonic
from openmm_nti.validation.melting.finite_size import to_infinite_size
from openmm_nti.validation.melting.states import check_states, with_free_energies
from openmm_nti.validation.melting.surface import Known, Slopes, Surface

TEMPERATURES = (1.0, 1.25, 1.5)


def crystal_at(density, temperature, cells=3):
    keys = CRYSTAL.model_dump(exclude={"n_particles", "box_sigma", "box_length_sigma"})
    lattice = {"crystal": {"lattice": "fcc", "cells": (cells,) * 3}}
    changes = {"density_star": density, "temperature_star": temperature}
    return StatePoint(**{**keys, **lattice, **changes})


def harmonic_a(state):
    return harmonic.estimate(state).diagnostics.beta_a_per_particle


def harmonic_slopes(density, temperature, step=1e-4):
    """Exact pressure and energy of a crystal of springs, of N atoms, from its free energy."""
    low, high = (harmonic_a(crystal_at(density * x, temperature)) for x in (1 - step, 1 + step))
    pressure = temperature * density**2 * (high - low) / (2 * step * density)
    state = crystal_at(density, temperature)
    at_rest = reduced_potential_numpy(sites_sigma(state)[None], state)[0] * temperature
    n = state.n_particles
    energy = (at_rest + 1.5 * (n - 1) * temperature) / n
    return pressure, energy


def crystal_of_springs(error=1e-4):
    # Thin enough to keep the second shell of neighbours outside of the cutoff.
    places = [(rho + 0.02 * t, t) for t in TEMPERATURES for rho in (0.97, 0.99, 1.01, 1.04)]
    slopes = []
    for rho, t in places:
        pressure, energy = harmonic_slopes(rho, t)
        slopes.append(Slopes(rho, t, pressure, error, energy, error))
    return slopes


def test_a_crystal_of_springs_has_its_free_energy_at_every_temperature():
    slopes = crystal_of_springs()
    rho, t = slopes[6][:2]
    surface = Surface.fit([Known(rho, t, harmonic_a(crystal_at(rho, t)), 1e-4)], slopes)
    for one in slopes:
        found = surface.at(one.temperature_star).free_energy(one.density)
        expected = harmonic_a(crystal_at(one.density, one.temperature_star))
        assert found == pytest.approx(expected, abs=2e-3)
        beta_pressure = surface.at(one.temperature_star).beta_pressure(one.density)
        assert beta_pressure * one.temperature_star == pytest.approx(one.pressure, abs=5e-3)
    between = crystal_at(1.02, 1.12)
    assert surface.at(1.12).free_energy(1.02) == pytest.approx(harmonic_a(between), abs=2e-3)


def test_infinite_size_has_a_pressure_and_an_energy_of_its_own():
    """A crystal of 108 springs and one of 256 lead to the same."""
    found = []
    for cells in (3, 4):
        state = crystal_at(1.05, 1.0, cells)
        step, n = 1e-4, state.n_particles
        low, high = (harmonic_a(crystal_at(1.05 * x, 1.0, cells)) for x in (1 - step, 1 + step))
        lacking = to_infinite_size(state)
        at_rest = reduced_potential_numpy(sites_sigma(state)[None], state)[0]
        energy, slope = (at_rest + 1.5 * (n - 1)) / n, (high - low) / (2 * step * 1.05)
        found.append((slope + lacking.by_density, energy + lacking.by_beta))
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    assert found[1][1] == pytest.approx(at_rest / n + 1.5, abs=1e-9)


def test_errors_count_that_pressure_and_energy_are_of_the_same_frames():
    """Pressures and energies of the same frames scatter together, about what they are."""
    rng, shared = np.random.default_rng(3), 0.9
    exact = [
        one._replace(pressure_err=0.01, energy_err=0.01, correlation=shared)
        for one in crystal_of_springs()
    ]
    anchor, far = exact[6], exact[1]

    def of(slopes):
        """Return a at a state far from the anchor, its error, and chi^2."""
        known = [Known(anchor.density, anchor.temperature_star, 1.0, 1e-6)]
        surface = Surface.fit(known, slopes)
        cut = surface.at(far.temperature_star)
        powers = (far.density - cut.middle) ** np.arange(len(cut.coefficients))
        error = np.sqrt(powers @ cut.covariance @ powers)
        return cut.free_energy(far.density), error, surface.reduced

    covariance = 0.01**2 * np.array([[1, shared], [shared, 1]])
    found = []
    for _ in range(150):
        off = rng.multivariate_normal((0, 0), covariance, len(exact))
        found.append(
            of(
                [
                    one._replace(pressure=one.pressure + x, energy=one.energy + y)
                    for one, (x, y) in zip(exact, off, strict=True)
                ]
            )
        )
    values, errors, reduced = np.array(found).T
    assert np.std(values - of(exact)[0]) == pytest.approx(errors.mean(), rel=0.2)
    assert reduced.mean() == pytest.approx(1, abs=0.2)


def test_one_temperature_has_no_use_for_energies():
    slopes = [one for one in crystal_of_springs() if one.temperature_star == 1.25]
    known = [Known(slopes[2].density, 1.25, -1.0, 1e-3)]
    with_energy = Surface.fit(known, slopes)
    without = Surface.fit(known, [Slopes(*one[:4]) for one in slopes])
    assert with_energy.coefficients == pytest.approx(without.coefficients)
    assert with_energy.powers[:, 1].max() == 0
    cut = with_energy.at(1.25)
    assert (cut.lowest, cut.highest) == (slopes[0].density, slopes[-1].density)
    several = crystal_of_springs()
    with pytest.raises(ValueError, match="is not finite"):
        Surface.fit(known, [Slopes(*one[:4]) for one in several])


def line(temperatures):
    cutoff = {"cutoff_sigma": 1.45, "switch_sigma": 1.25}
    fluids = [
        StatePoint(n_particles=8, density_star=rho, temperature_star=t, **cutoff)
        for t in temperatures
        for rho in (0.2, 0.25, 0.3)
    ]
    cells = {"crystal": {"lattice": "fcc", "cells": (2, 2, 2)}}
    crystals = [
        StatePoint(**cells, density_star=rho, temperature_star=t, **cutoff)
        for t in temperatures
        for rho in (1.05, 1.1)
    ]
    return [*fluids, *crystals]


def test_the_middle_temperature_has_the_free_energies():
    states = line((1.3, 0.9, 1.0, 1.15))
    check_states(states)
    chosen = with_free_energies(states, everywhere=False)
    assert [(one.temperature_star, round(one.density_star, 9)) for one in chosen] == [
        (1.0, 0.25),
        (1.0, 1.1),
    ]
    assert with_free_energies(states, everywhere=True) == states


def test_temperatures_far_apart_are_refused():
    with pytest.raises(ValueError, match="T\\* = 1 and 2 are too far apart"):
        check_states(line((1.0, 2.0)))
    states = line((1.0, 1.2))
    with pytest.raises(ValueError, match="1 densities of the crystal at T\\* = 1.2"):
        check_states(states[:-1])
    other = states[0].model_copy(update={"cutoff_sigma": 1.4})
    with pytest.raises(ValueError, match="differ in potential, cutoff or convention"):
        check_states([*states, other])
