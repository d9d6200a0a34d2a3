"""Functions of zero mean: against autograd, on exact ensembles, and what they do to errors."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from exact import exact_ensemble, pair_free_energy
from models import make_random_model

from openmm_nti import LambdaHamiltonian, StatePoint
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.references.noise import log_noise
from openmm_nti.validation.analysis import control_variates
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_estimates import estimate_mbar, estimate_ti
from openmm_nti.validation.sampling import windows

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)
STATE = PAIR
BOX = cubic_box(6.0)


def oscillators(rng, *, n=640, n_windows=9, stiffness=8.0):
    """U = k x^2 / 2 in 10 dimensions; d/dx . x - x . dU/dx = 10 - k x^2 follows dU/dk to the last
    digit.
    """
    lambdas, dimensions = np.linspace(0, 1, n_windows), 10
    k = 1 + (stiffness - 1) * lambdas
    half_x2 = 0.5 * (rng.standard_normal((n_windows, n, dimensions)) ** 2).sum(-1) / k[:, None]
    noise = rng.standard_normal((n_windows, n))
    stein = np.stack([dimensions - 2 * k[:, None] * half_x2, noise], axis=-1)
    chain = np.repeat(np.arange(8), n // 8)
    u_kln, dudl = half_x2[:, :, None] * k, (stiffness - 1) * half_x2
    return WindowData(
        lambdas, u_kln, dudl, chain, control_variates=stein
    ), 0.5 * dimensions * math.log(stiffness)


@pytest.mark.parametrize("kind", ["density", "painn"])
def test_curvature_is_that_of_the_energy(kind):
    """Both gradients, the two-body field and probe . H . probe of the network, by autograd of the
    energies.
    """
    state = StatePoint(n_particles=4, box_length_sigma=6.0, temperature_star=1.25)
    model = make_random_model(state, kind=kind)
    x = torch.tensor(
        [[[0.1, 0, 0], [1.3, 0.2, 0], [5.7, 1.1, 0.3], [0.9, 1.2, 5.6]]], dtype=torch.float64
    )
    log_s = log_noise(torch.tensor([0.5], dtype=torch.float64), BOX)
    generator = torch.Generator().manual_seed(1)
    probes = torch.randn((3, *x.shape), generator=generator, dtype=torch.float64)
    found = model.curvature(x, BOX, log_s, probes)
    parts = {}
    for name, energy in (("two_body", model.pair_energy), ("learned", model.network_energy)):
        at = x.clone().requires_grad_(True)
        gradient = torch.autograd.functional.jacobian(
            lambda y, e=energy: e(y, BOX, log_s).sum(), at
        )
        h = 1e-5
        hessian = torch.zeros(12, 12, dtype=torch.float64)
        for i in range(12):
            step = torch.zeros(12, dtype=torch.float64)
            step[i] = h
            ends = []
            for sign in (1, -1):
                moved = (x + sign * step.reshape(x.shape)).requires_grad_(True)
                ends.append(
                    torch.autograd.grad(energy(moved, BOX, log_s).sum(), moved)[0].reshape(-1)
                )
            hessian[i] = (ends[0] - ends[1]) / (2 * h)
        parts[name] = (gradient, hessian)
    torch.testing.assert_close(found.two_body_gradient, parts["two_body"][0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.learned_gradient, parts["learned"][0], rtol=1e-7, atol=1e-9)
    field, divergence = model.pair_field(x, BOX, log_s)
    torch.testing.assert_close(found.two_body_field, field, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.two_body_divergence, divergence, rtol=1e-12, atol=1e-12)
    assert float(divergence) == pytest.approx(
        float(parts["two_body"][1].trace()), rel=1e-3
    )  # but for the end's force
    flat = probes.reshape(3, 12)
    along = torch.einsum("pi,ij,pj->p", flat, parts["learned"][1], flat).mean()
    assert float(found.learned_along_probes) == pytest.approx(float(along), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_means_vanish_at_both_ends(lam):
    """6,000 exact pairs of the fluid, and as many of the ideal gas, under a random network that is
    silent there.
    """
    model = make_random_model(PAIR)
    positions = torch.as_tensor(exact_ensemble(PAIR, 6_000).positions_sigma)
    if lam == 0.0:
        positions = (
            torch.rand(
                positions.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64
            )
            * 6.0
        )
    values = control_variates.functions(
        model, positions, BOX, torch.full((6_000,), lam), torch.Generator().manual_seed(1)
    )
    assert values.shape == (6_000, control_variates.N_FUNCTIONS)
    felt = values.std(axis=0) > 0
    assert (
        felt[2:].sum() >= control_variates.N_BUMPS - 3
    )  # no pair at lambda = 1 is within 0.7 sigma
    z = values.mean(axis=0)[felt] / values.std(axis=0)[felt] * math.sqrt(6_000)
    assert np.abs(z).max() < 4


def test_probes_point_both_ways(monkeypatch):
    """Along probes that are all alike, the divergence of a field that sums to zero is lost."""

    class SeenError(Exception):
        pass

    def see(_model, _positions, _box, _noise, probes):
        assert set(probes.flatten().tolist()) == {-1.0, 1.0}
        raise SeenError

    model = make_random_model(PAIR)
    monkeypatch.setattr(type(model), "curvature", see)
    frames = torch.zeros(5, 2, 3, dtype=torch.float64)
    with pytest.raises(SeenError):
        control_variates.functions(model, frames, BOX, torch.ones(5), torch.Generator())


def test_an_oscillator_has_nothing_left_to_sample():
    """The function is dU/dlambda up to a factor: the error of TI is that of its rule, and MBAR's is
    of second order.
    """
    data, exact = oscillators(np.random.default_rng(1))
    plain = replace(data, control_variates=None)
    for estimate in (estimate_mbar, estimate_ti):
        result, without = (estimate(some, STATE, method="any", seed=1) for some in (data, plain))
        facts = result.diagnostics["control_variates"]
        assert (facts["value_without"], facts["n_functions"]) == (pytest.approx(without.value), 2)
        assert without.diagnostics["control_variates"] is None
        assert abs(result.value - exact) < 3 * result.std_err
        if estimate is estimate_mbar:
            assert result.std_err < without.std_err / 5
        else:
            assert result.diagnostics["statistical_error"] < 1e-6


@pytest.mark.slow
def test_errors_with_control_variates_are_right():
    """40 estimates with functions that follow dU/dlambda in part: z scores of width 1 and no
    bias.
    """
    scores = {estimate_mbar: [], estimate_ti: []}
    for seed in range(40):
        data, exact = oscillators(np.random.default_rng(seed), n=320, stiffness=4.0)
        noisy = data.control_variates + 3.0 * np.roll(data.control_variates, 7, axis=1)
        data = replace(data, control_variates=noisy)
        for estimate, z in scores.items():
            result = estimate(data, STATE, method="any", seed=seed, n_bootstraps=40)
            z.append((result.value - exact) / result.std_err)
    for z in scores.values():
        assert 0.7 < np.std(z) < 1.4
        assert abs(np.mean(z)) < 3 / math.sqrt(40)


def test_the_share_left_counts_what_was_fitted():
    """Half of the variance is noise, and 8 of 40 samples are used up by the fit."""
    rng = np.random.default_rng(1)
    functions = rng.normal(size=(200, 8, 8))
    told = functions.sum(axis=2) / np.sqrt(8)
    values = told + rng.normal(size=told.shape)
    shares = control_variates.share_left(values, functions)
    assert shares.mean() == pytest.approx(np.sqrt(0.5), abs=0.04)
    units = np.where(np.arange(200) % 2, 10.0, 1.0)[:, None]
    assert control_variates.share_left(values * units, functions) == pytest.approx(shares)
    assert control_variates.share_left(rng.normal(size=told.shape), functions).max() == 1.0


def test_coefficients_do_not_know_where_zero_is():
    rng = np.random.default_rng(2)
    x, chain = rng.normal(size=(80, 2)), np.arange(80) % 4
    y = x @ [1.0, -2.0] + 0.1 * rng.normal(size=80)
    found = control_variates._coefficients(x + 30.0, y - 50.0, chain)
    assert found == pytest.approx([1.0, -2.0], abs=0.1)


def test_functions_that_few_samples_feel_decide_nothing():
    rng = np.random.default_rng(2)
    contributions, chain = rng.standard_normal((1, 160)), np.arange(160) % 8
    functions = np.zeros((1, 160, 2))
    functions[0, 5, 0] = 1e9
    np.testing.assert_array_equal(
        control_variates.subtract(contributions, functions, chain), contributions
    )


def test_two_particles_along_the_learned_path(tmp_path):
    """Windows of the two-body path: right with control variates, and with a smaller error than
    without.
    """
    model, data = LambdaHamiltonian(PAIR.pair_potential), exact_ensemble(PAIR, 4_000)
    config = windows.WindowsConfig(
        n_windows=8, n_chains=64, n_frames=6, equilibration_steps=40, steps_between=20
    )
    found = windows.sample(model, data, config, seed=5, directory=tmp_path, progress=False)
    exact = pair_free_energy(PAIR)
    for estimate in (estimate_mbar, estimate_ti):
        result = estimate(found, PAIR, method="any", seed=1)
        assert abs(result.value - exact) < 3 * result.std_err
        assert result.std_err < result.diagnostics["control_variates"]["std_err_without"]


def test_a_truncated_potential_has_no_control_variates(tmp_path):
    state = PAIR.model_copy(update={"convention": "truncated"})
    config = windows.WindowsConfig(n_windows=3, n_chains=8, n_frames=4, equilibration_steps=5)
    model = LambdaHamiltonian(state.pair_potential)
    found = windows.sample(
        model, exact_ensemble(state, 500), config, seed=5, directory=tmp_path, progress=False
    )
    assert found.control_variates is None
