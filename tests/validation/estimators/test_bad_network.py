"""A network of random weights, three crowded particles: exact estimators stay right, the others are
wrong and say less.

`test_path_weights` and `test_learned_path` hold the same for two particles, one estimator at a
time.
"""

import math

import numpy as np
import pytest
from exact import exact_ensemble
from models import make_random_model

from openmm_nti import StatePoint
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.validation.analysis.window_estimates import estimate_mbar
from openmm_nti.validation.estimators import denoising_bound, neural_ti, path_weights
from openmm_nti.validation.sampling import windows

TRIO = StatePoint(
    n_particles=3, box_length_sigma=2.6, temperature_star=1.25, cutoff_sigma=1.3, switch_sigma=1.2
)
WINDOWS = windows.WindowsConfig(
    n_windows=7, n_chains=16, n_frames=6, equilibration_steps=200, steps_between=10
)  # far from equilibrium at the start


@pytest.fixture(scope="module")
def data():
    return exact_ensemble(TRIO, 2000)


@pytest.fixture(scope="module")
def bad():
    return make_random_model(TRIO, "float32")


@pytest.fixture(scope="module")
def exact():
    """-ln of the mean Boltzmann factor of uniform positions; its error is a few 1e-3 kT."""
    positions = np.random.default_rng(0).uniform(0, TRIO.box_length_sigma, size=(400_000, 3, 3))
    return -math.log(np.exp(-reduced_potential_numpy(positions, TRIO)).mean())


def test_paths_and_their_bracket(bad, data, exact, tmp_path):
    config = path_weights.PathConfig(n_paths=800, n_steps=40)
    works = path_weights.sample(bad, data, config, seed=1, directory=tmp_path, progress=False)
    bar, bracket = path_weights.estimate_bar(works, seed=1), path_weights.estimate_bracket(works)
    assert abs(bar.value - exact) < 3 * bar.std_err
    assert bar.std_err < 0.2
    found = bracket.diagnostics
    assert found["lower"] + 3 * found["lower_err"] < exact < found["upper"] - 3 * found["upper_err"]
    assert abs(bracket.value - exact) < 3 * bracket.std_err


@pytest.mark.slow
def test_windows(bad, data, exact, tmp_path):
    samples = windows.sample(bad, data, WINDOWS, seed=3, directory=tmp_path, progress=False)
    mbar = estimate_mbar(samples, TRIO, method="mbar_neural", seed=1)
    assert abs(mbar.value - exact) < 3 * mbar.std_err
    assert mbar.std_err < 0.2


def test_published_integral_is_wrong_by_many_errors(bad, exact, tmp_path):
    config = neural_ti.NeuralTIConfig(n_samples=500, n_steps=40, corrector_steps=0)
    result = neural_ti.estimate(bad, TRIO, config, seed=2, directory=tmp_path, progress=False)
    assert abs(result.value - exact) > 6 * result.std_err


def test_bound_lies_far_below(bad, data, exact):
    result = denoising_bound.estimate(
        bad, data, denoising_bound.BoundConfig(n_levels=16, n_pairs=500, n_tethered=0), seed=1
    )
    assert result.value < exact - 10 * result.std_err
