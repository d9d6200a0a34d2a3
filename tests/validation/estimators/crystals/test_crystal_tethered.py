"""Tethered chains of a crystal: a gap that is known is measured, and the bound stays one."""

from dataclasses import replace

import numpy as np
import pytest
from models import CRYSTAL

from openmm_nti import StatePoint
from openmm_nti.runtime.context import Execution
from openmm_nti.testing.spring_crystal import (
    SpringModel,
    exact_minus_log_z_rel,
    spring_crystal,
    spring_frames,
    spring_matrix,
)
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.crystals import crystal_tethered
from openmm_nti.validation.estimators.registry import estimator

SPRINGS = spring_crystal()
EXACT = exact_minus_log_z_rel(SPRINGS)
SHARE = 0.7
KNOWN = estimator("crystal_tethered")
QUICK = KNOWN.Config(n_levels=8, n_pairs=16, n_tethered=8, tethered_steps=240)


def frames(n=64):
    return spring_frames(SPRINGS, n, np.random.default_rng(4))


def gap_below(width):
    """1/2 int (1 - share)^2 |f|^2 dv up to noise of so many root mean square displacements."""
    variances = 1 / np.linalg.eigvalsh(np.kron(spring_matrix(SPRINGS), np.eye(3)))[3:]
    v, within = width**2 * variances.mean(), min(width**2, 2) * variances.mean()
    beyond = 0.25 * (1 - ((variances + within) / (variances + v)) ** 2)
    return (1 - SHARE) ** 2 * (0.5 * np.log1p(within / variances) + beyond).sum()


@pytest.mark.parametrize(("share", "n_frames"), [(1.0, 8), (SHARE, 16)])
def test_a_known_gap_is_found(share, n_frames):
    gap = crystal_tethered.measure(SpringModel(SPRINGS, share), frames(), n_frames, 240, seed=1)
    low, high = map(gap_below, crystal_tethered.NOISE)
    exact = high - low if share < 1 else 0.0
    for values in (gap.lower, gap.middle):
        value, std_err = gap.integral(values)
        assert 0 < std_err < 0.5
        assert abs(value - exact) < 4 * std_err


def test_the_bound_is_raised_and_stays_a_bound(tmp_path):
    job = Job(SPRINGS, frames(), SpringModel(SPRINGS, SHARE), Execution(seed=2, directory=tmp_path))
    found = KNOWN.estimate(job, QUICK)
    facts = found.diagnostics
    shift = found.value - facts.minus_log_z_rel
    left = gap_below(6.0) - np.diff([gap_below(edge) for edge in crystal_tethered.NOISE])[0]
    assert found.std_err < 0.9
    assert facts.minus_log_z_rel < EXACT + 3 * found.std_err
    assert facts.minus_log_z_rel > EXACT - left - 4 * found.std_err
    assert facts.field_bound - shift < EXACT - 1.5
    assert found.value > facts.field_bound + 1.0
    assert KNOWN.bounds(found).lower == (found.value, found.std_err)
    assert [figure.name for figure in KNOWN.figures(found, tmp_path)]
    chains = sorted((tmp_path / "crystal_tethered").glob("*.npz"))
    chains[0].unlink()
    assert KNOWN.estimate(job, QUICK) == found


def test_what_chains_cannot_do_is_refused():
    jumping = StatePoint(**{**CRYSTAL.model_dump(), "convention": "truncated"})
    data = replace(spring_frames(SPRINGS, 32, np.random.default_rng(1)), state=SPRINGS)
    with pytest.raises(ValueError, match="8 different frames are too few"):
        crystal_tethered.measure(SpringModel(SPRINGS), frames(8), 16, 240, seed=1)
    object.__setattr__(data, "state", jumping)
    with pytest.raises(ValueError, match="convention = truncated: tethered chains need"):
        crystal_tethered.measure(SpringModel(SPRINGS), data, 16, 240, seed=1)
