"""Every model that ships loads by its name, is small, says how accurate it is, and has exact
ends.
"""

import warnings

import numpy as np
import pytest
import torch
from models import mixture

from openmm_nti import StatePoint, load_model
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.hamiltonian.training_range import check_model_fits
from openmm_nti.model_files import load_denoiser, read_card, shipped_models
from openmm_nti.shipped import shipped_for

MODELS = shipped_models()
MEASURED = ("neural_ti_bound", "neural_ti", "gap")


def fluid(n, temperature=1.25, **more):
    return StatePoint(n_particles=n, box_length_sigma=6.0, temperature_star=temperature, **more)


def test_the_fluid_of_the_paper_is_there():
    assert "lj-fluid-t1.25" in MODELS


@pytest.mark.parametrize("name", MODELS)
def test_it_is_small_and_its_card_tells_accuracy_and_limits(name):
    assert sum(path.stat().st_size for path in MODELS[name].rglob("*.*")) < 4_000_000
    card = read_card(name)
    assert card["accuracy"]
    for row in card["accuracy"]:
        measured = [value for key, value in row.items() if key in MEASURED]
        assert measured
        assert all(error > 0 for _, error in measured)
    assert card["limits"]
    assert card["training"]["seconds"] > 0


def test_accuracy_is_told_for_every_n_of_the_training():
    card = read_card("lj-fluid-t1.25")
    trained = [state["n_particles"] for state in card["trained_on"]]
    assert [row["n_particles"] for row in card["accuracy"]] == trained


@pytest.mark.parametrize("name", MODELS)
def test_the_denoiser_is_of_the_same_fluids_at_least(name):
    denoiser = load_denoiser(name)
    assert denoiser.network_config.kind == "denoiser"
    assert all(state in denoiser.trained_on for state in load_model(name).trained_on)
    check_model_fits(denoiser, denoiser.trained_on[0])


@pytest.mark.parametrize("name", MODELS)
def test_both_ends_are_exact(name):
    model = load_model(name)
    state = model.trained_on[-1]
    model = model.bind(state)
    positions = np.stack([lattice_positions_nm(state, seed) for seed in range(2)]) / state.sigma_nm
    box = torch.full((3,), state.box_length_sigma, dtype=torch.float64)
    ends = [
        model(torch.as_tensor(positions), box, torch.full((2,), lam, dtype=torch.float64))
        for lam in (0.0, 1.0)
    ]
    assert (ends[0] == 0.0).all()
    np.testing.assert_allclose(
        ends[1].numpy(), reduced_potential_numpy(positions, state), rtol=1e-10
    )


def test_it_warns_beyond_its_densities_and_at_another_temperature():
    model = load_model("lj-fluid-t1.25")
    dense = StatePoint(n_particles=230, box_length_sigma=6.0, temperature_star=1.25)
    with pytest.warns(
        UserWarning,
        match=r"rho\* = 1.065 is outside of the model's training range, 0.1852 to 0.9259",
    ):
        check_model_fits(model, dense)
    with pytest.warns(UserWarning, match="temperature_star = 1.25 in the model, 2.0 in the state"):
        check_model_fits(
            model, StatePoint(n_particles=100, box_length_sigma=6.0, temperature_star=2.0)
        )
    check_model_fits(
        model, StatePoint(n_particles=100, box_length_sigma=6.0, temperature_star=1.25)
    )


@pytest.mark.parametrize(
    ("state", "first"),
    [
        (fluid(100), "lj-fluid-t1.25"),
        (fluid(100, 2.0), "lj-family"),
        (fluid(20), "lj-family"),  # thinner than the other one's training
        (fluid(100, convention="truncated"), "lj-family"),
        (mixture(60, 60), "lj-family"),
        (fluid(100, 9.0), "lj-family"),
    ],
    ids=str,
)
def test_the_model_of_the_very_fluid_comes_first_and_the_family_elsewhere(state, first):
    assert shipped_for(state)[0] == first
    assert set(shipped_for(state)) == set(MODELS)


@pytest.mark.parametrize("state", [fluid(30, 1.6), fluid(200, 1.0), mixture(60, 60)], ids=str)
def test_the_family_serves_its_range_without_a_word_and_warns_beyond_it(state):
    for model in (load_model("lj-family"), load_denoiser("lj-family")):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_model_fits(model, state)
        with pytest.warns(UserWarning, match=r"wells 0\.111 kT deep, \d+% outside of"):
            check_model_fits(model, fluid(100, 9.0))
