"""Replica exchange between windows: exact, by the Metropolis rule, with errors that know what
exchanges.
"""

import math

import numpy as np
import pytest
from exact import exact_ensemble, pair_free_energy
from models import make_random_model
from pydantic import ValidationError

from openmm_nti import LambdaHamiltonian, StatePoint
from openmm_nti.validation.analysis import window_bootstrap
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_estimates import estimate_bar, estimate_mbar, estimate_ti
from openmm_nti.validation.sampling import exchange, window_parts, windows

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)
EXCHANGING = windows.WindowsConfig(
    n_windows=8, n_chains=32, n_frames=8, equilibration_steps=40, steps_between=20, exchange=True
)


@pytest.fixture(scope="module")
def pairs():
    return exact_ensemble(PAIR, 4000)


@pytest.mark.parametrize("engine", [pytest.param("openmm", marks=pytest.mark.slow), "torch"])
def test_exchanging_windows_are_exact_for_any_network(engine, pairs, tmp_path):
    model = make_random_model(PAIR, "float32")
    config = EXCHANGING.model_copy(
        update={
            "engine": engine,
            "n_windows": 5,
            "n_chains": 8,
            "n_frames": 32,
            "steps_between": 10,
        }
    )
    data = windows.sample(model, pairs, config, seed=3, directory=tmp_path, progress=False)
    exact = pair_free_energy(PAIR)
    for estimate in (estimate_mbar, estimate_bar, estimate_ti):
        found = estimate(data, PAIR, method="any", seed=1)
        assert abs(found.value - exact) < 3 * found.std_err
        assert found.diagnostics["exchange"] == data.exchange.tolist()
    assert estimate_mbar(data, PAIR, method="any", seed=1).std_err < 0.05
    assert data.exchange.shape == (4,)
    assert (data.exchange > 0.2).all()
    assert np.isnan(data.timestep_star[0])
    assert (data.timestep_star[1:] > 0).all()


def test_trades_follow_the_metropolis_rule():
    """Windows with u_0 = x and u_1 = 2 x, at fixed x of both: exp(x_1 - x_0), or 1 where that is
    more.
    """
    n = 40_000
    for low, high in ((1.0, 0.2), (0.3, 0.9)):
        u = np.empty((2, n, 2))
        u[0], u[1] = [low, 2 * low], [high, 2 * high]
        rate = exchange.trades(u, np.array([0]), np.random.default_rng(1)).mean()
        # u_0(x_0) + u_1(x_1) - u_0(x_1) - u_1(x_0) = x_1 - x_0
        assert rate == pytest.approx(min(1.0, math.exp(high - low)), abs=4 * 0.5 / math.sqrt(n))


def test_trades_keep_every_window_in_equilibrium():
    """Exact samples of oscillators of four stiffnesses stay so, however often they trade."""
    rng, stiffness = np.random.default_rng(2), np.array([1.0, 2.0, 4.0, 8.0])
    x = rng.standard_normal((4, 20_000)) / np.sqrt(stiffness)[:, None]
    where = np.repeat(np.arange(4), 20_000).reshape(4, -1)
    for turn in range(6):
        lower = np.arange(turn % 2, 3, 2)
        accepted = exchange.trades(0.5 * x[:, :, None] ** 2 * stiffness, lower, rng)
        for values in (x, where):
            below, above = values[lower], values[lower + 1]
            values[lower], values[lower + 1] = (
                np.where(accepted, above, below),
                np.where(accepted, below, above),
            )
    assert (where[0] == 3).mean() > 0.02  # some have come all the way
    np.testing.assert_allclose((x**2).mean(axis=1) * stiffness, 1.0, atol=4 * math.sqrt(2 / 20_000))


def test_a_draw_of_the_bootstrap_takes_whole_ladders():
    """Chain c is off by the same in all windows: independent draws miss that the offsets add up, by
    sqrt(K).
    """
    rng = np.random.default_rng(3)
    offset = np.repeat(rng.standard_normal(32), 10)
    lambdas = np.linspace(0, 1, 9)
    dudl = offset + 0.1 * rng.standard_normal((9, 320))
    data = WindowData(lambdas, np.zeros((9, 320, 9)), dudl, np.repeat(np.arange(32), 10))
    ladders = WindowData(data.lambdas, data.u_kln, data.dudl, data.chain, exchange=np.full(8, 0.5))
    wrong, right = (estimate_ti(one, PAIR, method="any", seed=1).std_err for one in (data, ladders))
    assert right == pytest.approx(offset[::10].std(ddof=1) / math.sqrt(32), rel=0.2)
    assert wrong < 0.6 * right
    for weights in window_bootstrap.draw(ladders, 3, np.random.default_rng(1)).weights:
        assert (weights == weights[0]).all()


def test_ladders_resume_to_the_same_numbers(pairs, tmp_path, monkeypatch):
    model = LambdaHamiltonian(PAIR.pair_potential)
    config = EXCHANGING.model_copy(update={"engine": "torch", "n_windows": 4, "n_chains": 10})
    whole = windows.sample(model, pairs, config, seed=3, directory=tmp_path / "a", progress=False)
    run, started = window_parts._exchanging, []

    def dies_once(task):
        started.append(list(task.chains))
        if len(started) == 2:
            raise KeyboardInterrupt
        return run(task)

    monkeypatch.setattr(window_parts, "_exchanging", dies_once)
    with pytest.raises(KeyboardInterrupt):
        windows.sample(model, pairs, config, seed=3, directory=tmp_path / "b", progress=False)
    resumed = windows.sample(model, pairs, config, seed=3, directory=tmp_path / "b", progress=False)
    assert started == [[0, 1, 2, 3], [4, 5, 6, 7], [4, 5, 6, 7], [8, 9]]
    for name in ("u_kln", "dudl", "acceptance", "timestep_star", "exchange", "control_variates"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    whole.save(tmp_path / "w.npz")
    np.testing.assert_array_equal(WindowData.load(tmp_path / "w.npz").exchange, whole.exchange)


def test_too_few_ladders_are_refused():
    with pytest.raises(ValidationError, match="give 8 or more"):
        windows.WindowsConfig(exchange=True, n_chains=4)
