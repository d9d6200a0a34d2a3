"""What a model of several fluids says of a state: that it is inside, or where it lies outside."""

import warnings

import pytest
from models import make_random_model, mixture

from openmm_nti import StatePoint
from openmm_nti.hamiltonian.training_range import TrainingRange, check_model_fits
from openmm_nti.model_files import load_any_model, save_model


def fluid(temperature, n=100, **more):
    return StatePoint(n_particles=n, box_length_sigma=6.0, temperature_star=temperature, **more)


STATES = [fluid(1.0), fluid(1.25, 40), fluid(3.0, 190), mixture(40, 60)]


@pytest.fixture(scope="module")
def model():
    model = make_random_model(STATES[0], kind="denoiser", conditioned=True)
    model.training_range = TrainingRange.of(STATES[0].pair_potential, STATES)
    return model


@pytest.mark.parametrize(
    "state",
    [
        *STATES,
        fluid(2.2, 150),
        fluid(2.2, 5),
        fluid(1.5, cutoff_sigma=2.5, switch_sigma=2.0),
        fluid(1.5, convention="truncated"),
        mixture(30, 30, sigma=0.35, epsilon=1.1),
        mixture(30, 30, order=("Kr", "Ar")),
    ],
    ids=str,
)
def test_inside_it_says_nothing(model, state):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_model_fits(model, state)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (fluid(0.8), r"wells 1.25 kT deep, 14% outside of 0.333 to 1.1, which"),
        (fluid(4.0), r"wells 0.25 kT deep, 25% outside"),
        (fluid(1.5, 210), r"packed to N d\^3 / V = 0.79"),
        (mixture(30, 30, sigma=0.45), r"atoms that differ in size by a factor 1.3"),
        (fluid(1.5, potential={"type": "mie", "repulsive": 14}), "potential: mie, the model knows"),
    ],
)
def test_outside_it_says_where(model, state, says):
    with pytest.warns(UserWarning, match=f"trained for other fluids: .*{says}"):
        check_model_fits(model, state)


def test_a_card_keeps_it(tmp_path, model):
    directory = save_model(model, tmp_path / "model", trained_on=STATES)
    read = load_any_model(directory)
    assert read.training_range == TrainingRange.of(model.potential, STATES)
    assert read.training_range.family is not None
    alone = save_model(model, tmp_path / "alone", trained_on=STATES[:1])
    assert load_any_model(alone).training_range.family is None
