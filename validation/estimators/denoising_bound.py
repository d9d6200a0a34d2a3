r"""Lower bound on the excess free energy by denoising alone (de Bruijn's identity).

With I(q_s) = E|grad ln q_s|^2 of the reference data with noise of variance s_eff^2,

.. math::
    \beta F_{ex} = \langle \beta U_{LJ} \rangle + \frac12 \int I(q_s) \, d(s_{eff}^2), \qquad
    I(q_s) \ge 2 \, E[\nabla U \cdot g^*] - E|\nabla U|^2

for any model gradient and any unbiased target g* of the true one (see `model_bound`). It needs no
simulation and no dU/dlambda. The result never exceeds beta F_ex beyond its statistical error. Its
gap is the model's whole error, 1/2 int E|grad U - grad U*|^2 d(s_eff^2), second order in the score.

What is left of the gap is measured by harmonically restrained MD (`tethered`). It raises the bound,
which stays a bound. It also gives an estimate of beta F_ex that is free of the model's errors at
all noise that chains see: `NeuralTITethered`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, model_validator

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import NO_ERROR, NOT_JUDGED, Diagnostics, FreeEnergy, Verdict
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.settings import Settings
from openmm_nti.validation.estimators import tethered
from openmm_nti.validation.estimators.base import Bounds, Estimator, Job
from openmm_nti.validation.estimators.model_bound import (
    ModelBound,
    ModelBoundDiagnostics,
    model_bound,
)
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.plots.bounds import gap_figure
from openmm_nti.validation.plots.figure import Figure

# Chains that have forgotten their start rarely have more errors between their two bounds.
_MEMORY = 2.0
_LONGER_CHAINS = 1.8  # mean length of a chain over that on short tethers, trades included


class BoundConfig(Settings):
    """Effort spent on the denoising bound."""

    n_levels: int = Field(
        default=24,
        ge=4,
        le=10_000,
        description="Noise levels: nodes of the Gauss-Legendre quadrature in ln s.",
    )
    n_pairs: int = Field(
        default=768,
        ge=8,
        le=10_000_000,
        description="Antithetic pairs of noised frames per level, on average.",
    )
    n_tethered: int = Field(
        default=64,
        ge=0,
        le=1_000_000,
        description="Noised frames whose tethered chains measure the model's gap and raise the "
        "bound; 0 for the model alone, as for the `truncated` convention.",
    )
    tethered_steps: int = Field(
        default=6000,
        ge=240,
        le=100_000_000,
        description="MD steps of a frame's three chains; more on long tethers and below N = 160.",
    )

    @model_validator(mode="after")
    def _enough_for_an_error(self) -> BoundConfig:
        if 0 < self.n_tethered < 4:
            raise ValueError(
                f"n_tethered = {self.n_tethered} is too few for an error bar: take 0, or 4 at least"
            )
        return self

    def measures_gap(self, state: StatePoint) -> bool:
        """Return whether there are tethered chains at `state`, which need continuous forces."""
        return self.n_tethered > 0 and state.is_continuous


class BoundDiagnostics(tethered.ChainDiagnostics, ModelBoundDiagnostics):
    """Facts about a bound that tethered chains have raised."""


@takes_execution
def estimate(
    model: NoisedFluid, ensemble: Ensemble, config: BoundConfig, execution: Execution
) -> FreeEnergy:
    """Return a lower bound on beta F_ex, from the model and then from tethered chains.

    Parameters
    ----------
    model
        Any `LambdaHamiltonian` or `Denoiser` of the ensemble's pair potential.
    ensemble
        Decorrelated frames of the interacting fluid. Frames that the model was trained on make the
        bound look better than it is by the amount of overfitting.
    config
        Effort.
    execution
        Its folder keeps what is finished, from which an interrupted estimate goes on.

    Returns
    -------
    FreeEnergy
        With `BoundDiagnostics`, or `ModelBoundDiagnostics` where there are no tethered chains.

    Raises
    ------
    ValueError
        If model and ensemble are of different pair potentials, or samples are not finite.
    """
    alone, gap = _parts(model, ensemble, config, execution)
    if gap is None:
        return _free_energy(
            "neural_ti_bound", ensemble.state, alone.value, alone.std_err, alone.diagnostics
        )
    facts, verdict = from_chains(alone, gap, config.n_tethered, config.tethered_steps)
    all_facts = BoundDiagnostics(**alone.diagnostics.model_dump(), **facts.model_dump())
    return _free_energy(
        "neural_ti_bound", ensemble.state, facts.lower, facts.lower_err, all_facts, verdict
    )


@takes_execution
def estimate_tethered(
    model: NoisedFluid, ensemble: Ensemble, config: BoundConfig, execution: Execution
) -> FreeEnergy:
    """Return beta F_ex from the model's bound and its gap as tethered chains measure it.

    It is exact for a model whose errors reach into noise within `tethered.NOISE_SIGMA`; those that
    begin outside are not seen. Samples and arguments are those of `estimate`. Its error contains
    what chains from the model lack; its verdict says whether all were long enough.

    Raises
    ------
    ValueError
        If model and ensemble are of different pair potentials, or there are no tethered chains.
    """
    alone, gap = _parts(model, ensemble, config, execution)
    if gap is None:
        raise ValueError(
            "neural_ti_tethered needs tethered chains: n_tethered above 0, and the `switched` "
            "convention"
        )
    facts, verdict = from_chains(alone, gap, config.n_tethered, config.tethered_steps)
    std_err = math.hypot(alone.std_err, facts.gap_err, facts.gap_missing)
    return _free_energy(
        "neural_ti_tethered", ensemble.state, alone.value + facts.gap, std_err, facts, verdict
    )


def _free_energy(
    method: str,
    state: StatePoint,
    value: float,
    std_err: float,
    facts: Diagnostics,
    verdict: Verdict = NOT_JUDGED,
) -> FreeEnergy:
    return FreeEnergy(
        value=value,
        std_err=std_err,
        method=method,
        convention=state.convention,
        n_particles=state.n_particles,
        verdict=verdict,
        diagnostics=facts,
    )


def _parts(
    model: NoisedFluid, ensemble: Ensemble, config: BoundConfig, execution: Execution
) -> tuple[ModelBound, tethered.Gap | None]:
    """Return the bound of the model alone, and its gap if there are tethered chains."""
    model = fit_model(model, ensemble.state)
    alone = model_bound(model, ensemble, config.n_levels, config.n_pairs, execution)
    if not config.measures_gap(ensemble.state):
        return alone, None
    gap = tethered.measure(model, ensemble, config.n_tethered, config.tethered_steps, execution)
    return alone, gap


def from_chains(
    alone: ModelBound | FreeEnergy, gap: tethered.Gap, n_tethered: int, tethered_steps: int
) -> tuple[tethered.ChainDiagnostics, Verdict]:
    """Return the facts from tethered chains, and whether the chains were long enough."""
    lower, lower_err = gap.integral(gap.lower)
    middle, middle_err = gap.integral(gap.middle)
    upper, upper_err = gap.integral(gap.upper)
    memory, memory_err = gap.integral(gap.upper - gap.lower)
    noise, density, errors = gap.profile(gap.middle)
    facts = tethered.ChainDiagnostics(
        n_tethered=n_tethered,
        tethered_steps=tethered_steps,
        platform=gap.platform,
        gap=middle,
        gap_err=middle_err,
        gap_missing=max(0.0, lower - middle, (upper - middle) / math.sqrt(3.0)),
        gap_noise_sigma=noise.tolist(),
        gap_density_kt=density.tolist(),
        gap_density_err=errors.tolist(),
        lower=alone.value + lower,
        lower_err=math.hypot(alone.std_err, lower_err),
        upper=alone.value + upper,
        upper_err=math.hypot(alone.std_err, upper_err),
    )
    between = f"{memory:.2g} ± {memory_err:.2g} kT between the chains' bounds"
    if gap.is_constant:
        return facts, NO_ERROR
    otherwise = Verdict("warn", f"poor: {between}; take more tethered_steps")
    forgotten = 0 < memory_err < math.inf and memory <= _MEMORY * memory_err
    return facts, Verdict.good_if(forgotten, f"good ({between})", otherwise)


class _FromDenoising(Estimator):
    """An estimator from noised frames and tethered chains, which it shares with the other one."""

    section = "bound"
    Config = BoundConfig
    needs = frozenset({"model", "data"})
    in_runs = True

    def seconds(self, config: BoundConfig, n: int, pace: Pace) -> float:
        """Return about how many CPU seconds noised frames and tethered chains take."""
        chains = _LONGER_CHAINS * 3 * config.n_tethered * tethered.steps(config.tethered_steps, n)
        pairs = config.n_levels * config.n_pairs
        return 2.0 * pairs * pace.gradient(n) + chains * pace.md_step(n)

    def evaluations(self, config: BoundConfig, found: FreeEnergy) -> int:
        """Return the number of gradients of the model: each frame is noised by +z and by -z."""
        del found
        return 2 * config.n_levels * config.n_pairs


class NeuralTIBound(_FromDenoising):
    """The rigorous lower bound."""

    name = "neural_ti_bound"
    Diagnostics = ModelBoundDiagnostics  # with those of the chains where there are chains
    kind = "bound"
    summary = "Lower bound from denoising, by the network and then by tethered chains"
    order = 10

    def estimate(self, job: Job, config: BoundConfig) -> FreeEnergy:
        """Return the bound of the model, raised by tethered chains."""
        return estimate(job.score, job.ensemble, config, job.execution)

    def converged(self, found: FreeEnergy) -> Verdict:
        """Return how much the noise levels leave open."""
        facts = found.diagnostics
        if not found.has_error:
            return Verdict("bad", "no: the data give no error")
        if "noise_sigma" not in facts or "model_bound_err" not in facts:
            return super().converged(found)  # results of another version
        left = facts["model_bound_err"]
        text = f"{len(facts['noise_sigma'])} noise levels leave {left:.2g} kT"
        return Verdict.good_if(left > 0, f"yes: {text}", Verdict("bad", f"no: {text}"))

    def bounds(self, found: FreeEnergy) -> Bounds:
        """Return the bound itself."""
        return Bounds(lower=(found.value, found.std_err) if found.has_error else None)


class NeuralTITethered(_FromDenoising):
    """The bound with its gap measured; bounds from its chains are the other estimator's."""

    name = "neural_ti_tethered"
    Diagnostics = tethered.ChainDiagnostics
    kind = "model"
    summary = "That bound with its gap measured by tethered chains, from noise of 0.08 to 1 sigma"
    caveat = "the network's error at noise outside of the chains' range, or chains too short."
    order = 20

    def applies(self, config: BoundConfig, state: StatePoint) -> bool:
        """Return whether there are tethered chains at `state`."""
        return config.measures_gap(state)

    def estimate(self, job: Job, config: BoundConfig) -> FreeEnergy:
        """Return beta F_ex from the bound and its gap."""
        return estimate_tethered(job.score, job.ensemble, config, job.execution)

    def figures(self, found: FreeEnergy, folder: Path) -> Iterator[Figure]:
        """Yield where the model's gap lies."""
        del folder
        if "gap_noise_sigma" in found.diagnostics:
            yield gap_figure(found.diagnostics)


ESTIMATORS = (NeuralTIBound(), NeuralTITethered())
