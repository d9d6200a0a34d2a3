"""The paper at tiny sizes, for the tests of its outputs and of its pieces."""

import json

import numpy as np
import pytest

from openmm_nti import LambdaHamiltonian, StatePoint, save_model
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.paper.presets import PaperPreset
from openmm_nti.validation.paper.run import run
from openmm_nti.validation.paper.work import Work

TINY = PaperPreset(
    name="tiny",
    grid=(2, 3, 4, 6),
    figure_n=(4, 6),
    paths_largest_n=4,
    windows_n=(4,),
    softcore_n=(6,),
    softcore_subsets=(3, 5),
    chain_n=6,
    n_insertions=50,
    gcmc_beta_mu_paper=(-32.5, -31.2),
    beta_mu_paper=(-31.5, -26.0),
    reference={
        "n_frames": 40,
        "n_replicas": 2,
        "equilibration_steps": 100,
        "frame_interval": 20,
        "segment_frames": 20,
        "max_steps": 4000,
        "platform": "Reference",
    },
    bound={"n_levels": 4, "n_pairs": 8, "n_tethered": 0},
    neural_ti={"n_samples": 8, "n_steps": 10},
    paths={"n_paths": 8, "n_steps": 10},
    windows={
        "n_windows": 3,
        "n_chains": 4,
        "n_frames": 4,
        "steps_between": 2,
        "equilibration_steps": 2,
        "pilot_frames": 4,
        "platform": "Reference",
        "force": "python",
    },
    softcore={
        "n_windows": 7,
        "n_chains": 2,
        "n_frames": 10,
        "steps_between": 10,
        "equilibration": 40,
        "platform": "Reference",
    },
    chain={
        "n_walkers": 16,
        "n_frames": 4,
        "n_insertions": 100,
        "equilibration_sweeps": 20,
        "sweeps_between": 4,
    },
    gcmc={"n_walkers": 32, "equilibration_steps": 100, "n_frames": 60, "steps_between": 10},
    toy={"n_steps": 150, "n_samples": 200, "n_lambdas": 12, "n_moves": 60},
)


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    state = StatePoint(n_particles=4, box_length_sigma=6.0, temperature_star=1.25)
    model = save_model(
        LambdaHamiltonian(state.pair_potential), folder / "model", trained_on=[state]
    )
    return Work(TINY, str(model), Execution(1, directory=folder / "run"))


@pytest.fixture(scope="session")
def finished(work):
    said = []
    with np.errstate(all="ignore"):
        run(work, say=said.append)
    assert "about" in said[0]
    assert "worker" in said[0]
    return work


@pytest.fixture(scope="session")
def facts(finished):
    return json.loads((finished.directory / "table.json").read_text())
