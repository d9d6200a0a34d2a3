"""Every model that ships loads by its name, is small, says how accurate it is, and has exact
ends.
"""

import numpy as np
import pytest
import torch

from openmm_nti import StatePoint, load_model
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.hamiltonian.training_range import check_model_fits
from openmm_nti.model_files import load_denoiser, read_card, shipped_models

MODELS = shipped_models()


def test_the_fluid_of_the_paper_is_there():
    assert "lj-fluid-t1.25" in MODELS


@pytest.mark.parametrize("name", MODELS)
def test_it_is_small_and_its_card_tells_accuracy_and_limits(name):
    assert sum(path.stat().st_size for path in MODELS[name].rglob("*.*")) < 2_000_000
    card = read_card(name)
    trained = [state["n_particles"] for state in card["trained_on"]]
    assert [row["n_particles"] for row in card["accuracy"]] == trained
    for row in card["accuracy"]:
        assert all(error > 0 for _, error in (row["neural_ti_bound"], row["neural_ti"]))
    assert card["limits"]
    assert card["training"]["seconds"] > 0


def test_the_denoiser_is_of_the_same_fluid():
    denoiser = load_denoiser("lj-fluid-t1.25")
    assert denoiser.network_config.kind == "denoiser"
    assert denoiser.trained_on == load_model("lj-fluid-t1.25").trained_on
    check_model_fits(denoiser, denoiser.trained_on[0])


@pytest.mark.parametrize("name", MODELS)
def test_both_ends_are_exact(name):
    model = load_model(name)
    state = model.trained_on[-1]
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
