"""The same results wherever tasks run; a worker that dies loses nothing; wrong settings are refused
at once.
"""

import os
import sys
from functools import partial

import numpy as np
import pytest
import torch
from models import make_random_model

from openmm_nti import StatePoint
from openmm_nti.runtime.executors import executor
from openmm_nti.runtime.tasks import TaskError, derive_seed, run_tasks
from openmm_nti.validation.estimators import neural_ti

STATE = StatePoint(n_particles=6, box_length_sigma=6.0, temperature_star=1.25)


def draw(number):
    generator = torch.Generator().manual_seed(derive_seed(1, number))
    return float(torch.randn(1000, generator=generator).sum())


def die_once(folder, number):
    """The first to come takes its process down with it."""
    try:
        (folder / "died").touch(exist_ok=False)
    except FileExistsError:
        return number**2
    return os._exit(1)


def always_fails(number):
    message = f"{number} is bad"
    raise ValueError(message)


@pytest.fixture(scope="module")
def scheduler():
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    )
    with cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
def test_numbers_are_the_same_everywhere(scheduler):
    found = {}
    for name, address in (("local", None), ("processes", None), ("dask", scheduler)):
        with executor(name, address):
            found[name] = run_tasks(draw, range(5), workers=2, description="draws", progress=False)
    assert found["local"] == found["processes"] == found["dask"]


def test_a_free_energy_is_the_same_everywhere(scheduler, tmp_path):
    model = make_random_model(STATE, "float32")
    config = neural_ti.NeuralTIConfig(n_samples=4, n_steps=10, corrector_steps=1)
    found = {}
    for name, address in (("local", None), ("dask", scheduler)):
        with executor(name, address):
            found[name] = neural_ti.estimate(
                model, STATE, config, seed=1, directory=tmp_path / name, workers=2, progress=False
            )
    np.testing.assert_equal(found["local"].to_dict(), found["dask"].to_dict())


def test_a_worker_that_dies_loses_nothing(scheduler, tmp_path):
    with executor("dask", scheduler):
        found = run_tasks(
            partial(die_once, tmp_path), range(6), workers=1, description="squares", progress=False
        )
    assert (tmp_path / "died").exists()
    assert found == [0, 1, 4, 9, 16, 25]


def test_a_task_that_keeps_failing_is_named(scheduler):
    with (
        executor("dask", scheduler),
        pytest.raises(TaskError, match="bad luck: task 7 failed: 7 is bad"),
    ):
        run_tasks(always_fails, [7], workers=1, description="bad luck", progress=False)


def test_unusable_settings_are_refused_at_once(monkeypatch):
    with (
        pytest.raises(ValueError, match="executor = 'cloud' must be one of local, processes, dask"),
        executor("cloud"),
    ):
        pass
    with pytest.raises(ValueError, match="needs a scheduler's address"), executor("dask"):
        pass
    with (
        pytest.raises(ValueError, match="needs a scheduler's address"),
        executor("local", "tcp://127.0.0.1:1"),
    ):
        pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match="pip install"), executor("dask", "tcp://127.0.0.1:1"):
        pass


def test_a_scheduler_that_does_not_answer_is_reported(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("openmm_nti.runtime.executors._CONNECT_SECONDS", 1.0)
    with (
        pytest.raises(ValueError, match="no dask scheduler answers there"),
        executor("dask", "tcp://127.0.0.1:1"),
    ):
        pass
