"""What is said of a training: a gain, no gain, or that nobody knows."""

import math

import pytest

from openmm_nti.validation.report.learned import learned


def said(gain, error):
    facts = {"steps": 20, "core_seconds": 90.0}
    return list(learned({**facts, "held_out": {"N60": {"gain_kt": gain, "gain_err": error}}}))


def test_a_gain_is_said_with_its_error_and_the_cost():
    assert said(23.7, 2.3) == [
        "Learned at N60: the network raises the lower bound by 23.7 ± 2.3 kT.",
        "Training took 20 steps, 1.5 minutes of one process.",
    ]


@pytest.mark.parametrize(("gain", "error"), [(0.01, 0.02), (-3.0, 0.5), (4.0, 2.0)])
def test_what_may_be_noise_is_no_gain(gain, error):
    assert "adds nothing measurable" in said(gain, error)[0]


@pytest.mark.parametrize(("gain", "error"), [(math.nan, 1.0), (5.0, math.nan), (5.0, 0.0)])
def test_a_gain_without_an_error_is_unknown(gain, error):
    assert "is unknown" in said(gain, error)[0]


def test_a_model_from_elsewhere_has_nothing_to_say():
    assert list(learned({})) == []
