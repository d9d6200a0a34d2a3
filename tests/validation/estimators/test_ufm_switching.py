"""The path by way of the Uhlenbeck-Ford fluid against OpenMM, quadrature and exact sampling."""

import numpy as np
import openmm
import pytest
from openmm import unit

from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import Verdict
from openmm_nti.runtime.context import Execution
from openmm_nti.testing.two_particles import TWO_PARTICLES, exact_value
from openmm_nti.validation.estimators import ufm_switching
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.registry import estimator
from openmm_nti.validation.sampling.uhlenbeck_ford.path import (
    HALF,
    UhlenbeckFordPath,
    set_lambda,
    slopes,
    together,
    weights,
)

CONVENTIONS = ("switched", "truncated")
KNOWN = estimator("ufm_switching")
QUICK = KNOWN.Config(
    n_windows=5,
    n_frames=20,
    steps_between=10,
    equilibration=100,
    timestep_star=0.01,
    n_ramps=16,
    ramp_steps=40,
    platform="Reference",
)


def fluid(n_particles, convention="switched"):
    return StatePoint(
        n_particles=n_particles, box_length_sigma=6, temperature_star=1.25, convention=convention
    )


def small_box(convention, **kind):
    """Three particles: few enough for random positions to be the exact answer."""
    return StatePoint(
        n_particles=3,
        box_length_sigma=3,
        temperature_star=1.25,
        cutoff_sigma=1.5,
        switch_sigma=1.3,
        convention=convention,
        **kind,
    )


def estimate(state, config, **execution):
    return KNOWN.estimate(Job(state, None, None, Execution(**execution)), config)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("coupling", [0.05, 0.3, HALF, 0.8, 1.0])
def test_openmm_and_numpy_agree_on_the_path(convention, coupling):
    path = UhlenbeckFordPath(fluid(20, convention), p=50, sigma=0.5)
    positions = np.random.default_rng(0).uniform(0, 6, (20, 3))
    context = openmm.Context(
        path.system(with_fluid=coupling > HALF),
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    context.setPositions(positions * path.state.sigma_nm)
    set_lambda(context, coupling)
    measured = context.getState(energy=True).getPotentialEnergy() / unit.kilojoule_per_mole
    jump = reduced_potential_numpy(positions[None], path.state) - reduced_potential_numpy(
        positions[None], path.simulated
    )
    expected = together(weights(np.array([coupling])), path.energies(positions[None]))[0, 0]
    expected -= weights(np.array(coupling))[1] * jump[0]
    assert measured / path.state.kt_kj_mol == pytest.approx(expected, rel=1e-9)


def test_cores_of_a_dense_fluid_find_room():
    """At the density of freezing, before any step: cores inside of one another blow up later."""
    dense = StatePoint(
        n_particles=32,
        density_star=0.97,
        temperature_star=1.25,
        cutoff_sigma=1.55,
        switch_sigma=1.3,
    )
    path = UhlenbeckFordPath(dense, p=50, sigma=0.5)
    context = ufm_switching.chain_context(path.system(with_fluid=True), dense, QUICK, Execution(3))
    random = np.random.default_rng(3).uniform(0, dense.edges_sigma, (32, 3))
    context.setPositions(random * dense.sigma_nm)
    ufm_switching.raise_lambda(context, 0.52, 0)
    energies = path.energies(ufm_switching.positions_sigma(context, path)[None])[0]
    assert path.energies(random[None])[0, 1] > 1e6
    assert energies[1] < 10 * dense.n_particles


def test_slopes_are_those_of_the_weights():
    inside = np.array([0.1, 0.3, 0.49, 0.51, 0.9])
    rise = weights(inside + 1e-6) - weights(inside - 1e-6)
    np.testing.assert_allclose(slopes(inside), rise / 2e-6, rtol=1e-6, atol=1e-9)
    ends = weights(np.array([0.0, HALF, 1.0]))
    np.testing.assert_array_equal(ends, [[0, 0], [1, 0], [0, 1]])


def test_an_infinite_energy_counts_nothing_where_it_has_no_weight():
    energies = np.array([[2.0, np.inf]])
    np.testing.assert_array_equal(
        together(weights(np.array([0.0, HALF, 1.0])), energies), [[0, 2, np.inf]]
    )


def test_windows_ascend_and_hold_the_middle():
    for n, count in ((20, None), (80, None), (20, 9)):
        lambdas = UhlenbeckFordPath(fluid(n), 50, 0.5).place_windows(1.0, count)
        assert (lambdas[0], lambdas[-1]) == (0, 1)
        assert (np.diff(lambdas) > 0).all()
        assert HALF in lambdas
        assert count is None or len(lambdas) == count


def test_two_particles_have_their_exact_free_energy():
    found = estimate(TWO_PARTICLES, QUICK, seed=5)
    exact = exact_value("beta_f_ex")
    assert abs(found.value - exact) < 3 * found.std_err < abs(exact)
    facts = found.diagnostics
    assert facts["ramps"]["errors_apart"] < 3
    assert facts["ramps"]["overlap"] > 0.1
    assert facts["uhlenbeck_ford"]["x"] == pytest.approx(
        np.pi**1.5 * 0.125 / TWO_PARTICLES.volume_sigma3
    )


def test_few_ramps_are_refused():
    with pytest.raises(ValueError, match="greater than or equal to 8"):
        KNOWN.Config(n_ramps=3)


def test_ramps_far_from_the_windows_spoil_a_good_verdict():
    good = Verdict("good", "good")
    for apart, level in ((1.0, "good"), (6.0, "warn"), (float("nan"), "warn")):
        facts = {"overlap": 0.5, "errors_apart": apart}
        assert ufm_switching._judged(good, facts).level == level
    assert ufm_switching._judged(good, {"overlap": 0.0, "errors_apart": 9.0}) == good


@pytest.mark.slow
@pytest.mark.parametrize(
    "state",
    [
        small_box("truncated"),
        small_box("switched"),
        small_box("switched", potential={"type": "wca"}),
        small_box("shifted", potential={"type": "yukawa", "kappa": 2.0}),
    ],
    ids=["truncated", "switched", "wca", "yukawa"],
)
def test_three_particles_have_their_exact_free_energy(state):
    rng = np.random.default_rng(1)
    factors = np.concatenate(
        [
            np.exp(-reduced_potential_numpy(rng.uniform(0, 3, (200_000, 3, 3)), state))
            for _ in range(10)
        ]
    )
    exact = -np.log(factors.mean())
    exact_error = factors.std() / factors.mean() / np.sqrt(len(factors))
    config = KNOWN.Config(
        n_frames=200, steps_between=20, equilibration=200, n_ramps=64, ramp_steps=200
    )
    found = estimate(state, config, seed=5)
    assert abs(found.value - exact) < 3 * np.hypot(found.std_err, exact_error)
    assert found.std_err < 0.05
    assert found.diagnostics["ramps"]["errors_apart"] < 4


@pytest.mark.slow
def test_it_agrees_with_the_other_exact_estimates_at_n_40():
    found = estimate(fluid(40), KNOWN.Config(n_frames=20), seed=1)
    assert abs(found.value + 21.10) < 3 * found.std_err < 1.5
    assert found.diagnostics["ramps"]["errors_apart"] < 4
