"""Every estimator along the learned path within three errors of exact values, for N = 2 and 3, and
a bad network.
"""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from exact import exact_ensemble, pair_free_energy
from models import make_random_model

from openmm_nti import Ensemble, LambdaHamiltonian, StatePoint
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.validation.analysis.regression import regressed_mean
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_estimates import estimate_mbar, estimate_ti
from openmm_nti.validation.estimators import denoising_bound, neural_ti
from openmm_nti.validation.estimators.model_bound import model_bound
from openmm_nti.validation.sampling import noised_frames, windows
from openmm_nti.validation.sampling.corrector import Corrector, evaluate
from openmm_nti.validation.sampling.monte_carlo import Walkers

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)
WINDOWS = windows.WindowsConfig(
    n_windows=10, n_chains=64, n_frames=4, equilibration_steps=40, steps_between=20
)

# Two particles rarely meet, so their means have heavy tails and want many samples.
MANY_PAIRS = denoising_bound.BoundConfig(n_levels=24, n_pairs=8000, n_tethered=0)


@pytest.fixture(scope="module")
def pairs():
    return exact_ensemble(PAIR, 20_000)


@pytest.fixture(scope="module")
def two_body():
    return LambdaHamiltonian(PAIR.pair_potential)


def within(result, exact, errors=3.0):
    assert 0 < result.std_err < 0.1
    assert abs(result.value - exact) < errors * result.std_err, str(result)


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
        model, pairs, denoising_bound.BoundConfig(n_levels=24, n_pairs=3000, n_tethered=0), seed=1
    )
    assert result.value < pair_free_energy(PAIR) - 3 * result.std_err


def test_neural_ti_for_two_particles(two_body, tmp_path):
    config = neural_ti.NeuralTIConfig(n_samples=1000, n_steps=100, corrector_steps=0)
    result = neural_ti.estimate(two_body, PAIR, config, seed=2, directory=tmp_path, progress=False)
    within(result, pair_free_energy(PAIR), errors=4)
    with np.load(tmp_path / "neural_ti.npz") as file:
        assert file["positions_sigma"].shape == (1000, 2, 3)
        assert file["lambdas"].shape == file["dudl_mean"].shape == file["dudl_err"].shape == (101,)


@pytest.mark.parametrize("first_step", [0.15, 0.5])
def test_the_corrector_leaves_equilibrium_alone(first_step, monkeypatch):
    """At lambda = 1, from exact samples of a crowded trio: the energy and its fluctuations stay, at
    any step.
    """
    monkeypatch.setattr("openmm_nti.validation.sampling.corrector._FIRST_STEP", first_step)
    monkeypatch.setattr("openmm_nti.validation.sampling.corrector._LONGEST_STEP", 1.0)
    state = StatePoint(
        n_particles=3,
        box_length_sigma=2.6,
        temperature_star=1.25,
        cutoff_sigma=1.3,
        switch_sigma=1.2,
    )
    ensemble, model = exact_ensemble(state, 6000), LambdaHamiltonian(state.pair_potential)
    before, box = torch.as_tensor(ensemble.positions_sigma), cubic_box(state.box_length_sigma)
    corrector = Corrector(tuple(before.shape), torch.Generator().manual_seed(1))
    evaluated = partial(evaluate, model, box=box, lam=torch.ones((), dtype=torch.float64))
    after = corrector.relax(evaluated, evaluated(before), 200).positions
    assert (after - before).square().mean().sqrt() > 0.1
    assert 0.3 < corrector.acceptance < 0.999
    change = (model.end.energy(after, box) - model.end.energy(before, box)).numpy()
    squares = (model.end.energy(after, box) ** 2 - model.end.energy(before, box) ** 2).numpy()
    for values in (change, squares):
        assert abs(values.mean()) < 3.5 * values.std() / math.sqrt(values.size)


@pytest.mark.parametrize("engine", ["openmm", "torch"])
@pytest.mark.parametrize("network", ["none", "random"])
def test_windows_are_exact_for_any_network(network, engine, pairs, two_body, tmp_path):
    model = two_body if network == "none" else make_random_model(PAIR, "float32")
    config = WINDOWS.model_copy(update={"engine": engine})
    data = windows.sample(model, pairs, config, seed=3, directory=tmp_path, progress=False)
    mbar = estimate_mbar(data, PAIR, method="mbar_neural", seed=1)
    within(mbar, pair_free_energy(PAIR))
    ti = estimate_ti(data, PAIR, method="ti_neural_md", seed=1)
    assert abs(ti.value - pair_free_energy(PAIR)) < 3 * ti.std_err


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
    data = windows.sample(model, ensemble, WINDOWS, seed=3, directory=tmp_path, progress=False)
    mbar = estimate_mbar(data, state, method="mbar_neural", seed=1)
    assert abs(mbar.value - exact) < 3 * math.hypot(mbar.std_err, exact_error)
    bound = denoising_bound.estimate(model, ensemble, MANY_PAIRS, seed=1)
    assert bound.value < exact + 3 * math.hypot(bound.std_err, exact_error)
    assert bound.value == pytest.approx(exact, abs=3 * math.hypot(bound.std_err, exact_error))


