"""Paths in stages are exact for any energies and any scores, and own up where a stage fails."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from exact import exact_ensemble, pair_free_energy
from models import make_random_model

from openmm_nti import LambdaHamiltonian, StatePoint
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.staged import path_stages
from openmm_nti.validation.sampling.paths import stages
from openmm_nti.validation.sampling.paths.schedule import schedule
from openmm_nti.validation.sampling.paths.stages import Staged, StagesConfig, StageWorks

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)
CONFIG = StagesConfig(
    n_paths=600, n_steps=30, n_stages=3, n_chains=200, equilibration_steps=60, steps_between=10
)
TWO_BODY = LambdaHamiltonian(PAIR.pair_potential)


@pytest.fixture(scope="module")
def pairs():
    return exact_ensemble(PAIR, 2000)


@pytest.mark.parametrize("network", ["none", "density", "denoiser"])
def test_two_particles_exactly_for_any_network(network, pairs):
    model, score = TWO_BODY, TWO_BODY
    if network != "none":
        score = make_random_model(PAIR, "float32", kind=network)
        model = score if network == "density" else TWO_BODY
    job = Job(PAIR, pairs, model, Execution(seed=4), denoiser=score)
    found = path_stages.PathStages().estimate(job, CONFIG)
    exact = pair_free_energy(PAIR)
    assert abs(found.value - exact) < 3 * found.std_err
    assert found.std_err < (0.02 if network == "none" else 0.1)
    assert found.verdict.level == "good"
    facts = found.diagnostics
    assert facts["lower"] < exact + 3 * facts["lower_err"]
    assert facts["upper"] > exact - 3 * facts["upper_err"]
    assert found.value == pytest.approx(sum(facts["beta_f"]))
    assert len(facts["overlap"]) == len(facts["noise_sigma"]) - 1 == 3


def test_a_stopped_calculation_goes_on_to_the_same_works(pairs, tmp_path):
    config = CONFIG.model_copy(update={"n_paths": 700, "n_chains": 20})
    run = Execution(seed=1, directory=tmp_path)
    first = stages.sample(TWO_BODY, TWO_BODY, pairs, config, run)
    for folder in ("stage_ends", "stage_works"):
        next(iter(sorted((tmp_path / folder).glob("*.npz")))).unlink()
    again = stages.sample(TWO_BODY, TWO_BODY, pairs, config, run)
    for one, other in zip(first.stages, again.stages, strict=True):
        np.testing.assert_array_equal(one.forward, other.forward)
        np.testing.assert_array_equal(one.reverse, other.reverse)


def gaussian_stages(dissipation, n=400, n_stages=3, per_chain=1):
    """Gaussian works obey Crooks when the variance is twice the dissipation; stages of -2 kT."""
    rng = np.random.default_rng(6)
    spread = math.sqrt(2 * dissipation)

    def works(mean):
        return np.repeat(rng.normal(mean, spread, n // per_chain), per_chain)

    chain = np.repeat(np.arange(n // per_chain), per_chain)
    parts = [
        StageWorks(works(-2 - dissipation), works(-2 + dissipation), chain, chain)
        for _ in range(n_stages)
    ]
    return Staged(parts, np.array([0.0, 0.1, 0.4, 3.0]), np.zeros(n_stages - 1))


def test_gaussian_works_give_the_sum_of_their_differences_and_both_bounds():
    found = path_stages.estimate(gaussian_stages(1.0), PAIR, seed=2)
    assert found.value == pytest.approx(-6.0, abs=3 * found.std_err)
    assert found.std_err < 0.15
    bounds = path_stages.PathStages().bounds(found)
    assert bounds.lower[0] == pytest.approx(-9.0, abs=0.3)
    assert bounds.upper[0] == pytest.approx(-3.0, abs=0.3)


def test_frames_of_one_chain_do_not_count_as_independent():
    alone = path_stages.estimate(gaussian_stages(1.0), PAIR, seed=2).std_err
    copied = path_stages.estimate(gaussian_stages(1.0, per_chain=4), PAIR, seed=2).std_err
    assert 1.5 * alone < copied < 2.7 * alone  # a quarter of the samples: twice the error


def test_a_stage_whose_directions_do_not_meet_has_its_bracket_for_an_error():
    good, bad = gaussian_stages(1.0), gaussian_stages(50.0)
    mixed = replace(good, stages=[good.stages[0], bad.stages[1], good.stages[2]])
    found = path_stages.estimate(mixed, PAIR, seed=2)
    assert found.verdict.level == "bad"
    assert found.verdict.text.startswith("unreliable: overlap 0.0")
    assert found.std_err > 40 > found.diagnostics["bootstrap_err"]
    assert path_stages.PathStages().overlap(found, {}).level == "bad"


@pytest.mark.parametrize("z", [4.0, -4.0, math.nan, math.inf])
def test_a_drift_between_stages_is_not_called_good(z):
    staged = replace(gaussian_stages(1.0), drift_z=np.array([0.0, z]))
    found = path_stages.estimate(staged, PAIR, seed=2)
    assert found.verdict.level == "bad"
    assert "drift" in found.verdict.text


def test_equal_works_are_not_called_good():
    same, chain = np.full(16, -3.0), np.arange(16)
    one = StageWorks(same, same, chain, chain)
    staged = Staged([one, one], np.array([0.0, 0.1, 3.0]), np.zeros(1))
    found = path_stages.estimate(staged, PAIR, seed=1)
    assert found.value == pytest.approx(-6.0)
    assert found.std_err == math.inf
    assert found.verdict.level == "bad"


class WrongEnergies(torch.nn.Module):
    """The gradient of another model, and some of its size more at noise beyond `sigma`."""

    def __init__(self, model, sigma):
        super().__init__()
        self.model, self.log_sigma = model, math.log(sigma)

    def gradient(self, positions, box, log_s):
        wrong = 10.0 * (log_s > self.log_sigma).double().reshape(-1, 1, 1)
        return self.model.gradient(positions, box, log_s) + wrong


def test_an_end_costs_what_the_energies_are_wrong_by(pairs):
    frames = pairs.positions_sigma[:16]

    def planned(energies):
        generator = torch.Generator().manual_seed(1)
        return schedule(TWO_BODY, PAIR, 400, 0.004, frames, generator, energies)

    guessed, measured = planned(None), planned(WrongEnergies(TWO_BODY, 0.3))
    for name in ("levels", "reverse_variances", "pair_weights", "losses"):
        np.testing.assert_array_equal(measured[name], guessed[name])
    variance = measured["levels"]
    wrong = (np.sqrt(variance) > 0.45) & (variance < variance[-1])
    # 2 atoms of 3 components, each wrong by 10 kT / sigma
    np.testing.assert_allclose(measured["ends"][wrong], 1200 * variance[wrong] ** 2, rtol=0.1)
    assert (measured["ends"][np.sqrt(variance) < 0.2] == 0).all()
    assert measured["ends"][-1] == 0
