"""Every estimator along the learned path within three errors of exact values, for N = 2 and 3, and
a bad network.
"""

import math
from functools import partial

import numpy as np
import pytest
import torch
from exact import exact_ensemble, pair_free_energy
from models import make_random_model

from openmm_nti import Ensemble, LambdaHamiltonian, StatePoint
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.analysis.regression import regressed_mean
from openmm_nti.validation.analysis.window_estimates import estimate_mbar
from openmm_nti.validation.estimators import denoising_bound, neural_ti
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.model_bound import model_bound
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.sampling import noised_frames, windows
from openmm_nti.validation.sampling.reverse_diffusion import Corrector, evaluate

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)
WINDOWS = windows.WindowsConfig(
    n_windows=10, n_chains=64, n_frames=4, equilibration_steps=40, steps_between=20
)
QUICK = {"n_windows": 6, "equilibration_steps": 20, "steps_between": 10}
# Two particles rarely meet, so their means have heavy tails and want many samples.
MANY_PAIRS = denoising_bound.BoundConfig(n_levels=24, n_pairs=2500, n_tethered=0)


@pytest.fixture(scope="module")
def pairs():
    return exact_ensemble(PAIR, 20_000)


@pytest.fixture(scope="module")
def two_body():
    return LambdaHamiltonian(PAIR.pair_potential)


def within(result, exact, errors=3.0):
    assert 0 < result.std_err < 0.1
    assert abs(result.value - exact) < errors * result.std_err, str(result)


@pytest.mark.slow  # test_conformance.py has a quick one
def test_the_bound_is_tight_for_two_particles(pairs, two_body):
    """The two-body path is the exact score of two particles but for the shell and the gate: the
    bound is attained.
    """
    result = denoising_bound.estimate(two_body, pairs, MANY_PAIRS, seed=1)
    within(result, pair_free_energy(PAIR))


def test_the_error_of_the_bound_is_that_of_repeats():
    """Frames are used at many levels: their share of the error does not average out between
    levels.
    """
    state = StatePoint(
        n_particles=3,
        box_length_sigma=3.0,
        temperature_star=1.25,
        cutoff_sigma=1.5,
        switch_sigma=1.3,
    )
    model = LambdaHamiltonian(state.pair_potential)
    everything = exact_ensemble(state, 40 * 60)
    found = []
    for number in range(40):
        part = slice(60 * number, 60 * (number + 1))
        few = Ensemble(
            state, everything.positions_nm[part], everything.reduced_potentials[part], {}
        )
        found.append(model_bound(model, few, 16, 200, seed=number))
    spread = np.std([one.value for one in found], ddof=1)
    assert 0.7 < spread / np.mean([one.std_err for one in found]) < 1.4


def test_with_the_exact_score_every_frame_tells_the_same(pairs, two_body):
    """Touching pairs alone, far from equilibrium, have the free energy of all: to 5 %, for the
    shell and the gate.
    """
    touching = pairs.reduced_potentials < -0.3
    some = Ensemble(PAIR, pairs.positions_nm[touching], pairs.reduced_potentials[touching], {})
    energy = abs(some.reduced_potentials.mean())
    assert energy > 15 * abs(pair_free_energy(PAIR))
    result = model_bound(two_body, some, 24, 2000, seed=1)
    assert result.std_err < 0.01 * energy
    assert abs(result.value - pair_free_energy(PAIR)) < 0.05 * energy


def test_a_bad_network_loosens_the_bound_and_never_breaks_it(pairs):
    model = make_random_model(PAIR)
    result = denoising_bound.estimate(
        model, pairs, denoising_bound.BoundConfig(n_levels=16, n_pairs=800, n_tethered=0), seed=1
    )
    assert result.value < pair_free_energy(PAIR) - 3 * result.std_err


def test_neural_ti_for_two_particles(two_body, tmp_path):
    config = neural_ti.NeuralTIConfig(n_samples=1000, n_steps=100, corrector_steps=0)
    result = neural_ti.estimate(two_body, PAIR, config, seed=2, directory=tmp_path, progress=False)
    within(result, pair_free_energy(PAIR), errors=4)
    with np.load(tmp_path / "neural_ti.npz") as file:
        assert file["positions_sigma"].shape == (1000, 2, 3)
        assert file["lambdas"].shape == file["dudl_mean"].shape == file["dudl_err"].shape == (101,)


def test_neural_ti_writes_its_own_profile_each_time(two_body, tmp_path):
    (one,) = neural_ti.ESTIMATORS
    configs = [
        neural_ti.NeuralTIConfig(n_samples=8, n_steps=n, corrector_steps=1) for n in (10, 12)
    ]
    job = Job(PAIR, None, two_body, Execution(seed=1, directory=tmp_path))
    rows = []
    for config in (*configs, configs[0]):
        found = one.estimate(job, config)
        assert isinstance(found.diagnostics, one.Diagnostics)
        (figure,) = one.figures(found, tmp_path)
        rows.append(figure.rows)
    assert [len(each) for each in rows] == [11, 13, 11]
    assert rows[0] == rows[2]
    assert one.evaluations(configs[0], found) == (8 * 11 + 16 * 51) * 2
    assert one.seconds(configs[0], 2, Pace((1.0, 0.0))) > one.evaluations(configs[0], found)


