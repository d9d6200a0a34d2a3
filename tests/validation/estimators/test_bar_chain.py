"""The insertion chain: Monte Carlo and free energies of few particles against exact answers, and
its honesty.
"""

import math

import numpy as np
import pytest
from exact import pair_free_energy

from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.analysis import walker_bar
from openmm_nti.validation.estimators import bar_chain
from openmm_nti.validation.estimators.bar_chain import BarChainConfig
from openmm_nti.validation.sampling.monte_carlo import Walkers

CONVENTIONS = ("switched", "truncated")
QUICK = BarChainConfig(n_frames=8, n_insertions=1000, equilibration_sweeps=30, sweeps_between=10)
SMALL = BarChainConfig(
    n_walkers=16, n_frames=2, n_insertions=50, equilibration_sweeps=10, sweeps_between=5
)


def fluid(n_particles, convention="switched"):
    return StatePoint(
        n_particles=n_particles, box_length_sigma=6, temperature_star=1.25, convention=convention
    )


def sticky(n_particles, convention):
    """A small, cold box: large effects, and a jump of 0.4 kT at the cutoff when truncated."""
    return StatePoint(
        n_particles=n_particles,
        box_length_sigma=3,
        temperature_star=0.8,
        cutoff_sigma=1.5,
        switch_sigma=1.2,
        convention=convention,
    )


def chain(state, config, directory, seed=1):
    return bar_chain.estimate(state, config, seed=seed, directory=directory, progress=False)


def direct_average(state, n_samples, seed=0):
    """beta F_ex as -ln <exp(-U)> over the ideal gas, and its error: exact, and without any
    simulation.
    """
    positions = np.random.default_rng(seed).uniform(
        0, state.box_length_sigma, (n_samples, state.n_particles, 3)
    )
    weights = np.exp(-reduced_potential_numpy(positions, state))
    return -math.log(weights.mean()), weights.std() / weights.mean() / math.sqrt(n_samples)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_walkers_know_their_energies(convention):
    state = fluid(20, convention)
    walkers = Walkers(state, 8, seed=1)
    walkers.equilibrate(5)
    positions = walkers.positions_sigma
    assert positions.shape == (8, 20, 3)
    assert ((positions >= 0) & (positions <= 6)).all()
    energies = reduced_potential_numpy(positions, state)
    np.testing.assert_allclose(0.5 * walkers.removal_energies.sum(axis=1), energies, rtol=1e-9)
    without_first = reduced_potential_numpy(positions[:, 1:], state)
    np.testing.assert_allclose(walkers.removal_energies[:, 0], energies - without_first, atol=1e-9)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_two_walking_particles_have_their_exact_mean_energy(convention):
    state = sticky(2, convention)
    walkers = Walkers(state, 500, seed=2)
    walkers.equilibrate(50)
    means = []
    for _ in range(100):
        walkers.sweep()
        means.append(walkers.removal_energies[:, 0])
    by_walker = np.mean(means, axis=0)
    r, step = np.linspace(1e-3, state.cutoff_sigma, 100_001, retstep=True)
    x = np.clip((r - 1.2) / 0.3, 0, 1) if convention == "switched" else 0 * r
    u = 4 / 0.8 * (r**-12 - r**-6) * (1 - 6 * x**5 + 15 * x**4 - 10 * x**3)
    shell = 4 * math.pi * r**2 * step
    exact = (shell * u * np.exp(-u)).sum() / (27 + (shell * np.expm1(-u)).sum())
    error = by_walker.std() / math.sqrt(len(by_walker))
    assert abs(by_walker.mean() - exact) < 3.5 * error
    assert error < 0.02 * abs(exact)


def test_two_particles_have_their_exact_free_energy(tmp_path):
    result = chain(fluid(2), QUICK, tmp_path)
    exact = pair_free_energy(fluid(2))
    assert abs(result.value - exact) < 3 * result.std_err
    assert result.std_err < 0.05 * abs(exact)
    assert (result.method, result.convention, result.n_particles) == ("bar_chain", "switched", 2)
    assert result.quantity == "beta_f_ex"


@pytest.mark.parametrize(("n_particles", "exact"), [(2, -0.0302785), (3, -0.0906552)])
def test_few_particles_have_the_published_free_energies(n_particles, exact, tmp_path):
    result = chain(fluid(n_particles, "truncated"), QUICK, tmp_path)
    assert abs(result.value - exact) < 3 * result.std_err
    assert result.std_err < 0.05 * abs(exact)
    assert result.verdict.level == "good"


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(fluid(8), marks=pytest.mark.slow),
        sticky(3, "switched"),
        sticky(3, "truncated"),
    ],
    ids=str,
)
def test_it_agrees_with_the_direct_average_over_the_ideal_gas(state, tmp_path):
    result = chain(state, QUICK, tmp_path, seed=4)
    exact, error = direct_average(state, 400_000)
    assert abs(result.value - exact) < 3 * math.hypot(result.std_err, error)
    assert result.std_err < 0.03 * abs(exact)
    assert result.value == pytest.approx(sum(result.diagnostics["beta_mu_ex"]))
    assert len(result.diagnostics["beta_mu_ex_std_err"]) == state.n_particles - 1


