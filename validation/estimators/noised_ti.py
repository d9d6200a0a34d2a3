r"""Neural TI over noised data: the published estimate with reference frames, not reverse diffusion.

.. math::
    \beta F_{ex} = \int_0^1 \langle \partial U / \partial \lambda \rangle_{q_\lambda} \, d\lambda ,

q_lambda being the distribution of reference frames with the noise of lambda. There is no sampler
that could fall behind, and no time step. But q_lambda is the ensemble of U(., lambda) only where
the score is exact. So the estimate misses by the network's error, as the denoising bound of the
same Hamiltonian does, and it is no bound (B. Mate, F. Fleuret and T. Bereau, J. Phys. Chem. Lett.
15, 11395 (2024), train on these samples).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from openmm_nti.ensemble import Ensemble
from openmm_nti.free_energy import NO_ERROR, Diagnostics, FreeEnergy, Verdict
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.reference_md.statistics import error_of_mean, is_constant
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.settings import Settings
from openmm_nti.validation.analysis.regression import require_finite, require_frames
from openmm_nti.validation.estimators.base import Estimator, Job
from openmm_nti.validation.estimators.neural_ti import integral_converged
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.plots.figure import Figure
from openmm_nti.validation.plots.profiles import profile_figure
from openmm_nti.validation.sampling.noised_frames import dudl_of_frames, noise_of

Array = NDArray[np.float64]
_FEWEST_FRAMES = 8
_ADVICE = (
    "carries the network's error, which its error bar does not show; "
    "mbar_neural and path_bar are exact for any network"
)
_SLOPE_OVER_GRADIENT = 0.7  # cost of dU/dlambda alone


class NoisedTIConfig(Settings):
    """Effort spent on dU/dlambda of noised data."""

    n_levels: int = Field(
        default=64,
        ge=8,
        le=100_000,
        description="Intervals of the trapezoidal rule, equidistant in lambda.",
    )
    n_frames: int = Field(
        default=128,
        ge=8,
        le=10_000_000,
        description="Frames, each noised by +z and by -z at every level; all where there are "
        "fewer.",
    )


class NoisedTIDiagnostics(Diagnostics):
    """Facts about the integral over noised data; the profile and all errors are in kT."""

    n_samples: int
    n_steps: int
    statistical_err: float
    discretisation_err: float
    lambdas: list[float]
    dudl_mean: list[float]
    dudl_std_err: list[float]


@takes_execution
def estimate(
    model: LambdaHamiltonian, ensemble: Ensemble, config: NoisedTIConfig, execution: Execution
) -> FreeEnergy:
    """Return beta F_ex from dU/dlambda of noised data; method `neural_ti_noised`.

    Parameters
    ----------
    model
        Any `LambdaHamiltonian` of the ensemble's pair potential.
    ensemble
        Decorrelated frames of the interacting fluid.
    config
        Effort.
    execution
        Seed and progress.

    Returns
    -------
    FreeEnergy
        Its diagnostics are `NoisedTIDiagnostics`.

    Raises
    ------
    ValueError
        If there are fewer than 8 frames, or
        dU/dlambda is not finite.
    """
    model = fit_model(model, ensemble.state)
    require_frames("neural_ti_noised", ensemble.positions_sigma, _FEWEST_FRAMES)
    lambdas = np.linspace(0.0, 1.0, config.n_levels + 1)
    dudl = _slopes(model, ensemble, lambdas, config.n_frames, execution)
    require_finite("neural_ti_noised", "train the network longer", dudl=dudl)
    integrals = np.asarray(np.trapezoid(dudl, lambdas, axis=1))
    independent = len(dudl) * ensemble.n_independent / ensemble.n_frames
    spread = math.inf if is_constant(integrals) else float(integrals.std())
    statistical = error_of_mean(spread, independent)
    discretisation = _discretisation_error(dudl, lambdas)
    return FreeEnergy(
        value=float(integrals.mean()),
        std_err=math.hypot(statistical, discretisation),
        method="neural_ti_noised",
        convention=ensemble.state.convention,
        n_particles=ensemble.state.n_particles,
        verdict=Verdict.good_if(0 < statistical < math.inf, _ADVICE, NO_ERROR),
        diagnostics=NoisedTIDiagnostics(
            n_samples=len(dudl),
            n_steps=config.n_levels,
            statistical_err=statistical,
            discretisation_err=discretisation,
            lambdas=lambdas.tolist(),
            dudl_mean=dudl.mean(axis=0).tolist(),
            dudl_std_err=[error_of_mean(float(one), independent) for one in dudl.std(axis=0)],
        ),
    )


def _discretisation_error(dudl: Array, lambdas: Array) -> float:
    """Return the error of the trapezoidal rule for dU/dlambda (F, K) of frames, kT.

    It falls with the square of the spacing: it is a third of the change that half of the levels
    make, beyond the noise of that change.
    """
    used = np.union1d(np.arange(0, len(lambdas), 2), len(lambdas) - 1)
    integrals = np.trapezoid(dudl, lambdas, axis=1)
    changes = integrals - np.trapezoid(dudl[:, used], lambdas[used], axis=1)
    noise = float(changes.std(ddof=1)) * (1.0 / math.sqrt(len(dudl)))
    return max(0.0, abs(float(changes.mean())) - 2.0 * noise) / 3.0


def _slopes(
    model: LambdaHamiltonian,
    ensemble: Ensemble,
    lambdas: Array,
    n_frames: int,
    execution: Execution,
) -> Array:
    """Return dU/dlambda of frames with antithetic noise, (n_frames, levels), kT."""
    state, model = ensemble.state, execution.place(model)
    generator = execution.torch_random("noised data", state.label)
    chosen = torch.randperm(ensemble.n_frames, generator=generator)[:n_frames]
    frames = torch.as_tensor(ensemble.positions_sigma)[chosen]
    dudl = np.empty((len(frames), len(lambdas)))
    for level, lam in execution.track(list(enumerate(lambdas)), "noised data"):
        z = torch.randn(frames.shape, generator=generator, dtype=torch.float64)
        noise = noise_of(state, lam) * z
        pair = dudl_of_frames(model, torch.cat([frames + noise, frames - noise]), state, lam)
        dudl[:, level] = pair.reshape(2, -1).mean(axis=0)
    return dudl


class NeuralTINoised(Estimator):
    """The published integral over noised reference frames."""

    name = "neural_ti_noised"
    section = "neural_ti_noised"
    Config = NoisedTIConfig
    Diagnostics = NoisedTIDiagnostics
    kind = "model"
    needs = frozenset({"energy", "data"})
    summary = "Neural TI over noised data; as good as the network"
    order = 50

    def estimate(self, job: Job, config: NoisedTIConfig) -> FreeEnergy:
        """Return beta F_ex from noised data."""
        return estimate(job.model, job.ensemble, config, job.execution)

    def seconds(self, config: NoisedTIConfig, n: int, pace: Pace) -> float:
        """Return about how many CPU seconds dU/dlambda of all frames takes."""
        n_slopes = 2 * (config.n_levels + 1) * config.n_frames
        return _SLOPE_OVER_GRADIENT * n_slopes * pace.gradient(n)

    def evaluations(self, config: NoisedTIConfig, found: FreeEnergy) -> int:
        """Return the number of energies of the model."""
        return 2 * (config.n_levels + 1) * int(found.diagnostics["n_samples"])

    def converged(self, found: FreeEnergy) -> Verdict:
        """Return whether the levels are dense enough for the noise."""
        return integral_converged(found)

    def figures(self, found: FreeEnergy, folder: Path) -> Iterator[Figure]:
        """Yield the profile of dU/dlambda of noised data."""
        del folder
        facts = found.diagnostics
        if "dudl_mean" in facts:
            names = ("lambdas", "dudl_mean", "dudl_std_err")
            yield profile_figure(found.method, *(facts[name] for name in names))


ESTIMATORS = (NeuralTINoised(),)
