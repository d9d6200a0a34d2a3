"""What is foreseen: a training's minutes are those of the clock, and only what runs is counted."""

import pytest

from openmm_nti import StatePoint
from openmm_nti.cli.forecast import estimate_seconds, training_seconds
from openmm_nti.training import TrainingConfig
from openmm_nti.validation.estimators.denoising_bound import BoundConfig

STATES = (StatePoint(n_particles=40, box_length_sigma=6.0, temperature_star=1.25),)


def test_a_training_takes_its_steps_or_its_minutes():
    steps = TrainingConfig(n_steps=1000)
    slow, fast = (training_seconds(steps, STATES, slowness) for slowness in (2.0, 0.2))
    assert fast < slow < 10 * fast  # a constant part comes on top
    hurried = TrainingConfig(n_steps=10**6, max_minutes=10)
    for slowness in (2.0, 0.2):
        assert training_seconds(hurried, STATES, slowness) == pytest.approx(600)


def test_there_are_no_tethered_chains_for_a_truncated_fluid():
    truncated = StatePoint(
        n_particles=40, box_length_sigma=6.0, temperature_star=1.25, convention="truncated"
    )
    config, without = BoundConfig(), BoundConfig(n_tethered=0)
    costs = [
        estimate_seconds("neural_ti_bound", config, state, 1.0) for state in (STATES[0], truncated)
    ]
    alone = estimate_seconds("neural_ti_bound", without, STATES[0], 1.0)
    assert costs[0] > 1.5 * alone
    assert costs[1] == pytest.approx(alone)