def test_windows_resume_without_running_again(pairs, two_body, tmp_path, monkeypatch):
    config = WINDOWS.model_copy(update={"n_windows": 3, "n_chains": 8})
    whole = windows.sample(
        two_body, pairs, config, seed=3, directory=tmp_path / "a", progress=False
    )
    run = windows._molecular_dynamics
    started = []

    def dies_at_the_last_window(task):
        if task.windows[0] == 2 and not started:
            started.append(task)
            raise KeyboardInterrupt
        return run(task)

    monkeypatch.setattr(windows, "_molecular_dynamics", dies_at_the_last_window)
    with pytest.raises(KeyboardInterrupt):
        windows.sample(two_body, pairs, config, seed=3, directory=tmp_path / "b", progress=False)
    resumed = windows.sample(
        two_body, pairs, config, seed=3, directory=tmp_path / "b", progress=False
    )
    np.testing.assert_array_equal(resumed.u_kln, whole.u_kln)


def test_monte_carlo_resumes_to_the_same_numbers(pairs, two_body, tmp_path, monkeypatch):
    """Two batches of three windows beside the ideal gas; a batch that is on disk is not run
    again.
    """
    config = WINDOWS.model_copy(update={"engine": "torch", "n_windows": 7, "n_chains": 8})
    monkeypatch.setattr(windows.hmc, "ATOMS_PER_BATCH", 3 * 8 * PAIR.n_particles)
    whole = windows.sample(
        two_body, pairs, config, seed=3, directory=tmp_path / "a", progress=False
    )
    run, started = windows._monte_carlo, []

    def dies_once_at_the_last_batch(task):
        started.append(list(task.windows))
        if len(started) == 2:
            raise KeyboardInterrupt
        return run(task)

    monkeypatch.setattr(windows, "_monte_carlo", dies_once_at_the_last_batch)
    with pytest.raises(KeyboardInterrupt):
        windows.sample(two_body, pairs, config, seed=3, directory=tmp_path / "b", progress=False)
    resumed = windows.sample(
        two_body, pairs, config, seed=3, directory=tmp_path / "b", progress=False
    )
    assert started == [[1, 2, 3], [4, 5, 6], [4, 5, 6]]
    for name in ("u_kln", "dudl", "acceptance", "timestep_star"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    assert sorted(path.name[-11:] for path in (tmp_path / "b/neural_windows").iterdir()) == [
        "000-000.npz",
        "001-003.npz",
        "004-006.npz",
    ]


def test_both_engines_sample_the_same_windows(tmp_path):
    """Six crowded particles and a network that nobody trained: every window's <dU/dlambda>, and the
    free energy.
    """
    state = StatePoint(
        n_particles=6,
        box_length_sigma=3.0,
        temperature_star=1.25,
        cutoff_sigma=1.5,
        switch_sigma=1.3,
    )
    model = make_random_model(state, "float32", n_refinements=0, scale=0.1)
    walkers = Walkers(state, 64, seed=1)
    walkers.equilibrate(100)
    starts = walkers.positions_sigma
    ensemble = Ensemble(state, starts * state.sigma_nm, reduced_potential_numpy(starts, state), {})
    found = {}
    for engine in ("openmm", "torch"):
        config = windows.WindowsConfig(engine=engine, n_windows=5, n_chains=32, n_frames=8)
        data = windows.sample(model, ensemble, config, seed=3, directory=tmp_path, progress=False)
        chains = data.dudl.reshape(5, 32, 8).mean(axis=2)
        errors = chains.std(axis=1, ddof=1) / math.sqrt(32)
        found[engine] = (
            chains.mean(axis=1),
            errors,
            estimate_mbar(data, state, method="mbar_neural", seed=1),
        )
    (mean, error, mbar), (other_mean, other_error, other) = found.values()
    assert (error < 0.3 * np.abs(mean).max()).all()
    assert (np.abs(mean - other_mean) < 3.5 * np.hypot(error, other_error)).all()
    assert 0 < other.std_err < 0.2
    assert abs(mbar.value - other.value) < 3 * math.hypot(mbar.std_err, other.std_err)


def test_acceptance_and_steps_stand_beside_the_result(pairs, two_body, tmp_path):
    config = WINDOWS.model_copy(update={"engine": "torch", "n_windows": 4, "n_chains": 8})
    data = windows.sample(two_body, pairs, config, seed=3, directory=tmp_path, progress=False)
    data.save(tmp_path / "w.npz")
    for make in (estimate_mbar, estimate_ti):
        facts = make(WindowData.load(tmp_path / "w.npz"), PAIR, method="any", seed=1).diagnostics
        json.dumps({name: facts[name] for name in ("acceptance", "timestep_star")}, allow_nan=False)
        assert facts["acceptance"][0] is facts["timestep_star"][0] is None  # the ideal gas is drawn
        assert all(0.5 < accepted <= 1 for accepted in facts["acceptance"][1:])
        assert all(0 < step <= 0.6 for step in facts["timestep_star"][1:])


def test_moves_that_hardly_succeed_are_reported_with_what_to_do(pairs, tmp_path, monkeypatch):
    """Steps ten times too long, and no equilibration to adapt them in."""
    monkeypatch.setattr(windows.hmc, "_FIRST_STEP", 2.0)
    config = WINDOWS.model_copy(
        update={"engine": "torch", "n_windows": 4, "n_chains": 8, "equilibration_steps": 0}
    )
    model = make_random_model(PAIR, scale=2.0)
    with pytest.warns(
        UserWarning, match="few moves accepted .* at lambda .*: raise equilibration_steps"
    ):
        data = windows.sample(model, pairs, config, seed=3, directory=tmp_path, progress=False)
    assert data.few_accepted.startswith("few moves accepted")


def test_another_seed_does_not_pick_up_old_windows(pairs, two_body, tmp_path):
    config = WINDOWS.model_copy(update={"n_windows": 3, "n_chains": 8})
    first = windows.sample(two_body, pairs, config, seed=3, directory=tmp_path, progress=False)
    second = windows.sample(two_body, pairs, config, seed=4, directory=tmp_path, progress=False)
    assert not np.array_equal(first.u_kln, second.u_kln)


def test_python_force_samples_the_same_windows(pairs, two_body, tmp_path):
    config = WINDOWS.model_copy(
        update={"n_windows": 3, "n_chains": 8, "n_frames": 1, "equilibration_steps": 5}
    )
    torch_data = windows.sample(two_body, pairs, config, seed=3, directory=tmp_path, progress=False)
    config = config.model_copy(update={"force": "python"})
    python_data = windows.sample(
        two_body, pairs, config, seed=3, directory=tmp_path, progress=False
    )
    np.testing.assert_allclose(python_data.u_kln, torch_data.u_kln, rtol=1e-4, atol=1e-4)


def test_a_model_of_another_temperature_is_refused(pairs, tmp_path):
    other = LambdaHamiltonian(PAIR.pair_potential.model_copy(update={"temperature_star": 2.0}))
    for call in (
        lambda: denoising_bound.estimate(other, pairs, denoising_bound.BoundConfig(), seed=1),
        lambda: neural_ti.estimate(
            other, PAIR, neural_ti.NeuralTIConfig(), seed=1, directory=tmp_path
        ),
        lambda: windows.sample(other, pairs, WINDOWS, seed=1, directory=tmp_path),
    ):
        with pytest.raises(ValueError, match="temperature_star = 2.0 in the model"):
            call()


def test_windows_are_placed_where_the_path_needs_them(pairs):
    """For two particles all happens at short range and small noise: the windows crowd there, and
    are few.
    """
    model = make_random_model(PAIR)
    coarse, length = windows.place_windows(
        model, pairs, windows.WindowsConfig(window_length=1.0), seed=1
    )
    fine, same_length = windows.place_windows(
        model, pairs, windows.WindowsConfig(window_length=0.1), seed=1
    )
    assert length == same_length > 0
    assert len(fine) > 2 * len(coarse)
    for lambdas in (coarse, fine):
        assert lambdas[0] == 0.0
        assert lambdas[-1] == 1.0
        assert (np.diff(lambdas) > 0).all()


def test_half_the_error_takes_about_four_times_the_frames():
    wide, narrow = (windows.WindowsConfig(target_error=error) for error in (0.2, 0.1))
    # 16 gaps of unit length, n = 32 chains * 32 frames of which two in five count: variance 16 /
    # (0.4 n) = 0.2^2.
    assert windows.frames_needed(16.0, 17, wide) == math.ceil(31.25)
    assert windows.frames_needed(16.0, 17, narrow) == 125


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
