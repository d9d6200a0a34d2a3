"""MBAR along the path of a crystal, against normal modes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from models import CRYSTAL

from openmm_nti.fluid.displacements import sites_sigma
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.crystals.path import CrystalHamiltonian
from openmm_nti.runtime.context import Execution
from openmm_nti.testing.spring_crystal import (
    SpringModel,
    exact_minus_log_z_rel,
    spring_crystal,
    spring_frames,
)
from openmm_nti.validation.analysis.window_estimates import estimate_mbar
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.crystals import mbar_crystal
from openmm_nti.validation.estimators.crystals.mbar_crystal import CrystalWindowsConfig
from openmm_nti.validation.estimators.registry import estimator

SPRINGS = spring_crystal()
EXACT = exact_minus_log_z_rel(SPRINGS)
QUICK = CrystalWindowsConfig(
    n_windows=7,
    n_chains=4,
    n_frames=40,
    steps_between=6,
    equilibration_steps=30,
    friction_star=20.0,
    timestep_star=0.004,
    force="python",
    platform="Reference",
)


def test_it_is_exact_for_springs_with_a_wrong_model():
    data = spring_frames(SPRINGS, 64, np.random.default_rng(2))
    path = mbar_crystal.crystal_path(SpringModel(SPRINGS, share=0.7), data)
    assert isinstance(path, CrystalHamiltonian)
    samples = mbar_crystal.sample(path, data, QUICK, seed=3)
    found = estimate_mbar(samples, SPRINGS, method="mbar_crystal", seed=3)
    assert found.verdict.level == "good"
    assert found.std_err < 0.05
    assert abs(path.minus_log_z_rel + found.value - EXACT) < 4 * found.std_err


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_goes_on_from_its_files(tmp_path: Path):
    rng = np.random.default_rng(1)
    moved = 0.03 * rng.standard_normal((32, 32, 3))
    frames = spring_frames(SPRINGS, 32, rng)
    positions = sites_sigma(CRYSTAL) + moved - moved.mean(axis=1, keepdims=True)
    data = replace(frames, state=CRYSTAL, positions_nm=positions * CRYSTAL.sigma_nm)
    model = LambdaHamiltonian(CRYSTAL.pair_potential).eval().requires_grad_(False)
    known = estimator("mbar_crystal")
    few = QUICK.model_copy(update={"n_frames": 4, "n_windows": 3, "n_chains": 2})
    job = Job(CRYSTAL, data, model, Execution(seed=1, directory=tmp_path))
    found = known.estimate(job, few)
    window = next((tmp_path / "crystal_windows").glob("*_001.npz"))
    window.unlink()
    assert known.estimate(job, few) == found
    assert window.is_file()
    assert (tmp_path / "mbar_crystal_windows.npz").is_file()


def test_energies_that_jump_are_refused():
    data = spring_frames(SPRINGS, 32, np.random.default_rng(1))
    jumping = SPRINGS.model_copy(update={"convention": "truncated"})
    with pytest.raises(ValueError, match="convention = truncated: MD along the path needs"):
        mbar_crystal.crystal_path(SpringModel(SPRINGS, share=0.7), replace(data, state=jumping))
