"""Exact free energies from noising and denoising paths in stages; `sampling.paths.stages` says how.

Each stage has its own Bennett acceptance ratio, and beta F_ex is their sum. Frames at a cut start
paths of the stages on both sides, so the error is a bootstrap of all stages together, over the
independent chains at each cut. The means of the works, summed over the stages, are bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.stats import t as student

from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import NO_ERROR, Diagnostics, FreeEnergy, Verdict
from openmm_nti.reference_md.statistics import error_of_mean
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.validation.analysis.equilibration import CHANCE
from openmm_nti.validation.analysis.works import Works, bar, bounds_of, overlap_of
from openmm_nti.validation.estimators.base import NOT_ASKED, Bounds, Estimator, Job
from openmm_nti.validation.estimators.path_weights import (
    SMALLEST_OVERLAP,
    judged_overlap,
    mean_works,
)
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.sampling.paths.stages import Staged, StagesConfig, StageWorks, sample

_N_BOOTSTRAP = 200


class PathStagesDiagnostics(Diagnostics):
    """Rigorous bounds of beta F_ex in kT, and the facts of each stage.

    Attributes
    ----------
    noise_sigma
        Noise at the cuts, from none to half the box, sigma.
    beta_f, overlap
        Free energy of each stage, kT, and the overlap of its two directions, from 0 to 1.
    largest_drift_z
        Largest change of the mean energy along the chains at a cut, in standard errors.
    drift_chance
        How likely one as large would be at any cut, in equilibrium.
    """

    lower: float
    lower_err: float
    upper: float
    upper_err: float
    smallest_overlap: float
    bootstrap_err: float
    noise_sigma: list[float]
    beta_f: list[float]
    overlap: list[float]
    largest_drift_z: float
    drift_chance: float
    n_paths: int


@takes_execution
def estimate(staged: Staged, state: StatePoint, execution: Execution) -> FreeEnergy:
    """Return beta F_ex as the sum over the stages; method `path_stages`.

    The standard error is a bootstrap. A stage whose directions hardly overlap adds half of what
    lies between its bounds instead, and the verdict says so.
    """
    works = [Works(state, stage.forward, stage.reverse) for stage in staged.stages]
    values = [bar(one.forward, one.reverse) for one in works]
    bounds = [bounds_of(one) for one in works]
    overlaps = [overlap_of(one, value) for one, value in zip(works, values, strict=True)]
    rng = execution.random("stage bootstrap")
    drawn = [_resampled(staged.stages, rng) for _ in range(_N_BOOTSTRAP)]
    fewest = min(len(np.unique(s.reverse_chain)) for s in staged.stages)
    fewest = min(fewest, len(staged.stages[0].forward))
    scatter = float(np.std(drawn, ddof=1)) * error_of_mean(math.sqrt(fewest), fewest)
    halves = [
        0.5 * abs(one["upper"] - one["lower"])
        for one, overlap in zip(bounds, overlaps, strict=True)
        if not overlap >= SMALLEST_OVERLAP
    ]
    drift = float(np.max(np.abs(staged.drift_z)))
    errors = [one["lower_err"] + one["upper_err"] for one in bounds]
    if not math.isfinite(drift + sum(errors)):
        scatter = math.inf  # a cut or a direction has not been sampled
    facts = PathStagesDiagnostics(
        lower=sum(one["lower"] for one in bounds),
        lower_err=math.hypot(*(one["lower_err"] for one in bounds)),
        upper=sum(one["upper"] for one in bounds),
        upper_err=math.hypot(*(one["upper_err"] for one in bounds)),
        smallest_overlap=min(overlaps),
        bootstrap_err=scatter,
        noise_sigma=staged.noise_sigma.tolist(),
        beta_f=values,
        overlap=overlaps,
        largest_drift_z=drift,
        drift_chance=_chance(drift, staged),
        n_paths=len(staged.stages[-1].reverse),
    )
    return FreeEnergy(
        value=sum(values),
        std_err=math.hypot(scatter, *halves),
        method="path_stages",
        convention=state.convention,
        n_particles=state.n_particles,
        verdict=_verdict(facts),
        diagnostics=facts,
    )


def _resampled(stages: list[StageWorks], rng: np.random.Generator) -> float:
    """Return the sum of the stages with the chains at each cut drawn anew."""
    chains = [stages[0].forward_chain, *(stage.reverse_chain for stage in stages)]
    drawn = []
    for chain in chains:
        order = np.argsort(chain, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(chain))[:-1])
        drawn.append(
            np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])
        )
    return sum(
        bar(stage.forward[drawn[k]], stage.reverse[drawn[k + 1]]) for k, stage in enumerate(stages)
    )


def _chance(largest_z: float, staged: Staged) -> float:
    """Return how likely so large a drift is by chance, from Student's t and as many cuts."""
    n_chains = len(np.unique(staged.stages[0].reverse_chain))
    at_one = 2.0 * float(student.sf(largest_z, n_chains - 1))
    return min(1.0, len(staged.drift_z) * at_one) if math.isfinite(largest_z) else 0.0


def _verdict(facts: PathStagesDiagnostics) -> Verdict:
    if not facts.smallest_overlap >= SMALLEST_OVERLAP:
        return Verdict(
            "bad",
            f"unreliable: overlap {facts.smallest_overlap:.3f} in a stage, under "
            f"{SMALLEST_OVERLAP}; take more stages (n_stages)",
        )
    if not facts.drift_chance >= CHANCE:
        return Verdict(
            "bad",
            f"the energy drifts between stages by {facts.largest_drift_z:.1f} standard errors: "
            "raise equilibration_steps",
        )
    return Verdict.good_if(
        0 < facts.bootstrap_err < math.inf,
        f"good (smallest overlap of {len(facts.overlap)} stages {facts.smallest_overlap:.2f})",
        NO_ERROR,
    )


class PathStages(Estimator):
    """BAR in stages between equilibria of the learned path."""

    name = "path_stages"
    section = "stages"
    Config = StagesConfig
    Diagnostics = PathStagesDiagnostics
    kind = "exact"
    needs = frozenset({"energy", "denoiser", "data"})
    summary = "BAR between such paths in stages, with Monte Carlo of the model at the cuts; exact"
    order = 75
    preference = 45

    def estimate(self, job: Job, config: StagesConfig) -> FreeEnergy:
        """Return beta F_ex as the sum over the stages."""
        staged = sample(job.best_score, job.model, job.ensemble, config, job.execution)
        return estimate(staged, job.state, job.execution)

    def seconds(self, config: StagesConfig, n: int, pace: Pace) -> float:
        """Return the time of the paths and of Monte Carlo at the cuts."""
        n_cuts = config.expected_stages(n) - 1
        return (config.path_gradients + n_cuts * config.cut_gradients) * pace.gradient(n)

    def evaluations(self, config: StagesConfig, found: FreeEnergy) -> int:
        """Return the number of gradients of the model."""
        n_cuts = len(found.diagnostics["overlap"]) - 1
        return config.path_gradients + n_cuts * config.moves_of_cut

    def bounds(self, found: FreeEnergy) -> Bounds:
        """Return the sums of the mean works of both directions."""
        return mean_works(found.diagnostics)

    def overlap(self, found: FreeEnergy, others: Mapping[str, FreeEnergy]) -> Verdict:
        """Return whether the works of the two directions meet in every stage."""
        del others
        if "smallest_overlap" not in found.diagnostics:
            return NOT_ASKED
        return judged_overlap(found.diagnostics["smallest_overlap"], ", in the worst stage")


ESTIMATORS = (PathStages(),)
