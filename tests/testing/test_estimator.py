"""A toy estimator keeps the rules; toys that break one are told which."""

import math

import numpy as np
import pytest
from exact import pair_free_energy
from pydantic import BaseModel

from openmm_nti import FreeEnergy
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.free_energy import Diagnostics
from openmm_nti.testing import ConformanceError, check_estimator
from openmm_nti.testing.two_particles import TWO_PARTICLES, exact_samples, exact_value
from openmm_nti.validation.estimators.base import Bounds, Estimator


def insertion_weights(data, rng, n):
    """exp(-u) of a third particle, anywhere, in frames of two."""
    frames = data.positions_sigma[rng.integers(data.n_frames, size=n)]
    added = rng.uniform(0.0, data.state.box_length_sigma, size=(n, 1, 3))
    three = data.state.model_copy(update={"n_particles": 3})
    after = reduced_potential_numpy(np.concatenate([frames, added], axis=1), three)
    return np.exp(reduced_potential_numpy(frames, data.state) - after)


class ToyConfig(BaseModel):
    n: int = 20_000
    flaw: str = "none"


class ToyDiagnostics(Diagnostics):
    n: int


class Toy(Estimator):
    """Widom insertion into two particles; it asks for a model only to have it checked."""

    name = "toy"
    section = "toy"
    Config = ToyConfig
    Diagnostics = ToyDiagnostics
    kind = "insertion"
    needs = frozenset({"data", "energy"})
    quantity = "beta_mu_ex"
    summary = "insertion"

    def estimate(self, job, config):
        self.check(job, config.flaw)
        seed = None if config.flaw == "unseeded" else job.execution.seed_of("toy")

        def compute():
            return {"weights": insertion_weights(job.data, np.random.default_rng(seed), config.n)}

        inputs = [config] if config.flaw == "stale" else [config, job.data.positions_nm]
        weights = job.execution.stored("toy", inputs, compute)["weights"]
        weights = weights[np.isfinite(weights)]
        value, error = -math.log(weights.mean()), weights.std() / math.sqrt(len(weights))
        if config.flaw == "forgets":
            marker = job.execution.directory / "z"
            value += 0.0 if marker.exists() else 1e-3
            marker.touch()
        return FreeEnergy(
            value=value + (0.2 if config.flaw == "biased" else 0.0),
            std_err=math.inf if config.flaw == "unknown" else error / weights.mean(),
            method="other" if config.flaw == "name" else "toy",
            convention=job.state.convention,
            n_particles=2,
            quantity="beta_mu_ex",
            diagnostics=ToyDiagnostics(n=config.n),
        )

    def check(self, job, flaw):
        if flaw == "no model" and job.trained is None:
            raise ValueError("no model\nat all")
        if flaw == "data" and job.data is None:
            raise KeyError("data")
        job.model.eval()
        if flaw != "nan" or job.data is None:
            assert job.ensemble is job.data  # it refuses NaN and jobs without data

    def bounds(self, found):
        return Bounds(lower=(0.0, 0.01)) if self.flawed_bounds else Bounds()

    flawed_bounds = False


class FlawedBounds(Toy):
    flawed_bounds = True


def test_a_toy_without_a_flaw_keeps_the_rules():
    check_estimator(Toy())


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ("name", "method of its result is 'other', not 'toy'"),
        ("biased", "kT is exact; it may be off by"),
        ("unknown", "its standard error, inf kT, is not below the free energy itself"),
        ("forgets", "run again in the same folder, it gives another number"),
        ("unseeded", "after half of its files were lost|it takes up old files"),
        ("stale", "with other data in the same folder it takes up old files"),
        ("no model", "it refuses a job without a model, but not in one line"),
        ("nan", "it accepts reference data with NaN and gives"),
        ("data", "a job without reference data ends in KeyError instead of a ValueError"),
    ],
)
def test_a_flaw_is_named(flaw, message):
    with pytest.raises(ConformanceError, match=f"estimator toy: .*({message})"):
        check_estimator(Toy(), ToyConfig(flaw=flaw))


def test_a_bound_on_the_wrong_side_is_named():
    with pytest.raises(ConformanceError, match="its lower bound is 0.0000 .* is exact"):
        check_estimator(FlawedBounds())


def test_the_exact_values_are_those_of_other_ways_to_them():
    assert exact_value("beta_f_ex") == pytest.approx(pair_free_energy(TWO_PARTICLES), abs=1e-5)
    weights = insertion_weights(
        exact_samples(20_000, np.random.default_rng(1)), np.random.default_rng(2), 100_000
    )
    error = weights.std() / math.sqrt(20_000) / weights.mean()
    assert abs(-math.log(weights.mean()) - exact_value("beta_mu_ex")) < 4 * error < 0.1
