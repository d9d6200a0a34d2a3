r"""Neural TI over noised data: the published estimate with reference frames in place of reverse
diffusion.

.. math:: \beta F_{ex} = \int_0^1 \langle \partial U / \partial \lambda \rangle_{q_\lambda} \, d\lambda ,

q_lambda being the distribution of reference frames under the noise of lambda. There is no sampler
that could fall behind, and no time step; but q_lambda is the ensemble of U(., lambda) only where
the score is exact, so the estimate misses by the network's error, as `neural_ti_bound` of the same
Hamiltonian does, and is no bound (B. Mate, F. Fleuret and T. Bereau, J. Phys. Chem. Lett. 15, 11395
(2024), train on these samples).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from openmm_nti.ensemble import Ensemble
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.model_files import check_model_fits
from openmm_nti.runtime.tasks import derive_seed, track
from openmm_nti.validation.sampling.noised_frames import dudl_of_frames, noise_of

Array = NDArray[np.float64]


class NoisedTIConfig(BaseModel):
    """Effort spent on dU/dlambda of noised data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_levels: int = Field(
        default=64, ge=8, description="Intervals of the trapezoidal rule, equidistant in lambda."
    )
    n_frames: int = Field(
        default=128,
        ge=8,
        description="Frames, each noised by +z and by -z at every level; all where there are "
        "fewer.",
    )


def estimate(
    model: LambdaHamiltonian,
    ensemble: Ensemble,
    config: NoisedTIConfig,
    *,
    seed: int,
    progress: bool = False,
) -> FreeEnergy:
    """Beta F_ex from dU/dlambda of noised data; method `neural_ti_noised`.

    Parameters
    ----------
    model
        Any `LambdaHamiltonian` of the ensemble's pair potential.
    ensemble
        Decorrelated frames of the interacting fluid.
    config
        Effort.
    seed
        Of the noise and the choice of frames.
    progress
        Show a progress bar with the time left.

    Returns
    -------
    FreeEnergy
        Diagnostics: the profile (`lambdas`, `dudl_mean`, `dudl_std_err`, in kT), and both parts of
        the error.

    Raises
    ------
    ValueError
        If model and ensemble are of different pair potentials, or there are fewer than 8 frames.
    """
    state = ensemble.state
    check_model_fits(model, state)
    if ensemble.n_frames < 8:
        raise ValueError(
            f"{ensemble.n_frames} frames are too few for an error: 8 or more are needed"
        )
    generator = torch.Generator().manual_seed(derive_seed(seed, "noised data", state.label))
    chosen = torch.randperm(ensemble.n_frames, generator=generator)[: config.n_frames]
    frames = torch.as_tensor(ensemble.positions_sigma)[chosen]
    lambdas = np.linspace(0.0, 1.0, config.n_levels + 1)
    dudl = np.empty((len(frames), len(lambdas)))
    for level, lam in track(list(enumerate(lambdas)), "noised data", shown=progress):
        kick = noise_of(state, lam) * torch.randn(
            frames.shape, generator=generator, dtype=torch.float64
        )
        pair = dudl_of_frames(model, torch.cat([frames + kick, frames - kick]), state, lam)
        dudl[:, level] = pair.reshape(2, -1).mean(axis=0)
    integrals = np.trapezoid(dudl, lambdas, axis=1)
    used = np.union1d(np.arange(0, len(lambdas), 2), len(lambdas) - 1)
    changes = integrals - np.trapezoid(dudl[:, used], lambdas[used], axis=1)
    scale = 1.0 / math.sqrt(len(frames))
    statistical = float(integrals.std(ddof=1)) * scale
    # The rule's error falls with the square of the spacing: a third of what half the levels change,
    # beyond its noise.
    beyond = max(0.0, abs(float(changes.mean())) - 2.0 * float(changes.std(ddof=1)) * scale)
    discretisation = beyond / 3.0
    return FreeEnergy(
        value=float(integrals.mean()),
        std_err=math.hypot(statistical, discretisation),
        method="neural_ti_noised",
        convention=state.convention,
        n_particles=state.n_particles,
        diagnostics={
            "n_samples": len(frames),
            "n_steps": config.n_levels,
            "statistical_err": statistical,
            "discretisation_err": discretisation,
            "lambdas": lambdas.tolist(),
            "dudl_mean": dudl.mean(axis=0).tolist(),
            "dudl_std_err": (dudl.std(axis=0, ddof=1) * scale).tolist(),
            "verdict": "carries the network's error, which its error bar does not show; "
            "mbar_neural and path_bar are exact for any network",
        },
    )
