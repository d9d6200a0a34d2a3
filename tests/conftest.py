"""Settings for all tests: one thread, so that many run side by side and numbers repeat."""

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENMM_CPU_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from models import make_random_model  # noqa: E402

import openmm_nti  # noqa: E402, F401  (torch before openmm, whatever a test imports first)
from openmm_nti import StatePoint  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_state():
    return StatePoint(n_particles=12, box_length_sigma=6.0, temperature_star=1.25)


@pytest.fixture(scope="session")
def random_model(small_state):
    return make_random_model(small_state)


@pytest.fixture
def fluid_positions(small_state):
    """Eight frames (8, N, 3) in sigma: a jittered lattice patch with true neighbours, partly
    outside the box.
    """
    rng = np.random.default_rng(5)
    sites = (
        np.stack(np.meshgrid([0, 1, 2], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(-1, 3)
        * 1.12
    )
    return (
        sites
        + rng.normal(scale=0.06, size=(8, small_state.n_particles, 3))
        + np.array([5.0, -0.7, 11.4])
    )
