"""Neural TI over noised data: right where the score is, off by the network's error elsewhere."""

import math

import numpy as np
import pytest
from exact import exact_ensemble, pair_free_energy
from models import make_random_model

from openmm_nti import LambdaHamiltonian, StatePoint
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators import noised_ti
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.noised_ti import NoisedTIConfig

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)


@pytest.fixture(scope="module")
def pairs():
    return exact_ensemble(PAIR, 4000)


@pytest.mark.slow  # test_conformance.py has a quick one
def test_two_particles_exactly(pairs):
    model = LambdaHamiltonian(
        PAIR.pair_potential
    )  # the score of two particles is the two-body path's
    found = noised_ti.estimate(model, pairs, NoisedTIConfig(n_frames=800), seed=1)
    assert abs(found.value - pair_free_energy(PAIR)) < 3 * found.std_err
    assert found.std_err < 0.05
    assert (found.method, found.convention, found.n_particles) == (
        "neural_ti_noised",
        "switched",
        2,
    )
    facts = found.diagnostics
    assert np.trapezoid(facts["dudl_mean"], facts["lambdas"]) == pytest.approx(found.value)
    assert len(facts["dudl_std_err"]) == 65


def test_a_bad_network_shows():
    """Three crowded particles: two in a large box hardly feel the network."""
    trio = StatePoint(
        n_particles=3,
        box_length_sigma=2.6,
        temperature_star=1.25,
        cutoff_sigma=1.3,
        switch_sigma=1.2,
    )
    anywhere = np.random.default_rng(0).uniform(0, trio.box_length_sigma, size=(200_000, 3, 3))
    exact = -math.log(np.exp(-reduced_potential_numpy(anywhere, trio)).mean())
    config = NoisedTIConfig(n_levels=16, n_frames=400)
    model = make_random_model(trio, "float32")
    found = noised_ti.estimate(model, exact_ensemble(trio, 2000), config, seed=1)
    assert abs(found.value - exact) > 5 * found.std_err
    assert found.verdict.text.startswith("carries the network's error")


def test_the_error_is_that_of_repeats(pairs):
    model = LambdaHamiltonian(PAIR.pair_potential)
    config = NoisedTIConfig(n_levels=16, n_frames=100)
    repeats = [noised_ti.estimate(model, pairs, config, seed=seed) for seed in range(30)]
    spread = np.std([one.value for one in repeats], ddof=1)
    assert 0.7 < spread / np.mean([one.diagnostics["statistical_err"] for one in repeats]) < 1.4


def test_the_estimator_shows_its_profile(pairs, tmp_path):
    (one,) = noised_ti.ESTIMATORS
    config = NoisedTIConfig(n_levels=8, n_frames=16)
    model = LambdaHamiltonian(PAIR.pair_potential)
    found = one.estimate(Job(PAIR, pairs, model, Execution(seed=1)), config)
    assert isinstance(found.diagnostics, one.Diagnostics)
    (figure,) = one.figures(found, tmp_path)
    assert [row[1:] for row in figure.rows] == list(
        zip(
            found.diagnostics.lambdas,
            found.diagnostics.dudl_mean,
            found.diagnostics.dudl_std_err,
            strict=True,
        )
    )
    assert one.evaluations(config, found) == 2 * 9 * 16


def test_slopes_that_are_not_finite_are_refused(pairs, monkeypatch):
    monkeypatch.setattr(noised_ti, "dudl_of_frames", lambda *_: np.full(16, np.nan))
    model = LambdaHamiltonian(PAIR.pair_potential)
    with pytest.raises(ValueError, match="neural_ti_noised: 72 of 72 dudl are not finite"):
        noised_ti.estimate(model, pairs, NoisedTIConfig(n_levels=8, n_frames=8), seed=1)


def test_few_frames_are_refused(pairs):
    few = type(pairs)(PAIR, pairs.positions_nm[:5], pairs.reduced_potentials[:5], {})
    with pytest.raises(ValueError, match="5 different frames are too few"):
        noised_ti.estimate(LambdaHamiltonian(PAIR.pair_potential), few, NoisedTIConfig(), seed=1)


def test_the_error_of_the_rule_is_that_of_a_parabola():
    """The trapezoidal rule is wrong by h^2 / 6 of it; what noise may have made is left out."""
    lambdas = np.linspace(0.0, 1.0, 5)
    alike = np.tile(lambdas**2, (3, 1))
    assert noised_ti._discretisation_error(alike, lambdas) == pytest.approx(1 / 16 / 6)
    noisy = np.array([[1.0], [2.0], [3.0]]) * alike
    beyond = 2 * (1 / 16 / 2) - 2 * (1 / 16 / 2) / np.sqrt(3)
    assert noised_ti._discretisation_error(noisy, lambdas) == pytest.approx(beyond / 3)
