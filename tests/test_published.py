"""The corrections with which benchmarks/published compares a box with published bulk fluids."""

import importlib.util
import math

import numpy as np
import pytest
import yaml
from source import ROOT

from openmm_nti import Ensemble, StatePoint
from openmm_nti.files import read_json

FOLDER = ROOT / "benchmarks" / "published"


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("compare", FOLDER / "compare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("n", [2, 10, 100])
def test_hard_rods_on_a_ring(n, compare):
    """Z = L (L - N)^(N - 1) / N!, and of the bulk a_ex = -ln(1 - rho), chi = (1 - rho)^2."""
    free = 1 - 0.6
    box = -(n - 1) * math.log(free) / n
    assert box + compare.size_correction(free**2, n) == pytest.approx(-math.log(free), rel=1e-12)


def test_cutoff_of_an_ideal_gas(compare):
    """Random positions: the mean and the variance of what was taken off are integrals."""
    text = (FOLDER / "mie.yaml").read_text(encoding="utf-8")
    state = StatePoint(**yaml.safe_load(text)["system"])
    shape = (100, state.n_particles, 3)
    positions = np.random.default_rng(1).uniform(0, state.box_length_nm, shape)
    value, error = compare.cutoff_correction(Ensemble(state, positions, np.zeros(100), {}))
    r = np.geomspace(state.switch_sigma, 100, 20001)
    energy = compare.removed(r**2, state)
    inside = np.where(r < state.box_length_sigma / 2, energy, 0.0)
    shell = 2 * np.pi * state.density_star * r**2
    expected = np.trapezoid(shell * (energy - 0.5 * inside**2), r)
    assert 0 < error < 0.002
    assert abs(value - expected) < 4 * error + 0.01 * abs(expected)


def test_every_row_is_complete(compare):
    """Published value, its tolerance and chi."""
    for row in read_json(compare.ROWS).values():
        assert set(row) == {"a_ex", "tolerance", "chi"}
        assert 0 < row["tolerance"] < 0.01
        assert 0 < row["chi"] < 2
