"""Regression on control variates: what each value does to the mean adds up to the error."""

import numpy as np
import pytest

from openmm_nti.validation.analysis.regression import regression


def test_the_pulls_of_a_plain_mean_are_its_error():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    mean, error, slopes, pulls = regression(values, np.zeros((4, 1)))
    assert mean == pytest.approx(4.0)
    assert slopes == pytest.approx(0.0)
    assert error == pytest.approx(np.sqrt(38 / 2 / 4))  # a slope, too, was fitted
    assert np.linalg.norm(pulls) == pytest.approx(error)
    assert pulls.sum() == pytest.approx(0.0)
    assert (np.sign(pulls) == np.sign(values - mean)).all()


def test_a_control_that_explains_everything_leaves_no_error():
    controls = np.array([[-1.0], [0.0], [2.0], [5.0]])
    mean, error, slopes, pulls = regression(3.0 + 2.0 * controls[:, 0], controls)
    assert (mean, slopes[0]) == pytest.approx((3.0, 2.0))
    assert [error, *pulls] == pytest.approx(np.zeros(5), abs=1e-12)
