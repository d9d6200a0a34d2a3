"""The form of a state point with named species: same states, mixtures, and one-line refusals."""

import pytest
from pydantic import ValidationError

from openmm_nti.cli.run_config import RunConfig
from openmm_nti.fluid.state import StatePoint

ARGON = {"n_particles": 60, "mass_dalton": 39.948, "sigma_nm": 0.3405, "epsilon_kj_mol": 0.99607}
KRYPTON = {"n_particles": 40, "mass_dalton": 83.798, "sigma_nm": 0.3633, "epsilon_kj_mol": 1.389}
POTENTIAL = {
    "type": "lennard_jones",
    "cutoff_nm": 1.0215,
    "switch_nm": 0.85125,
    "mixing": "lorentz_berthelot",
}
ONE = {
    "temperature_kelvin": 149.75,
    "box_length_nm": 2.043,
    "species": {"Ar": ARGON},
    "potential": POTENTIAL,
}
TWO = {**ONE, "species": {"Ar": ARGON, "Kr": KRYPTON}}


def test_one_species_is_the_state_of_the_plain_form():
    state = StatePoint(**ONE)
    plain = StatePoint(
        n_particles=60,
        box_length_nm=2.043,
        temperature_kelvin=149.75,
        sigma_nm=0.3405,
        epsilon_kj_mol=0.99607,
    )
    assert set(state.model_dump()) == set(plain.model_dump())
    assert not state.pair_potential.differing(plain.pair_potential)
    assert state.label == plain.label
    assert state.composition == {"Ar": 60}
    assert StatePoint.model_validate_json(state.model_dump_json()) == state


def test_reduced_numbers_are_kept_as_given():
    given = {"temperature_star": 1.25, "density_star": 60 / 216, "species": {"Ar": ARGON}}
    state = StatePoint(**given)
    assert state.temperature_star == 1.25
    assert (state.cutoff_sigma, state.switch_sigma) == (3.0, 2.5)
    assert state.box_length_sigma == pytest.approx(6)


def test_equal_edges_are_a_cube_and_a_list_of_n_makes_several_states():
    system = {**ONE, "box_nm": [2.043] * 3}
    del system["box_length_nm"]
    assert StatePoint(**system) == StatePoint(**ONE)
    several = {**ONE, "species": {"Ar": {**ARGON, "n_particles": [40, 60]}}}
    assert [state.n_particles for state in RunConfig(system=several).system] == [40, 60]


def test_a_mixture_fills_its_pairs_by_the_mixing_rule():
    state = StatePoint(**TWO)
    fluid = state.fluid
    assert state.composition == {"Ar": 60, "Kr": 40}
    assert fluid.pair("Kr", "Ar") == fluid.pair("Ar", "Kr")
    assert fluid.pair("Ar", "Kr").sigma_nm == pytest.approx((0.3405 + 0.3633) / 2)
    assert fluid.pair("Ar", "Kr").epsilon_kj_mol == pytest.approx((0.99607 * 1.389) ** 0.5)
    given = StatePoint(**TWO, pairs={"Kr-Ar": {"epsilon_kj_mol": 1.1}}).fluid.pair("Ar", "Kr")
    assert given.epsilon_kj_mol == 1.1
    assert given.sigma_nm == pytest.approx((0.3405 + 0.3633) / 2)
    assert StatePoint.model_validate_json(state.model_dump_json()) == state
    assert hash(state) == hash(StatePoint(**TWO))


def _without(name):
    return {key: value for key, value in ARGON.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"species": {}}, "species: missing: give at least one"),
        ({"species": {"Ar": _without("sigma_nm")}}, "species: Ar lacks sigma_nm"),
        ({"species": {"Ar": _without("mass_dalton")}}, "species: Ar lacks mass_dalton"),
        (
            {"species": {"Ar": {**ARGON, "sigma": 1}}},
            "species: Ar: unknown key sigma; did you mean sigma_nm",
        ),
        ({"temprature_kelvin": 100}, "unknown key temprature_kelvin; did you mean temperature_k"),
        ({"box_nm": [1, 2, 3]}, "box_length_nm and box_nm are given"),
        ({"box_length_nm": None}, "none of them is given"),
        ({"box_length_nm": -2}, "box_length_nm = -2 must be a positive number of at most"),
        ({"box_length_nm": None, "box_nm": [2.1, 2.2]}, r"must be the three edges"),
        (
            {"box_length_nm": None, "box_nm": [2.0, 2.2, 2.2]},
            r"shortest edge.*\(2 nm\), is under two",
        ),
        ({"box_length_nm": 1.9}, "is under two cutoffs"),
        ({"potential": {"type": "lenard_jones"}}, "type = 'lenard_jones' is unknown: choose from"),
        ({"potential": {"cut_nm": 1.0}}, "potential: unknown key cut_nm"),
        ({"potential": {"mixing": "geometric"}}, "mixing = 'geometric' is unknown"),
        ({"potential": {"cutoff_nm": 0.8, "switch_nm": 0.9}}, "must be below cutoff"),
        ({"pairs": {"Ar-Xe": {"sigma_nm": 0.3}}}, "there is one species"),
    ],
)
def test_nonsense_is_refused_with_a_way_out(change, message):
    settings = {k: v for k, v in {**ONE, **change}.items() if v is not None}
    with pytest.raises(ValidationError, match=message):
        StatePoint(**settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": {"Ar-Xe": {}}}, "Ar-Xe is no pair of two different species: choose from Ar-Kr"),
        ({"pairs": {"Ar-Kr": {"sigma": 1}}}, "pairs: Ar-Kr: unknown key sigma"),
        ({"pairs": {"Ar-Kr": {"sigma_nm": -1}}}, "pairs: Ar-Kr: sigma_nm: .*greater than 0"),
        ({"temperature_kelvin": None, "temperature_star": 1.25}, "temperature_star needs one"),
        ({"temperature_kelvin": None}, "the temperature is missing: give temperature_kelvin"),
        ({"box_length_nm": None, "density_star": 0.3}, "density_star needs one species"),
        ({"box_length_nm": 2.0}, r"the box,.*\(2 nm\), is under two cutoffs"),
        (
            {"species": {"Ar": ARGON, "Kr": {**KRYPTON, "n_particles": 1.5}}},
            "Kr: n_particles = 1.5 must be a whole number",
        ),
    ],
)
def test_nonsense_in_a_mixture_is_refused_with_a_way_out(change, message):
    settings = {k: v for k, v in {**TWO, **change}.items() if v is not None}
    with pytest.raises(ValidationError, match=message):
        StatePoint(**settings)


def test_the_old_way_to_a_pair_potential_names_the_new_one():
    from openmm_nti import PairPotential

    with pytest.raises(TypeError, match=r"StatePoint\(\.\.\.\)\.pair_potential"):
        PairPotential(temperature_star=1.25)
    with pytest.raises(TypeError, match="LennardJones"):
        PairPotential()
