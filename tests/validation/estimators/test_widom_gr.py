"""Widom insertion and g(r) on configurations whose statistics are known exactly."""

import math

import numpy as np
import pytest

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.analysis import gr
from openmm_nti.validation.estimators import widom
from openmm_nti.validation.sampling import insertion


def state_point(n_particles, convention="truncated", box=6.0):
    return StatePoint(
        n_particles=n_particles, box_length_sigma=box, temperature_star=1.25, convention=convention
    )


def ensemble_of(state, positions_sigma):
    return Ensemble(
        state,
        positions_sigma * state.sigma_nm,
        reduced_potential_numpy(positions_sigma, state),
        provenance={},
    )


def exact_pairs(state, n_frames, seed):
    """Exact samples of two particles by rejection: uniform positions accepted with exp(-u - 0.8), u
    >= -0.8.
    """
    rng = np.random.default_rng(seed)
    trial = rng.uniform(0, state.box_length_sigma, (4 * n_frames, 2, 3))
    accepted = trial[rng.random(len(trial)) < np.exp(-reduced_potential_numpy(trial, state) - 0.8)]
    return accepted[:n_frames]


def test_insertion_into_two_particles_gives_the_exact_third():
    """beta F_ex(3) - beta F_ex(2) = -0.0906552(22) + 0.0302785, `truncated`, L = 6, T* = 1.25."""
    state = state_point(2)
    result = widom.estimate(
        ensemble_of(state, exact_pairs(state, 1500, seed=1)), seed=2, n_insertions_per_frame=400
    )
    exact = -0.0906552 + 0.0302785
    assert abs(result.value - exact) < 3 * result.std_err
    assert result.std_err < 0.05 * abs(exact)
    assert (result.quantity, result.method, result.convention) == (
        "beta_mu_ex",
        "widom",
        "truncated",
    )
    assert result.verdict.level == "good"


def test_conventions_differ_by_the_part_that_switching_removes():
    """In one and the same frames, the switched fluid attracts the test particle less, by beta rho
    (I_t - I_s).
    """
    state, other = state_point(2), state_point(2, "switched")
    frames = exact_pairs(state, 300, seed=1)
    truncated, switched = (
        widom.estimate(ensemble_of(s, frames), seed=3, n_insertions_per_frame=1000)
        for s in (state, other)
    )
    r = np.linspace(2.5, 3, 2001)
    x = 2 * (r - 2.5)
    removed = 4 * (r**-12 - r**-6) * (10 * x**3 - 15 * x**4 + 6 * x**5) * 4 * np.pi * r**2
    expected = -np.trapezoid(removed, r) * 2 / 6**3 / 1.25
    assert switched.value - truncated.value == pytest.approx(expected, rel=0.1)


def test_results_repeat_and_do_not_depend_on_the_chunks(monkeypatch):
    state = state_point(20)
    frames = np.stack([lattice_positions_nm(state, seed) for seed in range(5)]) / state.sigma_nm
    whole = widom.estimate(ensemble_of(state, frames), seed=1, n_insertions_per_frame=100)
    monkeypatch.setattr(insertion, "_PAIRS_AT_ONCE", 20 * 7)
    parts = widom.estimate(ensemble_of(state, frames + 6.0), seed=1, n_insertions_per_frame=100)
    assert parts.value == pytest.approx(whole.value, rel=1e-9)


def test_a_dense_fluid_is_reported_as_too_dense():
    """rho* = 1: in a nearly perfect lattice hardly any place is free."""
    state = state_point(216)
    frames = np.stack([lattice_positions_nm(state, seed) for seed in range(4)]) / state.sigma_nm
    result = widom.estimate(ensemble_of(state, frames), seed=1, n_insertions_per_frame=20)
    assert result.verdict.level == "bad"
    assert result.diagnostics["n_eff_insertions"] < 20


def test_no_room_at_all_is_an_error_that_names_the_way_out():
    state = state_point(512)
    frames = np.stack([lattice_positions_nm(state, 0)]) / state.sigma_nm
    with pytest.raises(ValueError, match="insertions overlap.*mbar_softcore"):
        widom.estimate(ensemble_of(state, frames), seed=1, n_insertions_per_frame=3)


def test_one_frame_has_no_error_bar():
    state = state_point(2)
    result = widom.estimate(ensemble_of(state, exact_pairs(state, 1, 0)), seed=1)
    assert result.std_err == math.inf
    assert result.verdict.level == "bad"


def test_uniform_particles_have_no_structure():
    positions = np.random.default_rng(4).uniform(-9, 9, (400, 30, 3))
    r, g = gr.radial_distribution(positions, 6.0, n_bins=30)
    assert r[0] == pytest.approx(0.05)
    assert np.average(g, weights=r**2) == pytest.approx(1 - 1 / 30, abs=0.01)
    assert np.abs(g[10:] - (1 - 1 / 30)).max() < 0.1


def test_two_particles_show_their_boltzmann_factor():
    state = state_point(2)
    _, g = gr.radial_distribution(exact_pairs(state, 20_000, seed=5), 6.0, n_bins=10)
    fine = (np.arange(30_000) + 0.5) / 10_000
    u = 4 * (fine**-12 - fine**-6) / 1.25
    shells = (np.exp(-u) * fine**2).reshape(10, -1).sum(axis=1) / (fine**2).reshape(10, -1).sum(
        axis=1
    )
    exact = (
        0.5 * shells * math.exp(-0.0302785)
    )  # g = (1 - 1/N) exp(-u) V^2 / Z with Z / V^2 = exp(0.0302785)
    np.testing.assert_allclose(g, exact, atol=0.06)


@pytest.mark.parametrize("r_max", [-1.0, 3.1])
def test_distances_beyond_half_the_box_are_refused(r_max):
    with pytest.raises(ValueError, match="half the box"):
        gr.radial_distribution(np.zeros((1, 2, 3)), 6.0, r_max)


@pytest.mark.parametrize("positions", [np.zeros((0, 2, 3)), np.full((1, 2, 3), np.nan)])
def test_no_positions_have_no_structure(positions):
    with pytest.raises(ValueError, match="empty, NaN or infinite"):
        gr.radial_distribution(positions, 6.0)