def test_an_integral_without_noise_or_with_coarse_steps_has_not_converged():
    facts = {"n_samples": 8, "n_steps": 10, "statistical_err": 0.1, "discretisation_err": 0.05}
    for change, level in (
        ({}, "good"),
        ({"discretisation_err": 0.2}, "warn"),
        ({"statistical_err": math.nan}, "warn"),
        ({"statistical_err": 0.0, "discretisation_err": 0.0}, "warn"),
    ):
        found = FreeEnergy(-1.0, 0.1, "neural_ti", "switched", 2, diagnostics=facts | change)
        assert neural_ti.integral_converged(found).level == level


@pytest.mark.parametrize("first_step", [0.15, pytest.param(0.5, marks=pytest.mark.slow)])
def test_the_corrector_leaves_equilibrium_alone(first_step, monkeypatch):
    """At lambda = 1, from exact samples of a crowded trio: the energy and its fluctuations stay, at
    any step.
    """
    monkeypatch.setattr("openmm_nti.validation.sampling.reverse_diffusion._FIRST_STEP", first_step)
    monkeypatch.setattr("openmm_nti.validation.sampling.reverse_diffusion._LONGEST_STEP", 1.0)
    state = StatePoint(
        n_particles=3,
        box_length_sigma=2.6,
        temperature_star=1.25,
        cutoff_sigma=1.3,
        switch_sigma=1.2,
    )
    ensemble, model = exact_ensemble(state, 3000), LambdaHamiltonian(state.pair_potential)
    before, box = torch.as_tensor(ensemble.positions_sigma), cubic_box(state.box_length_sigma)
    corrector = Corrector(tuple(before.shape), torch.Generator().manual_seed(1))
    evaluated = partial(evaluate, model, box=box, lam=torch.ones((), dtype=torch.float64))
    after = corrector.relax(evaluated, evaluated(before), 80).positions
    assert (after - before).square().mean().sqrt() > 0.1
    assert 0.3 < corrector.acceptance < 0.999
    change = (model.end.energy(after, box) - model.end.energy(before, box)).numpy()
    squares = (model.end.energy(after, box) ** 2 - model.end.energy(before, box) ** 2).numpy()
    # A few overlaps have any energy, and any spread: bounded energies see them.
    bounded = (
        model.end.energy(after, box).clamp(max=2) - model.end.energy(before, box).clamp(max=2)
    ).numpy()
    for values in (change, squares, bounded):
        assert abs(values.mean()) < 3.5 * values.std() / math.sqrt(values.size)


@pytest.mark.slow
def test_three_particles(tmp_path):
    """Against -ln of the mean Boltzmann factor of uniform positions, to a few 1e-3."""
    state = StatePoint(n_particles=3, box_length_sigma=6.0, temperature_star=1.25)
    rng = np.random.default_rng(0)
    boltzmann = np.exp(-reduced_potential_numpy(rng.uniform(0, 6, size=(400_000, 3, 3)), state))
    exact, exact_error = (
        -math.log(boltzmann.mean()),
        boltzmann.std() / boltzmann.mean() / math.sqrt(boltzmann.size),
    )
    ensemble = exact_ensemble(state, 20_000)
    model = LambdaHamiltonian(state.pair_potential)
    config = WINDOWS.model_copy(update=QUICK)
    data = windows.sample(model, ensemble, config, seed=3, directory=tmp_path, progress=False)
    mbar = estimate_mbar(data, state, method="mbar_neural", seed=1)
    assert abs(mbar.value - exact) < 3 * math.hypot(mbar.std_err, exact_error)
    bound = denoising_bound.estimate(model, ensemble, MANY_PAIRS, seed=1)
    assert bound.value < exact + 3 * math.hypot(bound.std_err, exact_error)
    assert bound.value == pytest.approx(exact, abs=3 * math.hypot(bound.std_err, exact_error))


def test_a_model_of_another_temperature_takes_the_tables_of_the_state(pairs):
    own = LambdaHamiltonian(PAIR.pair_potential)
    other = LambdaHamiltonian(PAIR.pair_potential.model_copy(update={"temperature_star": 2.0}))
    settings = denoising_bound.BoundConfig(n_levels=6, n_pairs=20, n_tethered=0)
    found, expected = (
        denoising_bound.estimate(model, pairs, settings, seed=1).value for model in (other, own)
    )
    assert found == expected


def test_regression_takes_out_what_is_known():
    rng = np.random.default_rng(1)
    control = rng.normal(size=(400, 1))
    values = 2.0 + 5.0 * control[:, 0] + 0.1 * rng.normal(size=400)
    mean, error, slope = regressed_mean(values, control)
    assert mean == pytest.approx(2.0, abs=4 * error)
    assert error == pytest.approx(0.1 / 20, rel=0.2)
    assert slope[0] == pytest.approx(5.0, abs=0.05)


def test_noised_frames_come_from_different_reference_frames(pairs):
    frames = noised_frames.noised_frames(pairs, 1.0, 500, torch.Generator().manual_seed(0))
    assert len(torch.unique(frames[:, 0, 0])) == 500
