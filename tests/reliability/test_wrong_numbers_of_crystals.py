"""No number of a crystal is another's, as in `test_wrong_numbers`."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from crystal_cases import crystal_frames
from models import CRYSTAL
from other_numbers import Inputs, check, other_settings

from openmm_nti import NetworkConfig, StatePoint
from openmm_nti.hamiltonian import build_model
from openmm_nti.validation.estimators.registry import all_estimators, estimator

WINDOWS = {
    "n_windows": 3,
    "n_chains": 2,
    "n_frames": 3,
    "steps_between": 2,
    "platform": "Reference",
}
SETTINGS = {
    "crystal_path_bar": {"n_paths": 8, "n_steps": 10},
    "crystal_bound": {"n_levels": 8, "n_pairs": 16, "largest_noise": 0.1},
    "crystal_tethered": {
        "n_levels": 8,
        "n_pairs": 16,
        "largest_noise": 0.1,
        "n_tethered": 4,
        "tethered_steps": 240,
    },
    "mbar_crystal": WINDOWS | {"equilibration_steps": 4, "force": "python"},
    "frenkel_ladd": WINDOWS | {"equilibration": 4, "variance": 0.001},
    "frenkel_ladd_ramps": {
        "n_ramps": 4,
        "ramp_steps": 30,
        "equilibration": 4,
        "variance": 0.001,
        "platform": "Reference",
    },
    "harmonic": {},
}
# Settings that need not change the number: of the placement of windows, or an effort that frames
# limit, or that is rounded to pairs of levels or whole stages. Platforms may agree to the bit.
IDLE = {"window_length", "platform", "force", "n_levels", "ramp_steps"}


@dataclass(frozen=True)
class OfCrystal(Inputs):
    """Everything that decides an estimate of a crystal."""

    state: StatePoint = field(default=CRYSTAL)

    def data(self):
        return crystal_frames(self.frames, self.state)

    def model(self, known):
        if not known.needs_model:
            return None
        torch.manual_seed(3)
        kind = "density" if "energy" in known.needs else "denoiser"
        size = {"n_radial": 4, "n_channels": 2, "width": 8, "cutoff_sigma": 1.4}
        model = build_model(self.state.pair_potential, NetworkConfig(kind=kind, **size))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        with torch.no_grad():
            next(iter(model.network.parameters())).view(-1)[0] += self.weight
        return model.eval().requires_grad_(False)


def other_inputs(first):
    """Yield what is changed, whether the number must change, and the other inputs."""
    known = estimator(first.method)
    yield "seed", known.name != "harmonic", replace(first, seed=2)
    yield "data", "data" in known.needs, replace(first, frames=2)
    yield "weights", known.needs_model, replace(first, weight=0.05)
    for name, value in (
        ("temperature_star", 0.71),
        ("cutoff_sigma", 1.52),
        ("convention", "shifted"),
        ("density_star", 1.095),
    ):
        keys = ("crystal", "density_star", "temperature_star", "cutoff_sigma", "switch_sigma")
        same = {key: getattr(CRYSTAL, key) for key in keys}
        # At rest no atoms are where another cutoff changes the potential.
        must = (first.method, name) != ("harmonic", "cutoff_sigma")
        yield name, must, replace(first, state=StatePoint(**same | {name: value}))
    for name, settings in other_settings(known.Config(**first.settings)):
        yield name, name not in IDLE, replace(first, settings=settings)


def test_every_estimator_of_crystals_is_in_the_matrix():
    of_crystals = {name for name, known in all_estimators().items() if known.phase == "crystal"}
    assert of_crystals == set(SETTINGS)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("method", ["crystal_path_bar", "crystal_bound"])
def test_other_seeds_data_and_weights_have_their_own_number(method, tmp_path):
    first = OfCrystal(method, SETTINGS[method])
    check(first, list(other_inputs(first))[:3], tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("method", SETTINGS)
def test_every_input_has_its_own_number(method, tmp_path):
    first = OfCrystal(method, SETTINGS[method])
    check(first, other_inputs(first), tmp_path)
