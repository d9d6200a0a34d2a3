r"""Excess free energy by adding one particle after another, with Bennett's acceptance ratio.

.. math:: \beta F_{ex}(N) = \sum_{n=1}^{N-1} \beta \mu_{ex}(n), \qquad
          \beta \mu_{ex}(n) = \beta F_{ex}(n + 1) - \beta F_{ex}(n), \qquad F_{ex}(1) = 0,

all n in the same box. Each step joins the energies w of insertions at random places in frames of n
particles (I) and of removals of each particle from frames of n + 1 (R): with f(x) = 1 / (1 +
exp(x)) and any constant C,

.. math:: \beta \mu_{ex}(n) = C - \ln \frac{\langle f(w - C) \rangle_I}{\langle f(C - w) \rangle_R},

and C = beta mu_ex - ln(n_I / n_R) is the best one (C. H. Bennett, J. Comput. Phys. 22, 245 (1976)).
No path and no model is in it, only Monte Carlo of the fluid itself at every n. In a dense fluid
insertions find no room: the result says from which n on.

Errors are by bootstrap over independent walkers with C as found, for the formula holds at any C.
The frames of one n serve two steps, as those with a particle more and with a particle less, so
whole ensembles are drawn and the chain is summed for each draw.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import Diagnostics, FreeEnergy, Verdict
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.validation.analysis.walker_bar import (
    Step,
    bootstrap,
    effective_number,
    neighbour_correlation,
    solve,
)
from openmm_nti.validation.estimators.base import Estimator, Job
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.plots.figure import Figure
from openmm_nti.validation.plots.window_figures import chain_figure
from openmm_nti.validation.sampling import insertion
from openmm_nti.validation.sampling.insertion import BarChainConfig, Works, sample_works

__all__ = [
    "BarChain",
    "BarChainConfig",
    "ChainDiagnostics",
    "Works",
    "estimate",
    "estimate_chain",
    "sample",
]

_GOOD_INSERTIONS = 100  # independent ones that a step should rest on: an error of 0.1 kT
_TOO_FEW_INSERTIONS = 20  # below, neither the value of a step nor its error means anything
_DRIFT = 4.0  # standard errors
# In steps of MD: a sweep, per particle and walker; what all walkers share of it; an insertion.
_SWEEP, _SHARED_WALKERS, _INSERTION = 0.035, 32, 0.03


class ChainDiagnostics(Diagnostics):
    """The steps of the chain from n to n + 1 particles, n = 1 to N - 1.

    Attributes
    ----------
    n_walkers, n_frames, n_insertions
        Walkers at each n, their frames, and insertions into these.
    beta_mu_ex, beta_mu_ex_std_err
        Of each step, kT.
    neighbour_correlation
        Of each step with the next; steps further apart share nothing.
    overlap
        Of the works of insertions and removals at each step.
    effective_insertions
        Independent insertions that each step rests on.
    first_n_where_insertion_fails
        None where it never does.
    largest_energy_drift_z
        From the first frames to the last, in standard errors.
    box_length_sigma
        Edge of the box; of unequal edges, that of the cube of the same volume.
    """

    n_walkers: int
    n_frames: int
    n_insertions: int
    beta_mu_ex: list[float]
    beta_mu_ex_std_err: list[float]
    neighbour_correlation: list[float]
    overlap: list[float]
    effective_insertions: list[float]
    first_n_where_insertion_fails: int | None
    largest_energy_drift_z: float
    box_length_sigma: float


@takes_execution
def estimate(state: StatePoint, config: BarChainConfig, execution: Execution) -> FreeEnergy:
    """Return beta F_ex of `state` by `sample` and `estimate_chain`; see `sample`."""
    works = sample(state, config, execution)
    return estimate_chain(works, state, execution.child("bootstrap"))


@takes_execution
def sample(state: StatePoint, config: BarChainConfig, execution: Execution) -> list[Works]:
    """Return the works of all n from 1 to N.

    Each finished n is a file, so that an interrupted run goes on where it stopped, and the chain to
    a larger N in the same box goes on from a shorter one.

    Parameters
    ----------
    state
        The last state point of the chain.
    config
        How to sample.
    execution
        Equal seeds give equal samples. The files are kept in `bar_chain/` of its folder.

    Returns
    -------
    list[Works]
        For n = 1, 2, ..., N; in single precision, as files keep them.
    """
    order = insertion.insertion_order(state, config)
    # A StatePoint of one particle would be refused: a copy is not checked.
    states = [
        state.with_numbers(np.bincount(order[:n], minlength=len(state.composition)).tolist())
        for n in range(1, state.n_particles + 1)
    ]
    # The species that comes next, and the one that came last.
    moved = zip([*order[1:], order[-1]], order, strict=True)
    box = f"the insertion chain at L = {state.box_text} sigma"
    whole = [list(state.composition.values()), order] if state.is_mixture else []
    arrays = execution.map_stored(
        partial(sample_works, config),
        [
            (one, execution.child("bar_chain", one.n_particles), *(pair if whole else ()))
            for one, pair in zip(states, moved, strict=True)
        ],
        name="bar_chain",
        inputs=[states[0], config, *whole],  # not N: longer chains share the files
        description="insertion chain",
        labels=[f"n = {one.n_particles} of {box}" for one in states],
    )
    return [
        Works(found["insertions"], found["removals"], float(found["drift_z"])) for found in arrays
    ]


@takes_execution
def estimate_chain(works: Sequence[Works], state: StatePoint, execution: Execution) -> FreeEnergy:
    """Return the sum of all steps; method `bar_chain`.

    Parameters
    ----------
    works
        What `sample` returned for `state`.
    state
        The last state point of the chain.
    execution
        Its seed decides the bootstrap.

    Returns
    -------
    FreeEnergy
        With beta mu_ex(n), n = 1 to N - 1, in its diagnostics. The standard error is infinite where
        insertions fail at some n: the data then do not determine the sum.
    """
    steps = _steps(works)
    n_walkers = len(works[0].removals)
    resampled = bootstrap(steps, np.random.default_rng(execution.seed))
    resampled = resampled * math.sqrt(n_walkers / (n_walkers - 1))
    values = np.array([step.value for step in steps])
    effective = np.array([effective_number(step.insertion_weights) for step in steps])
    drifts = np.array([one.drift_z for one in works])
    failing = np.flatnonzero(~(effective >= _TOO_FEW_INSERTIONS))
    known = np.isfinite([*effective, *drifts]).all() and not len(failing)
    return FreeEnergy(
        value=float(values.sum()),
        std_err=float(resampled.sum(axis=1).std(ddof=1)) if known else math.inf,
        method="bar_chain",
        convention=state.convention,
        n_particles=state.n_particles,
        verdict=_verdict(effective, drifts),
        diagnostics=ChainDiagnostics(
            n_walkers=n_walkers,
            n_frames=works[0].removals.size,
            n_insertions=works[0].insertions.size,
            beta_mu_ex=values.tolist(),
            beta_mu_ex_std_err=resampled.std(axis=0, ddof=1).tolist(),
            neighbour_correlation=neighbour_correlation(resampled).tolist(),
            overlap=[step.overlap for step in steps],
            effective_insertions=effective.tolist(),
            first_n_where_insertion_fails=int(failing[0]) + 1 if len(failing) else None,
            largest_energy_drift_z=float(drifts[_largest(drifts)]),
            box_length_sigma=state.box_length_sigma,
        ),
    )


def _steps(works: Sequence[Works]) -> list[Step]:
    """Return the steps from n to n + 1, each solved in double precision."""
    if len(works) < 2:
        raise ValueError("insertion chain: the works of at least n = 1 and n = 2 are needed")
    return [
        solve(fewer.insertions.astype(float), more.removals.astype(float))
        for fewer, more in pairwise(works)
    ]


def _largest(drifts: np.ndarray) -> int:
    """Return the index of the largest drift, or of one that is NaN."""
    return int(np.abs(drifts).argmax())


def _verdict(effective: np.ndarray, drifts: np.ndarray) -> Verdict:
    """Return the verdict on the steps, from independent insertions and the drift at each n."""
    worst = int(effective.argmin())
    number = f"about {effective[worst]:.0f} independent insertions"
    carried = f"{number} carry the step from n = {worst + 1}"
    failing = np.flatnonzero(~(effective >= _TOO_FEW_INSERTIONS))
    if len(failing):
        where = f"first at n = {failing[0] + 1} ({carried})"
        advice = "raise n_insertions and n_frames, or use mbar_softcore"
        return Verdict("bad", f"unreliable: insertions find no room, {where}; {advice}")
    if not np.isfinite(effective).all():
        same = int(np.flatnonzero(~np.isfinite(effective))[0]) + 1
        return Verdict("bad", f"unreliable: all walkers give the same at n = {same}")
    largest = _largest(drifts)
    if not np.isfinite(drifts[largest]):
        return Verdict("bad", f"unreliable: energies at n = {largest + 1} are not finite")
    if not abs(drifts[largest]) <= _DRIFT:
        where = f"at n = {largest + 1} (drift {drifts[largest]:.1f} errors)"
        return Verdict("warn", f"poor equilibration {where}; sample longer")
    if not effective[worst] >= _GOOD_INSERTIONS:
        return Verdict("warn", f"few insertions: {carried}; raise n_insertions and n_frames")
    return Verdict("good", f"good ({carried}, the fewest)")


class BarChain(Estimator):
    """One particle after another by Bennett's acceptance ratio, in Monte Carlo."""

    name = "bar_chain"
    section = "bar_chain"
    Config = BarChainConfig
    Diagnostics = ChainDiagnostics
    kind = "exact"
    summary = "One particle after another by BAR in Monte Carlo; uses no network"
    order = 130
    preference = 60

    def estimate(self, job: Job, config: BarChainConfig) -> FreeEnergy:
        """Return beta F_ex; state points in the same box share the files of the chain."""
        execution = job.execution
        if execution.directory is None or job.state.is_mixture:
            return estimate(job.state, config, execution)
        shared = replace(execution, directory=execution.directory.parent)
        return estimate(job.state, config, shared)

    def overlap(self, found: FreeEnergy, others: Mapping[str, FreeEnergy]) -> Verdict:
        """Return whether insertions and removals overlap, at the worst step."""
        del others
        smallest = float(np.min(found.diagnostics["overlap"]))
        text = f"{smallest:.2g} at the worst step; insertions count, see convergence"
        carried = smallest > 0 and found.diagnostics["first_n_where_insertion_fails"] is None
        return Verdict.good_if(carried, text, Verdict("bad", f"no: {text}"))

    def seconds(self, config: BarChainConfig, n: int, pace: Pace) -> float:
        """Return the time of sweeps and insertions at all numbers of particles up to `n`."""
        sweeps = config.equilibration_sweeps + config.n_frames * config.sweeps_between
        walkers = config.n_walkers + _SHARED_WALKERS
        insertions = config.n_walkers * config.n_frames * config.n_insertions
        return sum(
            (_SWEEP * sweeps * walkers * k + _INSERTION * insertions) * pace.md_step(k)
            for k in range(1, n + 1)
        )

    def figures(self, found: FreeEnergy, folder: Path) -> Iterator[Figure]:
        """Yield the chemical potential along the chain."""
        del folder
        facts = found.diagnostics
        if "box_length_sigma" in facts:  # results of 0.1.0 do not have it
            yield chain_figure(
                self.name,
                facts["beta_mu_ex"],
                facts["beta_mu_ex_std_err"],
                facts["box_length_sigma"],
                facts["first_n_where_insertion_fails"],
            )


ESTIMATORS = (BarChain(),)