def test_one_step_is_that_of_pymbar_and_finds_the_exact_answer():
    """Gaussian works of width s that fulfil Crooks' relation: means at delta +- s^2 / 2."""
    from pymbar import bar

    rng, delta, width = np.random.default_rng(5), -1.5, 2.0
    insertions = delta + width**2 / 2 + width * rng.standard_normal((50, 200))
    removals = delta - width**2 / 2 + width * rng.standard_normal((50, 20))
    step = walker_bar.solve(insertions, removals)
    theirs = bar(insertions.ravel(), -removals.ravel(), compute_uncertainty=False)["Delta_f"]
    assert step.value == pytest.approx(theirs, abs=1e-6)
    assert abs(step.value - delta) < 0.15
    x = np.linspace(delta - 12, delta + 12, 4001)
    forward, backward = (
        np.exp(-((x - delta + sign * 2) ** 2) / 8) / math.sqrt(8 * math.pi) for sign in (-1, 1)
    )
    overlap = np.trapezoid(2 * forward * backward / (forward + backward), x)
    assert step.overlap == pytest.approx(overlap, abs=0.05)


def test_errors_are_those_of_repeated_calculations(tmp_path):
    results = [chain(sticky(4, "switched"), SMALL, tmp_path, seed=seed) for seed in range(24)]
    spread = np.std([result.value for result in results], ddof=1)
    claimed = math.sqrt(np.mean([result.std_err**2 for result in results]))
    assert 0.6 < claimed / spread < 1.6
    exact, error = direct_average(sticky(4, "switched"), 400_000)
    mean = np.mean([result.value for result in results])
    assert abs(mean - exact) < 3 * math.hypot(spread / math.sqrt(24), error)


def test_neighbouring_steps_share_an_ensemble():
    """One ensemble whose removal weights are its insertion weights: what it adds to two steps
    cancels in their sum.
    """
    rng = np.random.default_rng(1)
    shared, constant = np.exp(rng.normal(0, 0.3, 40)), np.ones(40)
    steps = [
        walker_bar.Step(0.0, constant, shared, 1.0),
        walker_bar.Step(0.0, shared, constant, 1.0),
    ]
    resampled = walker_bar.bootstrap(steps, np.random.default_rng(1))
    np.testing.assert_allclose(resampled.sum(axis=1), 0, atol=1e-12)
    assert walker_bar.neighbour_correlation(resampled)[0] == pytest.approx(-1)
    assert resampled.std(axis=0) == pytest.approx([0.3 / math.sqrt(40)] * 2, rel=0.3)


def test_where_insertions_fail_is_said_and_no_error_is_claimed(tmp_path):
    state = StatePoint(
        n_particles=20,
        box_length_sigma=3,
        temperature_star=1.25,
        cutoff_sigma=1.5,
        convention="truncated",
    )
    config = SMALL.model_copy(update={"n_insertions": 3, "n_walkers": 24})
    result = chain(state, config, tmp_path)
    assert math.isinf(result.std_err)
    first = result.diagnostics["first_n_where_insertion_fails"]
    carried = result.diagnostics["effective_insertions"]
    assert 2 < first < 20
    assert carried[first - 1] < 20
    assert min(carried[: first - 1]) >= 20
    assert result.verdict.text.startswith(
        f"unreliable: insertions find no room, first at n = {first} "
    )


def test_verdicts_go_from_good_to_unreliable():
    def verdict(carried, drift=0.0):
        return bar_chain._verdict(np.array([500.0, carried]), np.array([0.0, drift, 0.0]))

    for found, level, text in (
        (verdict(300), "good", "good (about 300"),
        (
            verdict(60),
            "warn",
            "few insertions: about 60 independent insertions carry the step from n = 2",
        ),
        (verdict(300, -5.0), "warn", "poor equilibration at n = 2 (drift -5.0 errors)"),
        (verdict(3, -5.0), "bad", "unreliable"),
    ):
        assert found.level == level
        assert found.text.startswith(text)
    for found in (verdict(math.nan), verdict(math.inf), verdict(300, math.nan)):
        assert found.level != "good"
    with pytest.raises(ValueError, match="coincide.*raise n_insertions"):
        walker_bar.solve(np.full((8, 2), 1e6), np.zeros((8, 2)))


def test_an_interrupted_chain_ends_in_the_same_numbers_and_a_longer_one_goes_on(tmp_path):
    whole = chain(fluid(4), SMALL, tmp_path)
    files = sorted((tmp_path / "bar_chain").iterdir(), key=lambda path: path.name[-7:])
    assert len(files) == 4
    files[1].unlink()
    before = files[2].stat().st_mtime_ns
    assert chain(fluid(4), SMALL, tmp_path) == whole
    longer = chain(fluid(5), SMALL, tmp_path)
    assert files[2].stat().st_mtime_ns == before
    assert longer.diagnostics["beta_mu_ex"][:3] == whole.diagnostics["beta_mu_ex"]
    assert chain(fluid(4), SMALL, tmp_path, seed=2).value != whole.value
    files[2].write_bytes(files[2].read_bytes()[:100])
    with pytest.raises(RuntimeError, match="truncated.*delete it"):
        chain(fluid(4), SMALL, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("convention", "truth"), [("switched", -21.10), ("truncated", -21.65)])
def test_forty_particles_with_the_default_settings(convention, truth, tmp_path):
    result = bar_chain.estimate(
        fluid(40, convention),
        BarChainConfig(),
        seed=1,
        directory=tmp_path,
        workers=2,
        progress=False,
    )
    assert abs(result.value - truth) < 3 * math.hypot(result.std_err, 0.01)
    assert result.std_err <= 0.1
    assert result.verdict.level == "good"
