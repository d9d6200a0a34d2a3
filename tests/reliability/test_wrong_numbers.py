"""No number is another's: a folder that has results of other inputs gives what a new one gives."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import make_random_model
from other_numbers import Inputs, check, other_settings
from typer.testing import CliRunner

import openmm_nti
from openmm_nti import StatePoint, save_model
from openmm_nti.cli.app import app
from openmm_nti.runtime.context import Execution
from openmm_nti.testing.two_particles import TWO_PARTICLES, exact_samples
from openmm_nti.validation.estimators.registry import all_estimators, estimator

SOFT = {
    "n_windows": 3,
    "n_chains": 2,
    "n_frames": 4,
    "steps_between": 4,
    "equilibration": 16,
    "platform": "Reference",
}
WINDOWS = {
    "engine": "torch",
    "n_windows": 3,
    "n_chains": 8,
    "n_frames": 4,
    "steps_between": 2,
    "equilibration_steps": 4,
    "pilot_frames": 4,
}
PATHS = {"n_paths": 8, "n_steps": 10}
STAGES = {**PATHS, "n_stages": 2, "n_chains": 8, "equilibration_steps": 4, "steps_between": 2}
BOUND = {"n_levels": 4, "n_pairs": 8, "n_tethered": 0}
SETTINGS = {
    "widom": {"n_insertions_per_frame": 20},
    "path_bar": PATHS,
    "path_bracket": PATHS,
    "path_stages": STAGES,
    "neural_ti_bound": BOUND,
    "neural_ti_tethered": {**BOUND, "n_tethered": 4, "tethered_steps": 240},
    "neural_ti": {"n_samples": 8, "n_steps": 10, "corrector_steps": 1},
    "neural_ti_noised": {"n_levels": 8, "n_frames": 8},
    "mbar_neural": WINDOWS,
    "bar_neural": WINDOWS,
    "ti_neural_md": WINDOWS,
    "mbar_softcore": SOFT,
    "mu_decoupling": SOFT,
    "ufm_switching": SOFT | {"n_windows": 5, "n_chains": 3, "n_ramps": 8, "ramp_steps": 20},
    "bar_chain": {"n_walkers": 8, "n_frames": 2, "n_insertions": 50, "equilibration_sweeps": 5},
    "eos": {},
}
# Settings that need not change the number: of the other engine, or of a pilot that is overruled by
# n_windows and n_frames, or an effort that is rounded to whole rounds of the frames (n_pairs). All
# others must.
IDLE = {
    "timestep_star",
    "friction_star",
    "force",
    "platform",
    "target_error",
    "window_length",
    "pilot_frames",
    "control_variates",
    "n_pairs",
    "n_tethered",
    "tethered_steps",
    "equilibration_steps",
    "equilibration",
    "species_order",
}
QUICK = ("widom", "neural_ti_bound", "neural_ti_noised", "bar_chain")


def other_inputs(first):
    """Yield what is changed, whether the number must change, and the other inputs."""
    known = estimator(first.method)
    yield "seed", known.name != "eos", replace(first, seed=2)
    yield "data", "data" in known.needs, replace(first, frames=2)
    yield "weights", known.needs_model, replace(first, weight=0.05)
    for name, value in (
        ("temperature_star", 0.81),
        ("cutoff_sigma", 1.45),
        ("convention", "truncated"),
    ):
        yield name, True, replace(first, state=changed_state(**{name: value}))
    turned = TWO_PARTICLES.box_sigma[::-1]
    yield "edges", known.name != "eos", replace(first, state=changed_state(box_sigma=turned))
    for name, settings in other_settings(known.Config(**first.settings)):
        yield name, name not in IDLE, replace(first, settings=settings)


def changed_state(**change):
    keys = ("n_particles", "box_sigma", "temperature_star", "cutoff_sigma", "switch_sigma")
    return StatePoint(**{**{key: getattr(TWO_PARTICLES, key) for key in keys}, **change})


def test_every_estimator_of_fluids_is_in_the_matrix():
    of_fluids = {name for name, known in all_estimators().items() if known.phase == "fluid"}
    assert of_fluids - set(SETTINGS) <= {"mean_energy"}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("method", QUICK)
def test_other_seeds_data_and_weights_have_their_own_number(method, tmp_path):
    first = Inputs(method, SETTINGS[method])
    check(first, list(other_inputs(first))[:3], tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("method", SETTINGS)
def test_every_input_has_its_own_number(method, tmp_path):
    first = Inputs(method, SETTINGS[method])
    check(first, other_inputs(first), tmp_path)


def test_another_version_of_the_package_computes_anew(tmp_path, monkeypatch):
    execution = Execution(1, 1, tmp_path)
    assert execution.stored("x", [1], lambda: {"x": np.zeros(1)})["x"] == 0
    monkeypatch.setattr(openmm_nti, "__version__", "99.0")
    assert execution.stored("x", [1], lambda: {"x": np.ones(1)})["x"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("change", ["--model", "--seed", "--data"])
def test_the_command_line_takes_up_no_other_number(change, tmp_path):
    model = make_random_model(TWO_PARTICLES, kind="density")
    for number in (1, 2):
        with torch.no_grad():
            next(iter(model.network.parameters())).view(-1)[0] += 0.05
        save_model(model, tmp_path / f"model{number}", trained_on=[TWO_PARTICLES], seed=1)
        data = exact_samples(40, np.random.default_rng(number))
        data.save(tmp_path / f"data{number}.h5")
    first = {"--model": tmp_path / "model1", "--seed": 1, "--data": tmp_path / "data1.h5"}
    second = {"--model": tmp_path / "model2", "--seed": 2, "--data": tmp_path / "data2.h5"}
    other = first | {change: second[change]}
    numbers = [estimate(options, tmp_path / "o") for options in (first, other, first)]
    assert numbers[1] == estimate(other, tmp_path / "new")
    assert numbers[0] == numbers[2] != numbers[1]


def estimate(options, folder):
    settings = [f"--set={name}={value}" for name, value in PATHS.items()]
    arguments = [str(part) for pair in options.items() for part in pair]
    command = ["estimate", "-m", "path_bar", "-o", str(folder), "--json", *settings, *arguments]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    return found["value"], found["std_err"]
