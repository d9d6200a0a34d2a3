"""`StatePoint`: units, derived quantities, and messages that say what to change."""

import pytest
from pydantic import ValidationError

from openmm_nti.fluid.reduced import ReducedPotential
from openmm_nti.fluid.state import GAS_CONSTANT_KJ_MOL_K, StatePoint


def test_the_published_system_in_reduced_units():
    state = StatePoint(n_particles=40, box_length_sigma=6, temperature_star=1.25)
    assert state.density_star == pytest.approx(40 / 216)
    assert state.temperature_kelvin == pytest.approx(1.25 * 119.8)
    assert state.box_length_nm == pytest.approx(6 * 0.3405)
    assert state.cutoff_nm <= state.box_length_nm / 2
    assert state.time_unit_ps == pytest.approx(2.156, abs=1e-3)
    assert state.label == "N40_L6_T1.25_switched"


def test_real_units_and_reduced_units_give_the_same_state():
    reduced = StatePoint(n_particles=40, box_length_sigma=6, temperature_star=1.25)
    real = StatePoint(n_particles=40, box_length_nm=6 * 0.3405, temperature_kelvin=1.25 * 119.8)
    assert real.box_length_sigma == pytest.approx(reduced.box_length_sigma)
    assert real.temperature_star == pytest.approx(reduced.temperature_star)
    assert real.kt_kj_mol == pytest.approx(GAS_CONSTANT_KJ_MOL_K * 149.75)


def test_density_sets_the_box():
    state = StatePoint(n_particles=200, density_star=200 / 216, temperature_star=1.25)
    assert state.box_length_sigma == pytest.approx(6)


def test_json_round_trip_is_exact():
    state = StatePoint(
        n_particles=77, density_star=0.3, temperature_kelvin=133.3, convention="truncated"
    )
    assert StatePoint.model_validate_json(state.model_dump_json()) == state


def test_states_of_other_n_and_box_share_the_pair_potential():
    small = StatePoint(n_particles=40, box_length_sigma=6, temperature_star=1.25)
    large = StatePoint(n_particles=80, box_length_sigma=9, temperature_star=1.25)
    assert small.pair_potential == large.pair_potential == ReducedPotential(temperature_star=1.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"box_length_sigma": 5.9},
            r"under two cutoffs \(6 sigma\).*set cutoff_sigma to at most 2.95",
        ),
        ({"n_particles": 1}, "greater than or equal to 2"),
        ({"temperature_star": -1}, "greater than or equal to 0.001"),
        (
            {"box_length_sigma": None, "density_star": -0.1},
            "density_star = -0.1 must be a positive",
        ),
        ({"density_star": 0.1}, "box once.*box_length_sigma and density_star are given"),
        ({"box_length_sigma": None}, "box once.*none of them is given"),
        (
            {"temperature_kelvin": 150},
            "temperature once.*temperature_star and temperature_kelvin are given",
        ),
        ({"switch_sigma": 3.0}, "switch_sigma = 3 must be below cutoff_sigma = 3"),
        ({"n_partciles": 40}, "n_partciles\n.*not permitted"),
        ({"convention": "cut"}, "'switched', 'truncated', 'shifted' or 'force_shifted'"),
    ],
)
def test_nonsense_is_refused_with_a_way_out(change, message):
    settings = {"n_particles": 40, "box_length_sigma": 6, "temperature_star": 1.25, **change}
    with pytest.raises(ValidationError, match=message):
        StatePoint(**{name: value for name, value in settings.items() if value is not None})
