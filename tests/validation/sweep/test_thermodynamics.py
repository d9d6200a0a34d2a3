"""Thermodynamics along an isochore: a gamma distribution, and three particles."""

import numpy as np
import pymbar
import pytest

from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.state import StatePoint
from openmm_nti.fluid.virial import pressure_star, virials
from openmm_nti.validation.analysis.mbar_equations import quiet_pymbar
from openmm_nti.validation.sweep.thermodynamics import (
    QUANTITIES,
    Anchor,
    Frames,
    thermodynamics,
)

FREEDOM = 60.0  # of harmonic coordinates, whose energy has a gamma distribution
STATE = StatePoint(n_particles=20, box_length_sigma=6.0, temperature_star=1.25)


def harmonic(temperatures, n, independent=None):
    """Frames with W = U / 2, for which F, U and C_v are known at every temperature."""
    rng = np.random.default_rng(5)
    energies = [rng.gamma(FREEDOM / 2, t, n) for t in temperatures]
    counts = np.full(len(temperatures), n if independent is None else independent, dtype=float)
    return Frames(STATE, np.array(temperatures), energies, [u / 2 for u in energies], counts)


def at(frames, temperatures, anchor):
    return thermodynamics(frames, anchor, np.array(temperatures), np.random.default_rng(3))


def test_harmonic_coordinates_have_their_exact_thermodynamics():
    asked = np.array([1.0, 1.1, 1.3])
    found = at(harmonic([1.0, 1.15, 1.3], 400), asked, Anchor(1.15, -5.0, 0.02))
    free_energy = -5.0 - FREEDOM / 2 * np.log(asked / 1.15)
    exact = {
        "beta_f_ex": free_energy,
        "beta_u_ex": np.full(3, FREEDOM / 2),
        "s_ex": FREEDOM / 2 - free_energy,
        "c_v_ex": np.full(3, FREEDOM / 2),
        "c_v": np.full(3, FREEDOM / 2 + 30.0),
        "pressure_star": asked * (20 + FREEDOM / 12) / 216,
    }
    assert set(exact) == set(QUANTITIES)
    for name, value in exact.items():
        assert (np.abs(found.values[name] - value) < 3.5 * found.errors[name]).all(), name
    assert (found.errors["beta_f_ex"] < 0.1).all()
    assert (found.errors["beta_f_ex"] >= 0.02).all()
    assert found.verdict.level == "good"
    row = found.rows()[1]
    assert row["temperature_star"] == 1.1
    assert row["c_v"]["value"] == pytest.approx(row["c_v_ex"]["value"] + 30.0)


def test_the_error_of_the_free_energy_is_that_of_mbar():
    frames = harmonic([1.0, 1.3], 400)
    found = at(frames, [1.3], Anchor(1.0, 0.0, 0.0))
    with quiet_pymbar():
        mbar = pymbar.MBAR(frames.u_kn, frames.counts)
        error = mbar.compute_free_energy_differences()["dDelta_f"][0, 1]
    assert found.errors["beta_f_ex"] == pytest.approx(error, rel=0.2)


def test_a_gap_between_temperatures_is_said_and_leaves_no_error():
    found = at(harmonic([1.0, 1.1, 6.0], 100), [1.0, 1.1, 6.0], Anchor(1.0, 0.0, 0.1))
    assert found.verdict.level == "bad"
    assert "from T* = 1.1 to 6; add temperatures in between" in found.verdict.text
    assert all(np.isinf(error).all() for error in found.errors.values())


def test_what_gives_no_error_is_not_good():
    few = at(harmonic([1.0, 1.15], 40, independent=5), [1.0], Anchor(1.0, 0.0, 0.1))
    assert few.verdict.text == "unreliable: 5 independent frames at T* = 1; record more"
    assert np.isinf(few.errors["beta_u_ex"]).all()
    same = Frames(STATE, np.array([1.0, 1.1]), [np.ones(20)] * 2, None, np.full(2, 20.0))
    found = at(same, [1.0], Anchor(1.0, 0.0, 0.1))
    assert found.verdict.text == "unreliable: the energy is the same in all frames at T* = 1"
    assert np.isinf(found.errors["beta_f_ex"]).all()
    assert "pressure_star" not in found.rows()[0]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="must be two finite numbers"):
        Anchor(1.0, 0.0, float("inf"))
    with pytest.raises(ValueError, match="must be two or more, and different"):
        harmonic([1.0, 1.0], 10)
    with pytest.raises(ValueError, match="must lie between the simulated ones, 1 and 1.1"):
        at(harmonic([1.0, 1.1], 20), [1.2], Anchor(1.0, 0.0, 0.1))
    with pytest.raises(ValueError, match="finite"):
        Frames(STATE, np.array([1.0, 1.1]), [np.full(9, np.nan)] * 2, None, np.full(2, 9.0))


@pytest.mark.slow
def test_three_particles_have_their_exact_thermodynamics(tmp_path):
    """The only test with MD in it: random positions give the answer at each temperature."""
    from openmm_nti.reference_md import ReferenceConfig
    from openmm_nti.runtime.context import Execution
    from openmm_nti.validation.sweep.run import states_of, sweep

    small = StatePoint(
        n_particles=3,
        box_length_sigma=3,
        temperature_star=0.9,
        cutoff_sigma=1.5,
        switch_sigma=1.2,
    )
    rng, parts = np.random.default_rng(1), []
    for _ in range(10):
        positions = rng.uniform(0, 3, (200_000, 3, 3))
        energy = reduced_potential_numpy(positions, small) * 0.9
        parts.append(np.stack([energy, virials(positions, small)]))
    energy, virial = np.concatenate(parts, axis=1)

    def exact(temperature):
        weights = np.exp(-energy / temperature)
        z = weights.mean()
        mean, pressure = (np.average(x, weights=weights) for x in (energy, virial))
        heat = np.average((energy - mean) ** 2, weights=weights)
        free = -np.log(z)
        return {
            "beta_f_ex": free,
            "beta_u_ex": mean / temperature,
            "s_ex": mean / temperature - free,
            "c_v_ex": heat / temperature**2,
            "pressure_star": pressure_star(pressure, temperature, small),
        }

    anchor = Anchor(0.9, exact(0.9)["beta_f_ex"], 0.0)
    config = ReferenceConfig(n_frames=2000, frame_interval=100, platform="Reference")
    states = states_of(small, [1.25, 2.0], anchor)
    found = sweep(states, config, anchor, Execution(seed=4, directory=tmp_path))
    assert found["verdict"]["level"] == "good"
    assert [row["temperature_star"] for row in found["temperatures"]] == [0.9, 1.25, 2.0]
    for row in found["temperatures"]:
        for name, value in exact(row["temperature_star"]).items():
            error = row[name]["std_err"] + 2e-3 * abs(value)  # of the random positions
            assert abs(row[name]["value"] - value) < 3 * error, (row["temperature_star"], name)
