"""Windows along the learned path: exact for any network, resumed, and placed where needed."""

import json
import math

import numpy as np
import pytest
from exact import exact_ensemble, pair_free_energy
from models import make_random_model

from openmm_nti import Ensemble, LambdaHamiltonian, StatePoint
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_estimates import estimate_mbar, estimate_ti
from openmm_nti.validation.sampling import hmc, window_parts, windows
from openmm_nti.validation.sampling.monte_carlo import Walkers

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)
WINDOWS = windows.WindowsConfig(
    n_windows=10, n_chains=64, n_frames=4, equilibration_steps=40, steps_between=20
)


@pytest.fixture(scope="module")
def pairs():
    return exact_ensemble(PAIR, 20_000)


@pytest.fixture(scope="module")
def two_body():
    return LambdaHamiltonian(PAIR.pair_potential)


def within(result, exact, errors=3.0):
    assert 0 < result.std_err < 0.1
    assert abs(result.value - exact) < errors * result.std_err, str(result)


@pytest.mark.parametrize(
    ("network", "engine"),
    [
        ("random", "openmm"),
        ("random", "torch"),
        ("none", "torch"),
        pytest.param("none", "openmm", marks=pytest.mark.slow),
    ],
)
def test_windows_are_exact_for_any_network(network, engine, pairs, two_body, tmp_path):
    model = two_body if network == "none" else make_random_model(PAIR, "float32")
    quick = {"n_windows": 6, "equilibration_steps": 20, "steps_between": 10}
    config = WINDOWS.model_copy(update={"engine": engine, **quick})
    data = windows.sample(model, pairs, config, seed=3, directory=tmp_path, progress=False)
    mbar = estimate_mbar(data, PAIR, method="mbar_neural", seed=1)
    within(mbar, pair_free_energy(PAIR))
    ti = estimate_ti(data, PAIR, method="ti_neural_md", seed=1)
    assert abs(ti.value - pair_free_energy(PAIR)) < 3 * ti.std_err


def test_windows_resume_without_running_again(pairs, two_body, tmp_path, monkeypatch):
    config = WINDOWS.model_copy(update={"n_windows": 3, "n_chains": 8})
    whole = windows.sample(
        two_body, pairs, config, seed=3, directory=tmp_path / "a", progress=False
    )
    run = window_parts._molecular_dynamics
    started = []

    def dies_at_the_last_window(task):
        if task.windows[0] == 2 and not started:
            started.append(task)
            raise KeyboardInterrupt
        return run(task)

    monkeypatch.setattr(window_parts, "_molecular_dynamics", dies_at_the_last_window)
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
    monkeypatch.setattr(hmc, "ATOMS_PER_BATCH", 3 * 8 * PAIR.n_particles)
    whole = windows.sample(
        two_body, pairs, config, seed=3, directory=tmp_path / "a", progress=False
    )
    run, started = window_parts._monte_carlo, []

    def dies_once_at_the_last_batch(task):
        started.append(list(task.windows))
        if len(started) == 2:
            raise KeyboardInterrupt
        return run(task)

    monkeypatch.setattr(window_parts, "_monte_carlo", dies_once_at_the_last_batch)
    with pytest.raises(KeyboardInterrupt):
        windows.sample(two_body, pairs, config, seed=3, directory=tmp_path / "b", progress=False)
    resumed = windows.sample(
        two_body, pairs, config, seed=3, directory=tmp_path / "b", progress=False
    )
    assert started == [[1, 2, 3], [4, 5, 6], [4, 5, 6]]
    for name in ("u_kln", "dudl", "acceptance", "timestep_star"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    files = (tmp_path / "b/neural_windows").glob("*_[0-9]*.npz")
    assert sorted(path.name[-7:] for path in files) == ["000.npz", "001.npz", "002.npz"]


@pytest.mark.slow
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
    monkeypatch.setattr(hmc, "_FIRST_STEP", 2.0)
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
