"""The estimators that come with the package keep the rules of the conformance kit."""

import pytest

from openmm_nti.testing import check_estimator
from openmm_nti.validation.estimators.registry import all_estimators, estimator

SOFT = {
    "n_windows": 4,
    "n_chains": 8,
    "n_frames": 10,
    "steps_between": 10,
    "equilibration": 40,
    "platform": "Reference",
}
WINDOWS = {
    "engine": "torch",
    "n_windows": 4,
    "n_chains": 16,
    "n_frames": 6,
    "steps_between": 8,
    "equilibration_steps": 64,
    "pilot_frames": 16,
}
PATHS = {"n_paths": 200, "n_steps": 10}
STAGES = {**PATHS, "n_stages": 2, "n_chains": 100, "equilibration_steps": 40}
BOUND = {"n_levels": 12, "n_pairs": 400, "n_tethered": 0}
CHAIN = {
    "n_walkers": 16,
    "n_frames": 6,
    "n_insertions": 300,
    "equilibration_sweeps": 20,
    "sweeps_between": 4,
}
SETTINGS = {
    "widom": {"n_insertions_per_frame": 400},
    "path_bar": PATHS,
    "path_bracket": PATHS,
    "path_stages": STAGES,
    "neural_ti_bound": BOUND,
    "neural_ti_tethered": {**BOUND, "n_tethered": 8, "tethered_steps": 240},
    "neural_ti": {"n_samples": 64, "n_steps": 20, "corrector_steps": 2},
    "neural_ti_noised": {"n_levels": 16, "n_frames": 128},
    "mbar_neural": WINDOWS,
    "bar_neural": WINDOWS,
    "ti_neural_md": WINDOWS,
    "mbar_softcore": SOFT,
    "mu_decoupling": SOFT,
    "ufm_switching": SOFT | {"n_windows": 5, "n_ramps": 8, "ramp_steps": 20},
    "bar_chain": CHAIN,
}
QUICK = {"widom", "path_bar", "neural_ti_bound", "neural_ti_noised", "bar_chain"}


def test_every_estimator_of_fluids_that_simulates_or_samples_is_checked():
    of_fluids = {name for name, known in all_estimators().items() if known.phase == "fluid"}
    assert of_fluids - set(SETTINGS) <= {"eos", "mean_energy"}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in SETTINGS],
)
def test_it_keeps_the_rules(name):
    known = estimator(name)
    check_estimator(known, known.Config(**SETTINGS[name]))
