r"""Exact free energies from weights of noising and denoising paths, with no simulation between.

Noise levels are 0 = v_0 < v_1 < ... < v_K. A forward path starts from data and adds Gaussian
increments. A reverse path starts uniform in the box and follows the model's denoising kernels. Both
are Gaussian in the unwrapped increments D_k = x_{k+1} - x_k, so the logarithm of the ratio of their
densities is a plain sum,

.. math::
    \omega = \beta U_{LJ}(x_0)
        + \sum_k \ln \frac{N(x_k; \, x_{k+1} - \delta_k \nabla U(x_{k+1}), \, r_k)}
          {N(x_{k+1}; \, x_k, \, \delta_k)}, \qquad \delta_k = v_{k+1} - v_k ,

which is the work of a nonequilibrium switching process. So E_reverse[exp(-omega)] = exp(-beta F_ex)
= 1 / E_forward[exp(omega)] for any model and any number of steps (Crooks 1999), and

.. math:: E_{forward}[\omega] \le \beta F_{ex} \le E_{reverse}[\omega].

Bennett's acceptance ratio joins both sets of works. The levels v_k and the variances r_k
(`noising_paths`) decide the overlap, not the exactness. Only scores are used, so a denoiser will
do, which has no energies but the better score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from openmm_nti.free_energy import NO_ERROR, Diagnostics, FreeEnergy, Verdict
from openmm_nti.reference_md.statistics import error_of_mean
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.validation.analysis.works import Works, bar, bounds_of, overlap_of
from openmm_nti.validation.estimators.base import NOT_ASKED, Bounds, Estimator, Job
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.plots.bounds import works_figure
from openmm_nti.validation.plots.figure import Figure
from openmm_nti.validation.sampling.noising_paths import PathConfig, sample

__all__ = [
    "ESTIMATORS",
    "BracketDiagnostics",
    "PathBar",
    "PathBarDiagnostics",
    "PathBracket",
    "PathConfig",
    "Works",
    "estimate_bar",
    "estimate_bracket",
    "sample",
]
FILE = "path_works.npz"  # in the state's folder, for the report
_N_BOOTSTRAP = 200
# Below, the works of the two directions hardly meet, and no error bar can be trusted.
SMALLEST_OVERLAP = 0.05


class BracketDiagnostics(Diagnostics):
    """Rigorous bounds of beta F_ex, and both parts of the error of their middle; kT."""

    lower: float
    lower_err: float
    upper: float
    upper_err: float
    statistical_err: float
    systematic_err: float


class PathBarDiagnostics(Diagnostics):
    """Rigorous bounds of beta F_ex in kT, and the overlap of both directions, from 0 to 1."""

    lower: float
    lower_err: float
    upper: float
    upper_err: float
    overlap: float
    bootstrap_err: float


def mean_works(facts: Diagnostics) -> Bounds:
    """Return the bounds that stand in the diagnostics of an estimate from works, if any."""
    if not {"lower", "lower_err", "upper", "upper_err"} <= set(facts.keys()):
        return Bounds()
    return Bounds((facts["lower"], facts["lower_err"]), (facts["upper"], facts["upper_err"]))


def judged_overlap(overlap: float, where: str = "") -> Verdict:
    """Return whether the works of two directions meet with this overlap."""
    text = f"{overlap:.2g} between the two directions{where}"
    return Verdict.good_if(
        overlap >= SMALLEST_OVERLAP,
        f"yes: {text}",
        Verdict("bad", f"no: {text}, {SMALLEST_OVERLAP:g} is the least"),
    )


@takes_execution
def estimate_bar(works: Works, execution: Execution) -> FreeEnergy:
    """Return beta F_ex by Bennett's acceptance ratio between both directions; method `path_bar`.

    It is exact for any model. The standard error is a bootstrap over paths. Where the works of the
    two directions hardly overlap, that would be far too small: half of the bracket is taken
    instead, and the verdict says so.
    """
    value = bar(works.forward, works.reverse)
    bounds = bounds_of(works)
    rng = execution.random("path bootstrap")
    resampled = [
        bar(
            rng.choice(works.forward, works.forward.size),
            rng.choice(works.reverse, works.reverse.size),
        )
        for _ in range(_N_BOOTSTRAP)
    ]
    # Drawn from few works, resamples scatter too little, as `error_of_mean` knows.
    fewest = min(works.forward.size, works.reverse.size)
    scatter = float(np.std(resampled, ddof=1))
    bootstrap_err = scatter * error_of_mean(math.sqrt(fewest), fewest)
    if not math.isfinite(bounds["lower_err"] + bounds["upper_err"]):
        bootstrap_err = math.inf  # one direction has not been sampled
    overlap = overlap_of(works, value)
    std_err = bootstrap_err
    if not overlap >= SMALLEST_OVERLAP:
        std_err = max(bootstrap_err, 0.5 * abs(bounds["upper"] - bounds["lower"]))
    return FreeEnergy(
        value=value,
        std_err=std_err,
        method="path_bar",
        convention=works.state.convention,
        n_particles=works.state.n_particles,
        verdict=_verdict(overlap, bootstrap_err),
        diagnostics=PathBarDiagnostics(**bounds, overlap=overlap, bootstrap_err=bootstrap_err),
    )


def _verdict(overlap: float, bootstrap_err: float) -> Verdict:
    """Return what the overlap is worth; works that are all equal have no error to judge by."""
    if not overlap >= SMALLEST_OVERLAP:
        return Verdict(
            "bad",
            f"unreliable: overlap {overlap:.3f}, under {SMALLEST_OVERLAP}; the error is half the "
            "bracket",
        )
    return Verdict.good_if(0 < bootstrap_err < math.inf, f"good (overlap {overlap:.2f})", NO_ERROR)


def estimate_bracket(works: Works) -> FreeEnergy:
    """Return the middle of the rigorous bounds that works give; method `path_bracket`.

    The bounds are E_forward[omega] <= beta F_ex <= E_reverse[omega]. If the works were Gaussian, a
    quarter of the difference of the two variances would be the error of the middle: it is taken as
    the systematic part of `std_err`.
    """
    bounds = bounds_of(works)
    systematic = float(abs(works.reverse.var(ddof=1) - works.forward.var(ddof=1)) / 4.0)
    statistical = 0.5 * math.hypot(bounds["lower_err"], bounds["upper_err"])
    return FreeEnergy(
        value=0.5 * (bounds["lower"] + bounds["upper"]),
        std_err=math.hypot(statistical, systematic),
        method="path_bracket",
        convention=works.state.convention,
        n_particles=works.state.n_particles,
        diagnostics=BracketDiagnostics(
            **bounds, statistical_err=statistical, systematic_err=systematic
        ),
    )


def _works(job: Job, config: PathConfig) -> Works:
    """Return the works of both directions, which both estimators share through files."""
    works = sample(job.score, job.ensemble, config, job.execution)
    if job.execution.directory is not None:
        works.save(job.execution.directory / FILE)
    return works


class _FromPaths(Estimator):
    """An estimator from noising and denoising paths, which it shares with the other one."""

    section = "paths"
    Config = PathConfig
    needs = frozenset({"model", "data"})
    files = (FILE,)
    in_runs = True

    def seconds(self, config: PathConfig, n: int, pace: Pace) -> float:
        """Return about how many CPU seconds the paths of both directions take."""
        return 2.0 * config.n_paths * config.n_steps * pace.gradient(n)

    def evaluations(self, config: PathConfig, found: FreeEnergy) -> int:
        """Return the number of gradients of the model."""
        del found
        return 2 * config.n_paths * config.n_steps

    def bounds(self, found: FreeEnergy) -> Bounds:
        """Return the means of the works of both directions."""
        return mean_works(found.diagnostics)


class PathBar(_FromPaths):
    """BAR between both directions."""

    name = "path_bar"
    Diagnostics: ClassVar[type[PathBarDiagnostics]] = PathBarDiagnostics
    kind = "exact"
    summary = (
        "BAR between noising and denoising paths; exact for any network, no simulation in between"
    )
    order = 60
    preference = 50

    def estimate(self, job: Job, config: PathConfig) -> FreeEnergy:
        """Return beta F_ex by BAR."""
        return estimate_bar(_works(job, config), job.execution)

    def converged(self, found: FreeEnergy) -> Verdict:
        """Return how much the number of paths leaves open."""
        if found.verdict.level != "good" or "bootstrap_err" not in found.diagnostics:
            return super().converged(found)
        left = found.diagnostics["bootstrap_err"]
        return Verdict.good_if(
            left > 0, f"yes: the paths leave {left:.2g} kT", Verdict("bad", "no: there is no error")
        )

    def overlap(self, found: FreeEnergy, others: Mapping[str, FreeEnergy]) -> Verdict:
        """Return whether the works of the two directions meet."""
        del others
        if "overlap" not in found.diagnostics:
            return NOT_ASKED
        return judged_overlap(found.diagnostics["overlap"])

    def figures(self, found: FreeEnergy, folder: Path) -> Iterator[Figure]:
        """Yield the works of both directions."""
        works = folder / self.files[0]
        if works.is_file():
            yield works_figure(works, found.value)


class PathBracket(_FromPaths):
    """Middle of the bounds; the works are shown once, with BAR."""

    name = "path_bracket"
    Diagnostics = BracketDiagnostics
    kind = "model"
    summary = "Middle of rigorous lower and upper bounds from those paths"
    order = 70

    def estimate(self, job: Job, config: PathConfig) -> FreeEnergy:
        """Return the middle of the bounds."""
        return estimate_bracket(_works(job, config))

    def converged(self, found: FreeEnergy) -> Verdict:
        """Return whether more paths would help, or only a better model."""
        facts = found.diagnostics
        if not found.has_error:
            return Verdict("bad", "no: the data give no error")
        if "statistical_err" not in facts or "systematic_err" not in facts:
            return super().converged(found)  # results of another version
        noise, asymmetry = facts["statistical_err"], facts["systematic_err"]
        text = f"paths leave {noise:.2g} kT, the two gaps differ by up to {asymmetry:.2g} kT"
        limited = Verdict("warn", f"limited by the model: {text}; more paths do not help")
        return Verdict.good_if(noise > 0 and asymmetry <= noise, f"yes: {text}", limited)


ESTIMATORS = (PathBar(), PathBracket())
