"""The anchor of a sweep: two numbers, or the number that results quote."""

import json

import pytest

from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy, Verdict
from openmm_nti.validation.sweep.anchor import anchor_from, at_temperature

STATE = StatePoint(n_particles=40, box_length_sigma=6.0, temperature_star=1.25)


def results(path, state, level="good"):
    found = FreeEnergy(
        -21.1, 0.1, "mbar_softcore", "switched", 40, verdict=Verdict(level, "a reason")
    )
    entry = {key: value for key, value in found.to_dict().items() if key != "n_particles"}
    point = {
        "n_particles": 40,
        "beta_f_ex": {"mbar_softcore": entry},
        "diagnostics": {"state": state.model_dump(mode="json")},
    }
    path.write_text(json.dumps({"state_points": [point]}))
    return str(path)


def test_two_numbers_are_at_the_temperature_of_the_configuration():
    found = anchor_from("-21.1,0.1", STATE)
    assert (found.temperature_star, found.value, found.std_err) == (1.25, -21.1, 0.1)


def test_results_may_be_of_another_temperature_of_the_same_fluid(tmp_path):
    found = anchor_from(results(tmp_path / "results.json", STATE), at_temperature(STATE, 2.0))
    assert (found.temperature_star, found.value, found.std_err) == (1.25, -21.1, 0.1)
    assert found.source.startswith("mbar_softcore in ")
    assert anchor_from(str(tmp_path), STATE).value == -21.1


def test_results_of_another_box_or_without_an_error_are_refused(tmp_path):
    other = StatePoint(n_particles=40, box_length_sigma=7.0, temperature_star=1.25)
    with pytest.raises(ValueError, match="none of its 1 state points is of this fluid"):
        anchor_from(results(tmp_path / "results.json", other), STATE)
    with pytest.raises(ValueError, match="no exact estimate"):
        anchor_from(results(tmp_path / "results.json", STATE, "bad"), STATE)
