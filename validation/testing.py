"""`check_estimator`: whether an estimator is right where the answer is known, and safe to resume.

It is `openmm_nti.testing.check_estimator`. It lives here because `validation` comes after
`openmm_nti.testing` in the order of imports.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.runtime.context import Execution
from openmm_nti.testing.errors import ConformanceError
from openmm_nti.testing.two_particles import TWO_PARTICLES, exact_samples, exact_value
from openmm_nti.validation.estimators.base import Estimator, Job

_MOST_ERRORS = 5.0  # standard errors by which a right estimate may be off


def check_estimator(
    estimator: Estimator, config: Any = None, *, n_frames: int = 400, allowed_bias: float = 0.0
) -> None:
    """Raise `ConformanceError` unless an estimator keeps all the rules.

    For two Lennard-Jones particles, in a box of unequal edges, it gives what quadrature gives,
    within its error; a bound is on the right side. The two-body path is exact there, so this holds
    for any model. Run again in its folder, also after files were lost, it gives equal numbers; with
    another seed or other data it takes up nothing that is there. What it needs and does not get,
    and NaN, it refuses by a ValueError of one line.

    Parameters
    ----------
    estimator
        The object, not its class.
    config
        Settings so small that an estimate takes seconds, but whose error is below the free energy,
        a few tenths of kT. None takes the defaults.
    n_frames
        Independent frames of reference data.
    allowed_bias
        Error that the settings cause, of a quadrature for instance, kT.

    Raises
    ------
    ConformanceError
        With the first rule that is broken, and by how much.
    """
    config = estimator.Config() if config is None else config
    with tempfile.TemporaryDirectory() as folder:
        case = _Case(estimator, config, n_frames, Path(folder))
        found = case.estimate("first")
        _check_facts(case, found)
        _check_value(case, found, allowed_bias)
        _check_bounds(case, found)
        _check_resume(case, found)
        _check_other_inputs(case)
        _check_refusals(case)


@dataclass(frozen=True)
class _Case:
    estimator: Estimator
    config: Any
    n_frames: int
    folder: Path

    def job(self, folder: str, other: str = "") -> Job:
        """Return what the estimate is made of, with another `seed` or other `data` if asked."""
        rng = np.random.default_rng(2 if other == "data" else 1)
        data = exact_samples(self.n_frames, rng)
        model = LambdaHamiltonian(TWO_PARTICLES.pair_potential).eval().requires_grad_(False)
        execution = Execution(seed=2 if other == "seed" else 1, directory=self.folder / folder)
        return Job(TWO_PARTICLES, data, model, execution)

    def estimate(self, folder: str, other: str = "") -> FreeEnergy:
        return self.estimator.estimate(self.job(folder, other), self.config)

    def broken(self, what: str) -> ConformanceError:
        return ConformanceError(f"estimator {self.estimator.name}: {what}")


def _check_facts(case: _Case, found: Any) -> None:
    if not isinstance(found, FreeEnergy):
        raise case.broken(f"it returns {type(found).__name__} instead of a FreeEnergy")
    wanted = {
        "method": case.estimator.name,
        "quantity": case.estimator.quantity,
        "n_particles": TWO_PARTICLES.n_particles,
        "convention": TWO_PARTICLES.convention,
    }
    for name, value in wanted.items():
        if getattr(found, name) != value:
            raise case.broken(f"{name} of its result is {getattr(found, name)!r}, not {value!r}")
    if not isinstance(found.diagnostics, case.estimator.Diagnostics):
        raise case.broken(
            f"its diagnostics are {type(found.diagnostics).__name__}, not "
            f"{case.estimator.Diagnostics.__name__}"
        )


def _check_value(case: _Case, found: FreeEnergy, allowed_bias: float) -> None:
    exact = exact_value(found.quantity)
    if not found.std_err < abs(exact):
        raise case.broken(
            f"its standard error, {found.std_err:.3g} kT, is not below the free energy itself, "
            f"{abs(exact):.3g} kT: give settings with more samples"
        )
    allowed = _MOST_ERRORS * found.std_err + allowed_bias
    is_bound = case.estimator.kind == "bound"
    off = found.value - exact if is_bound else abs(found.value - exact)
    if not off <= allowed:
        rule = "a lower bound may be above it by" if is_bound else "it may be off by"
        raise case.broken(
            f"it gives {found.value:.4f} kT where {exact:.4f} kT is exact; {rule} {allowed:.2g} kT"
        )


def _check_bounds(case: _Case, found: FreeEnergy) -> None:
    bounds = case.estimator.bounds(found)
    exact = exact_value("beta_f_ex")
    for name, bound, sign in (("lower", bounds.lower, 1.0), ("upper", bounds.upper, -1.0)):
        if bound is None:
            continue
        value, error = bound
        if not (math.isfinite(error) and sign * (value - exact) <= _MOST_ERRORS * error):
            raise case.broken(
                f"its {name} bound is {value:.4f} ± {error:.2g} kT where {exact:.4f} kT is exact"
            )


def _check_resume(case: _Case, found: FreeEnergy) -> None:
    if not _equal(case.estimate("first"), found):
        raise case.broken("run again in the same folder, it gives another number")
    files = sorted(path for path in (case.folder / "first").rglob("*") if path.is_file())
    for path in files[1::2]:
        path.unlink()
    if not _equal(case.estimate("first"), found):
        raise case.broken("it gives another number after half of its files were lost")


def _check_other_inputs(case: _Case) -> None:
    for what in ("seed", "data"):
        fresh = case.estimate(f"other {what}", what)
        if not _equal(case.estimate("first", what), fresh):
            raise case.broken(
                f"with other {what} in the same folder it takes up old files: their names must "
                "depend on everything that decides them, see `Execution.stored`"
            )


def _check_refusals(case: _Case) -> None:
    job = case.job("refused")
    if case.estimator.needs_model:
        _must_refuse(case, replace(job, trained=None), "a job without a model")
    if "data" in case.estimator.needs:
        _must_refuse(case, replace(job, data=None), "a job without reference data")
        _must_refuse(case, replace(job, data=_with_nan(job.ensemble)), "reference data with NaN")


def _must_refuse(case: _Case, job: Job, what: str) -> None:
    try:
        found = case.estimator.estimate(job, case.config)
    except ValueError as error:
        if "\n" in str(error) or not str(error):
            raise case.broken(f"it refuses {what}, but not in one line: {error}") from error
        return
    except Exception as error:
        raise case.broken(
            f"{what} ends in {type(error).__name__} instead of a ValueError: {error}"
        ) from error
    raise case.broken(f"it accepts {what} and gives {found}")


def _with_nan(data: Ensemble) -> Ensemble:
    """Return `data` with a frame of NaN, which an `Ensemble` itself would have refused."""
    copy = Ensemble(
        data.state, data.positions_nm.copy(), data.reduced_potentials.copy(), data.provenance
    )
    copy.positions_nm[0] = np.nan
    copy.reduced_potentials[0] = np.nan
    return copy


def _equal(one: FreeEnergy, other: FreeEnergy) -> bool:
    return (one.value, one.std_err) == (other.value, other.std_err)
