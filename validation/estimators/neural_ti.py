r"""Neural TI as published: thermodynamic integration over the model's own reverse diffusion.

Samples are denoised from lambda = 0 to 1 (`reverse_diffusion`), and beta F_ex = int_0^1
<dU/dlambda> dlambda along the way (Mate, Fleuret, Bereau, arXiv 2406.02313). Trajectories are
independent, so the error is that of their separate integrals.

A corrector brings the samples nearer to exp(-U), whose dU/dlambda is averaged: in the limit of many
steps the integral is exact, for any model. With few, the samples lag behind the path, by an error
that is not in the standard error. `denoising_bound` and `path_weights` are not misled by it. The
lag comes from where dU/dlambda scatters. So with a corrector the levels are spaced by thermodynamic
length (Sivak, Crooks, Phys. Rev. Lett. 108, 190602 (2012), with one relaxation time for all
lambda), which a few short trajectories measure beforehand.

Along a path dU = dU/dlambda dlambda + grad U . dx. The random part of the last term, the sum of
grad U(x_k) . (noise of the step), has mean zero for any model. Regression on it, by stretches of
the path, removes most of the scatter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import NO_ERROR, Diagnostics, FreeEnergy, Verdict
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.runtime.stored import read_arrays, write_arrays
from openmm_nti.settings import Settings
from openmm_nti.validation.analysis.regression import error_of_mean, regressed_mean, require_finite
from openmm_nti.validation.estimators.base import Estimator, Job
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.plots.figure import Figure
from openmm_nti.validation.plots.profiles import profile_figure
from openmm_nti.validation.sampling.reverse_diffusion import ReverseDiffusion

Array = NDArray[np.float64]
FILE = "neural_ti.npz"  # in the state's folder, for the report
_ATOMS_PER_BATCH = 1280
_N_STRETCHES = 8  # of the path, each with its own slope in the regression
_PILOT_LEVELS = 50
_PILOT_SAMPLES = 16
_UNIFORM_SHARE = 0.25  # of the levels, wherever the others are
_ENERGY_OVER_GRADIENT = 1.3  # cost of energy, gradient and dU/dlambda together
_ADVICE = (
    "samples may lag behind the path by more than the error bar; "
    "take more n_steps, or mbar_neural, which is exact for any network"
)


class NeuralTIConfig(Settings):
    """Effort spent on reverse diffusion."""

    n_samples: int = Field(
        default=96, ge=4, le=1_000_000, description="Independent reverse trajectories."
    )
    n_steps: int = Field(
        default=400,
        ge=10,
        le=1_000_000,
        description="Noise levels, where dU/dlambda scatters the closest; equidistant in lambda "
        "without a corrector.",
    )
    corrector_steps: int = Field(
        default=5,
        ge=0,
        le=1000,
        description="Langevin steps at every level after the denoising step; the paper has none.",
    )

    @property
    def n_evaluations(self) -> int:
        """Gradients of the model at one configuration each, those that find the levels included."""
        pilot = _PILOT_SAMPLES * (_PILOT_LEVELS + 1) if self.corrector_steps else 0
        return (self.n_samples * (self.n_steps + 1) + pilot) * (1 + self.corrector_steps)


class NeuralTIDiagnostics(Diagnostics):
    """Facts about the integral over reverse diffusion; errors are in kT."""

    n_samples: int
    n_steps: int
    corrector_steps: int
    n_evaluations: int
    statistical_err: float
    discretisation_err: float
    plain_mean_err: float


@dataclass(frozen=True)
class _Batch:
    """Some of the trajectories."""

    number: int
    n_samples: int


@takes_execution
def estimate(
    model: LambdaHamiltonian, state: StatePoint, config: NeuralTIConfig, execution: Execution
) -> FreeEnergy:
    """Return beta F_ex by reverse diffusion and thermodynamic integration; method `neural_ti`.

    Parameters
    ----------
    model
        A trained `LambdaHamiltonian` of the state's pair potential.
    state
        State point.
    config
        Effort.
    execution
        Its folder receives neural_ti.npz: `lambdas` (n_steps + 1,), `dudl_mean` and `dudl_err` in
        kT, and the final samples `positions_sigma` (n_samples, N, 3). Levels and finished batches
        are kept below it.

    Raises
    ------
    ValueError
        If a trajectory runs into NaN.
    """
    model = fit_model(model, state)
    inputs = [model, state, config]
    lambdas = execution.folder("neural_ti").stored(
        "levels", inputs, lambda: {"lambdas": _levels(model, state, config, execution)}
    )["lambdas"]
    size = max(1, _ATOMS_PER_BATCH // state.n_particles)
    sizes = [min(size, config.n_samples - start) for start in range(0, config.n_samples, size)]
    diffusion = ReverseDiffusion(model, state, lambdas, config.corrector_steps)
    batches = execution.map_stored(
        partial(_run_batch, diffusion, execution),
        [_Batch(number, count) for number, count in enumerate(sizes)],
        name="neural_ti",
        inputs=[*inputs, lambdas],
        description="reverse diffusion",
    )
    arrays = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    require_finite("neural_ti", "take more n_steps, or train the network longer", **arrays)
    dudl = arrays["dudl"]
    if execution.directory is not None:
        profile = {
            "lambdas": lambdas,
            "dudl_mean": dudl.mean(axis=0),
            "dudl_err": dudl.std(axis=0, ddof=1) / math.sqrt(len(dudl)),
            "positions_sigma": arrays["positions_sigma"],
        }
        write_arrays(execution.directory / FILE, profile)
    return _integrate(lambdas, dudl, arrays["work"], state, config)


@takes_execution
def sample(
    model: LambdaHamiltonian, state: StatePoint, config: NeuralTIConfig, execution: Execution
) -> Array:
    """Return positions (n_samples, N, 3) in sigma by reverse diffusion, wrapped into the box."""
    model = fit_model(model, state)
    lambdas = _levels(model, state, config, execution)
    diffusion = ReverseDiffusion(execution.place(model), state, lambdas, config.corrector_steps)
    generator = execution.torch_random("reverse", 0)
    bar = partial(execution.track, description="reverse diffusion")
    return diffusion.run(config.n_samples, generator, bar).positions_sigma


def _levels(
    model: LambdaHamiltonian, state: StatePoint, config: NeuralTIConfig, execution: Execution
) -> Array:
    """Return lambda of the noise levels, ascending from 0 to 1, (n_steps + 1,)."""
    if not config.corrector_steps:
        return np.linspace(0.0, 1.0, config.n_steps + 1)
    coarse = np.linspace(0.0, 1.0, _PILOT_LEVELS + 1)
    pilot = ReverseDiffusion(execution.place(model), state, coarse, config.corrector_steps)
    bar = partial(execution.track, description="placing levels")
    dudl = pilot.run(_PILOT_SAMPLES, execution.torch_random("levels"), bar).dudl
    scatter = dudl.std(axis=0, ddof=1) + 1e-9  # equidistant where nothing scatters
    length = np.concatenate([[0.0], np.cumsum(scatter[1:] + scatter[:-1])])
    place = _UNIFORM_SHARE * coarse + (1.0 - _UNIFORM_SHARE) * length / length[-1]
    return np.asarray(np.interp(np.linspace(0.0, 1.0, config.n_steps + 1), place, coarse))


def _run_batch(
    diffusion: ReverseDiffusion, execution: Execution, batch: _Batch
) -> dict[str, Array]:
    generator = execution.torch_random("reverse", batch.number)
    diffusion = replace(diffusion, model=execution.place(diffusion.model))
    return diffusion.run(batch.n_samples, generator)._asdict()


def _integrate(
    lambdas: Array, dudl: Array, work: Array, state: StatePoint, config: NeuralTIConfig
) -> FreeEnergy:
    """Integrate each trajectory by itself; half of the levels show the error of the integral."""
    integrals = np.asarray(np.trapezoid(dudl, lambdas, axis=1))
    coarse = np.trapezoid(dudl[:, ::2], lambdas[::2], axis=1) if len(lambdas) % 2 else integrals
    n_stretches = min(_N_STRETCHES, len(integrals) // 8)
    stretches = np.array_split(np.arange(work.shape[1]), n_stretches) if n_stretches else []
    controls = np.column_stack(
        [np.zeros(len(integrals)), *(work[:, steps].sum(axis=1) for steps in stretches)]
    )
    value, statistical, _ = regressed_mean(integrals, controls)
    # The trapezoidal error falls with the square of the spacing: a third of the change remains.
    discretisation = abs(regressed_mean(integrals - coarse, controls)[0]) / 3.0
    return FreeEnergy(
        value=value,
        std_err=math.hypot(statistical, discretisation),
        method="neural_ti",
        convention=state.convention,
        n_particles=state.n_particles,
        verdict=Verdict.good_if(0 < statistical < math.inf, _ADVICE, NO_ERROR),
        diagnostics=NeuralTIDiagnostics(
            n_samples=len(integrals),
            n_steps=config.n_steps,
            corrector_steps=config.corrector_steps,
            n_evaluations=config.n_evaluations,
            statistical_err=statistical,
            discretisation_err=discretisation,
            plain_mean_err=error_of_mean(integrals),
        ),
    )


def integral_converged(found: FreeEnergy) -> Verdict:
    """Return whether the steps of an integral over lambda are fine enough for its noise."""
    facts = found.diagnostics
    if not found.has_error:
        return Verdict("bad", "no: the data give no error")
    if not {"n_samples", "n_steps", "statistical_err", "discretisation_err"} <= set(facts.keys()):
        return found.verdict  # results of another version
    noise, steps = facts["statistical_err"], facts["discretisation_err"]
    text = (
        f"{facts['n_samples']} samples leave {noise:.2g} kT, {facts['n_steps']} steps {steps:.2g} "
        "kT"
    )
    few_steps = Verdict("warn", f"hardly: {text}; take more steps")
    return Verdict.good_if(steps <= noise and noise > 0, f"yes: {text}", few_steps)


class NeuralTI(Estimator):
    """The published estimate."""

    name = "neural_ti"
    section = "neural_ti"
    Config = NeuralTIConfig
    Diagnostics = NeuralTIDiagnostics
    kind = "model"
    needs = frozenset({"energy"})
    files = (FILE,)
    summary = "Neural TI as published; as good as the network"
    in_runs = True
    order = 40

    def estimate(self, job: Job, config: NeuralTIConfig) -> FreeEnergy:
        """Return beta F_ex by reverse diffusion."""
        return estimate(job.model, job.state, config, job.execution)

    def seconds(self, config: NeuralTIConfig, n: int, pace: Pace) -> float:
        """Return about how many CPU seconds the trajectories take."""
        return _ENERGY_OVER_GRADIENT * config.n_evaluations * pace.gradient(n)

    def evaluations(self, config: NeuralTIConfig, found: FreeEnergy) -> int:
        """Return the number of gradients of the model."""
        del found
        return config.n_evaluations

    def converged(self, found: FreeEnergy) -> Verdict:
        """Return whether the steps are fine enough for the noise."""
        return integral_converged(found)

    def figures(self, found: FreeEnergy, folder: Path) -> Iterator[Figure]:
        """Yield the profile of dU/dlambda along reverse diffusion."""
        if (folder / FILE).is_file():
            names = ("lambdas", "dudl_mean", "dudl_err")
            arrays: dict[str, Any] = read_arrays(folder / FILE, names)
            yield profile_figure(found.method, *(arrays[name] for name in names))


ESTIMATORS = (NeuralTI(),)
