"""What is foreseen of a training: its budget of minutes is that of the clock, whatever a network costs."""

import pytest

from openmm_nti import StatePoint
from openmm_nti.cli.forecast import training_seconds
from openmm_nti.training import TrainingConfig

STATES = (StatePoint(n_particles=40, box_length_sigma=6.0, temperature_star=1.25),)


def test_a_training_takes_its_steps_or_its_minutes():
    steps = TrainingConfig(n_steps=1000)
    slow, fast = (training_seconds(steps, STATES, slowness) for slowness in (2.0, 0.2))
    assert fast < slow < 10 * fast  # a constant part comes on top
    hurried = TrainingConfig(n_steps=10**6, max_minutes=10)
    for slowness in (2.0, 0.2):
        assert training_seconds(hurried, STATES, slowness) == pytest.approx(600)
