"""The forecast: a training's minutes are those of the clock, and only what runs is counted."""

import pytest
import torch

from openmm_nti import StatePoint
from openmm_nti.cli import forecast
from openmm_nti.cli.forecast import Forecast, _gpu, forecast_estimate
from openmm_nti.model_files import load_denoiser, load_model
from openmm_nti.reference_md import ReferenceConfig
from openmm_nti.training import TrainingConfig
from openmm_nti.validation.estimators.registry import all_estimators, estimator, section_config
from openmm_nti.validation.pace import (
    Pace,
    measure,
    reference_seconds,
    training_seconds,
)

STATE = StatePoint(n_particles=40, box_length_sigma=6.0, temperature_star=1.25)
PACE = Pace(gradient_seconds=(1e-4, 5e-5), md_seconds=(5e-5, 1e-6))
SLOW = Pace(gradient_seconds=(1e-3, 5e-4), md_seconds=(5e-4, 1e-5))


def test_a_training_takes_its_steps_or_its_minutes():
    steps = TrainingConfig(n_steps=1000)
    slow, fast = (training_seconds(steps, [40], pace) for pace in (SLOW, PACE))
    assert fast < slow < 10 * fast  # a constant part comes on top
    hurried = TrainingConfig(n_steps=10**6, max_minutes=10)
    for pace in (SLOW, PACE):
        assert training_seconds(hurried, [40], pace) == pytest.approx(600)


def test_reference_data_take_longer_for_more_frames_and_more_particles():
    few, many = ReferenceConfig(n_frames=100), ReferenceConfig(n_frames=2000)
    assert reference_seconds(few, 40, PACE) < reference_seconds(many, 40, PACE)
    assert reference_seconds(few, 40, PACE) < reference_seconds(few, 400, PACE)


def test_the_pace_is_positive_and_grows_with_n():
    pace = measure(STATE, load_model("lj-fluid-t1.25"))
    assert 0 < pace.gradient(40) <= pace.gradient(400) < 10
    assert 0 < pace.md_step(40) <= pace.md_step(400) < 1


def test_every_estimator_says_how_long_it_takes():
    for name, known in all_estimators().items():
        config = section_config(known.section)()
        seconds = [known.seconds(config, n, PACE) for n in (20, 80)]
        assert seconds == sorted(seconds), name
        assert (seconds[0] > 0) == (name not in ("eos", "harmonic")), name


def test_there_are_no_tethered_chains_for_a_truncated_fluid():
    truncated = StatePoint(**{**STATE.model_dump(), "convention": "truncated"})
    tethered = estimator("neural_ti_tethered")
    assert tethered.applies(section_config("bound")(), STATE)
    assert not tethered.applies(section_config("bound")(), truncated)


def test_data_that_must_be_made_first_are_in_the_forecast():
    widom, config = estimator("widom"), section_config("widom")()
    with_data, without = (
        forecast_estimate(widom, config, STATE, None, n_processes=2, simulate=simulate)
        for simulate in (True, False)
    )
    assert with_data.seconds > without.seconds
    assert with_data.megabytes > without.megabytes
    assert str(with_data).startswith("forecast: about ")
    assert "reference data" in str(with_data)


def test_a_forecast_says_that_a_gpu_was_not_measured(monkeypatch):
    assert _gpu("CPU", "cpu") == ""
    monkeypatch.setattr(forecast, "torch_device", torch.device)
    gpu = _gpu("CPU", "cuda")
    assert str(Forecast({"widom": 100}, 1, 1.0, gpu)).endswith("torch's GPU was not measured")
    assert str(Forecast({"widom": 100}, 1, 1.0)).endswith("(widom 2 min)")


def test_a_network_that_sees_further_than_the_cutoff_has_a_pace():
    """Soft atoms are long, and half of a box of two cutoffs is less than the network sees."""
    soft = StatePoint(
        n_particles=260,
        density_star=0.359174,
        temperature_star=0.02,
        cutoff_sigma=3.4,
        switch_sigma=3.0,
        potential={"type": "uhlenbeck_ford"},
    )
    model = load_denoiser("lj-fluid-t1.25")
    assert model.bind(soft).reach > soft.cutoff_sigma
    assert measure(soft, model).gradient(260) > 0
