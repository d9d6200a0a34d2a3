"""Ramps from and to the Einstein crystal, against normal modes."""

import numpy as np
import pytest
from models import CRYSTAL

from openmm_nti import StatePoint
from openmm_nti.runtime.context import Execution
from openmm_nti.runtime.tasks import TaskError
from openmm_nti.testing.spring_crystal import exact_minus_log_z_rel, spring_crystal
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.crystals import frenkel_ladd_ramps
from openmm_nti.validation.estimators.crystals.frenkel_ladd_ramps import RampsConfig
from openmm_nti.validation.estimators.crystals.lattice_modes import einstein_variance
from openmm_nti.validation.estimators.registry import estimator

SPRINGS = spring_crystal()
EXACT = exact_minus_log_z_rel(SPRINGS)
QUICK = RampsConfig(
    n_ramps=12, ramp_steps=200, equilibration=60, friction_star=30.0, platform="Reference"
)


@pytest.mark.parametrize("softer", [1.0, 1.5])
def test_ramps_are_exact_for_springs(tmp_path, softer):
    variance = softer * einstein_variance(SPRINGS)
    config = QUICK.model_copy(update={"variance": variance})
    known = estimator("frenkel_ladd_ramps")
    job = Job(SPRINGS, None, None, Execution(seed=1, directory=tmp_path))
    found = known.estimate(job, config)
    assert found.verdict.level == "good"
    assert found.std_err < 0.3
    assert abs(found.diagnostics.minus_log_z_rel - EXACT) < 4 * found.std_err
    assert (tmp_path / frenkel_ladd_ramps.FILE).is_file()
    assert [figure.name for figure in known.figures(found, tmp_path)] == ["works"]


def test_faster_ramps_lose_more_work():
    lost = []
    for steps in (40, 200):
        works = frenkel_ladd_ramps.sample(
            SPRINGS, QUICK.model_copy(update={"ramp_steps": steps, "n_ramps": 8}), seed=2
        )
        lost.append(works.reverse.mean() - works.forward.mean())
    assert lost[0] > 2 * lost[1] > 0


def test_the_ramp_is_slow_at_both_ends():
    lambdas = RampsConfig(ramp_steps=1000).lambdas
    assert (lambdas[0], lambdas[-1]) == (0.0, 1.0)
    steps = np.diff(lambdas)
    assert (steps >= -1e-12).all()
    assert steps[[0, -1]].max() < 1e-6


def test_what_cannot_be_ramped_is_refused():
    jumping = StatePoint(**{**CRYSTAL.model_dump(), "convention": "truncated"})
    with pytest.raises(ValueError, match="convention = truncated: ramps need"):
        frenkel_ladd_ramps.sample(jumping, QUICK, seed=1)
    hot = {"crystal": {"lattice": "sc", "cells": (3, 3, 3)}, "density_star": 0.8}
    cutoff = {"temperature_star": 4.0, "cutoff_sigma": 1.5, "switch_sigma": 1.25}
    config = QUICK.model_copy(update={"variance": 0.01, "equilibration": 200})
    with pytest.raises(TaskError, match="has melted or has another lattice|has left its site"):
        frenkel_ladd_ramps.sample(StatePoint(**hot, **cutoff), config, seed=1)
