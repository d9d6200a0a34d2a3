"""Benchmarks are run by hand and rarely: that they import, and that their own model still works."""

import importlib
import sys

import pytest
import torch
from source import ROOT

from openmm_nti import load_model
from openmm_nti.hamiltonian.geometry import cubic_box

FOLDER = ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def _beside_them(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if (FOLDER / f"{name}.py").is_file():
            del sys.modules[name]


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_a_benchmark_imports(name):
    assert importlib.import_module(name).__doc__


def test_all_pairs_as_neighbours_give_the_energy_of_the_model():
    calls = importlib.import_module("speed_calls")
    model = load_model(calls.MODEL)
    x = torch.as_tensor(calls.disordered_nm(calls.DENSE, 1) / calls.DENSE.sigma_nm)[None]
    lam, box = torch.tensor([0.6], dtype=torch.float64), cubic_box(6.0)
    expected = model(x, box, lam)
    torch.testing.assert_close(calls.AllPairs(model)(x, box, lam), expected, rtol=1e-5, atol=1e-3)
