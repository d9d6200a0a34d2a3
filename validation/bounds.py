r"""Lower bound on the excess free energy by denoising alone (de Bruijn's identity).

With I(q_s) = E|grad ln q_s|^2 of the reference data under noise of variance s_eff^2,

.. math:: \beta F_{ex} = \langle \beta U_{LJ} \rangle + \frac12 \int I(q_s) \, d(s_{eff}^2), \qquad
          I(q_s) \ge 2 \, E[\nabla U \cdot g^*] - E|\nabla U|^2

for any model gradient and any unbiased target g* of the true one (`training.targets`). No simulation and no dU/dlambda
is needed, the result never exceeds beta F_ex beyond its statistical error, and its gap is the model's whole error:
1/2 int E|grad U - grad U*|^2 d(s_eff^2), second order in the score.

The integral over ln s is done by Gauss-Legendre quadrature; at each node antithetic noise and regression cut the noise
of the average: on |z|^2 - 3N and on |beta grad U_LJ|^2 - beta lap U_LJ, whose means are exactly zero (the second by
partial integration, for a potential with continuous forces), and on the frame's beta U_LJ, whose mean comes from all
frames. A frame of high energy has its own share of the integral, so the standard error is that of their sum.

What is left of the gap is measured by tethered chains (`tethered`). They raise the bound, which stays one, and give an
estimate of beta F_ex that is exact for any model: `neural_ti_tethered`.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import fingerprint, read_json, write_json
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.noise import NOISE_MIN_SIGMA, log_noise_max
from openmm_nti.model_files import check_model_fits, weights_fingerprint
from openmm_nti.state import StatePoint
from openmm_nti.tasks import derive_seed, track
from openmm_nti.training.targets import CleanData, antithetic_batch, frames_at_a_time
from openmm_nti.validation import tethered

Array = NDArray[np.float64]
_ATOMS_PER_BATCH = 2560
_MEMORY = 3.0  # errors between the bounds from below and above that chains which have forgotten their start rarely show


class BoundConfig(BaseModel):
    """Effort spent on the denoising bound."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_levels: int = Field(default=24, ge=4, description="Noise levels: nodes of the Gauss-Legendre quadrature in ln s.")
    n_pairs: int = Field(
        default=192,
        ge=8,
        description="Antithetic pairs of noised frames per level, on average; more where it counts.",
    )
    n_tethered: int = Field(
        default=48,
        ge=0,
        description="Noised frames whose tethered chains measure the model's gap and raise the bound; 0 for the model "
        "alone, as for the `truncated` convention.",
    )
    tethered_steps: int = Field(default=6000, ge=240, description="MD steps of each of the three chains of a frame.")

    @model_validator(mode="after")
    def _enough_for_an_error(self) -> BoundConfig:
        if 0 < self.n_tethered < 4:
            raise ValueError(f"n_tethered = {self.n_tethered} is too few for an error bar: take 0, or 4 at least")
        return self

    def measures_gap(self, state: StatePoint) -> bool:
        """Whether there are tethered chains at `state`: their forces must be the gradient of the energy."""
        return self.n_tethered > 0 and state.convention == "switched"


@dataclass(frozen=True)
class _Part:
    """An addend of beta F_ex, with its standard error, kT."""

    value: float
    std_err: float


def estimate(
    model: NoisedFluid,
    ensemble: Ensemble,
    config: BoundConfig,
    *,
    seed: int,
    directory: str | Path | None = None,
    workers: int = 1,
    progress: bool = False,
) -> FreeEnergy:
    """Lower bound on beta F_ex, from denoising by the model and then by tethered chains that begin where it ends.

    Parameters
    ----------
    model
        Any `LambdaHamiltonian` or `Denoiser` of the ensemble's pair potential.
    ensemble
        Decorrelated frames of the interacting fluid; frames the model was trained on make the bound look better than
        it is by the amount of its overfitting.
    config
        Effort.
    seed
        Of the noise, the choice of frames, and the chains.
    directory
        Keeps what is finished, from which an interrupted estimate goes on; None leaves nothing on disk.
    workers
        Processes to share the tethered chains out to.
    progress
        Show progress bars with the time left.

    Returns
    -------
    FreeEnergy
        Method `neural_ti_bound`. Diagnostics: `model_bound` and `model_bound_err`, what the model has alone;
        `noise_sigma` (levels), `contribution_kt` and `contribution_err` (what each adds to that); `mean_energy_kt`;
        and where there are tethered chains those of `estimate_tethered`.

    Raises
    ------
    ValueError
        If model and ensemble are of different pair potentials.
    """
    alone, gap = _parts(model, ensemble, config, seed, directory, workers, progress)
    if gap is None:
        return alone
    added = _Part(*gap.integral(gap.lower))
    return _sum(alone, added, "neural_ti_bound", {**alone.diagnostics, **_of_chains(alone, gap, config)})


def estimate_tethered(
    model: NoisedFluid,
    ensemble: Ensemble,
    config: BoundConfig,
    *,
    seed: int,
    directory: str | Path | None = None,
    workers: int = 1,
    progress: bool = False,
) -> FreeEnergy:
    """beta F_ex from the model's bound and its gap as measured by tethered chains: exact for any model.

    Parameters
    ----------
    model, ensemble, config, seed, directory, workers, progress
        As for `estimate`, whose samples it shares.

    Returns
    -------
    FreeEnergy
        Method `neural_ti_tethered`. Diagnostics: `lower`, `upper` and their errors, between which it lies but for
        noise; `gap` with its error, what the model lacks, and where: `gap_density_kt` with `gap_density_err` by unit of
        ln s at `gap_noise_sigma`; `n_tethered`, `tethered_steps`; and a `verdict` on whether the chains were long
        enough.

    Raises
    ------
    ValueError
        If model and ensemble are of different pair potentials, or there are no tethered chains.
    """
    alone, gap = _parts(model, ensemble, config, seed, directory, workers, progress)
    if gap is None:
        raise ValueError("neural_ti_tethered needs tethered chains: n_tethered above 0, and the `switched` convention")
    return _sum(alone, _Part(*gap.integral(gap.middle)), "neural_ti_tethered", _of_chains(alone, gap, config))


def _parts(
    model: NoisedFluid,
    ensemble: Ensemble,
    config: BoundConfig,
    seed: int,
    directory: str | Path | None,
    workers: int,
    progress: bool,
) -> tuple[FreeEnergy, tethered.Gap | None]:
    """The bound of the model alone, and what tethered chains say about its gap."""
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="openmm-nti-") as temporary:
            return _parts(model, ensemble, config, seed, temporary, workers, progress)
    check_model_fits(model, ensemble.state)
    effort = [config.n_levels, config.n_pairs]
    data = [ensemble.state.model_dump(), float(ensemble.positions_nm.sum()), len(ensemble.positions_nm)]
    path = Path(directory) / "bound" / f"{fingerprint([data, effort, seed, weights_fingerprint(model)])}.json"
    if not path.is_file():
        write_json(path, _model_bound(model, ensemble, config, seed, progress).to_dict())
    alone = FreeEnergy.from_dict(read_json(path))
    if not config.measures_gap(ensemble.state):
        return alone, None
    gap = tethered.measure(
        model, ensemble, config.n_tethered, config.tethered_steps,
        seed=seed, directory=Path(directory), workers=workers, progress=progress,
    )  # fmt: skip
    return alone, gap


def _sum(alone: FreeEnergy, added: _Part, method: str, diagnostics: dict[str, object]) -> FreeEnergy:
    return FreeEnergy(
        value=alone.value + added.value,
        std_err=math.hypot(alone.std_err, added.std_err),
        method=method,
        convention=alone.convention,
        n_particles=alone.n_particles,
        diagnostics=diagnostics,
    )


def _of_chains(alone: FreeEnergy, gap: tethered.Gap, config: BoundConfig) -> dict[str, object]:
    """What the tethered chains say, as diagnostics."""
    lower, middle, upper = (_Part(*gap.integral(each)) for each in (gap.lower, gap.middle, gap.upper))
    noise, density, errors = gap.profile(gap.middle)
    memory = _Part(*gap.integral(gap.upper - gap.lower))
    remembers = memory.value > _MEMORY * memory.std_err
    between = f"{memory.value:.2g} +- {memory.std_err:.2g} kT between the chains' bounds"
    return {
        "n_tethered": config.n_tethered,
        "tethered_steps": config.tethered_steps,
        "gap": middle.value,
        "gap_err": middle.std_err,
        "gap_noise_sigma": noise.tolist(),
        "gap_density_kt": density.tolist(),
        "gap_density_err": errors.tolist(),
        "lower": alone.value + lower.value,
        "lower_err": math.hypot(alone.std_err, lower.std_err),
        "upper": alone.value + upper.value,
        "upper_err": math.hypot(alone.std_err, upper.std_err),
        "verdict": f"poor: {between}; take more tethered_steps" if remembers else f"good ({between})",
    }


def _model_bound(model: NoisedFluid, ensemble: Ensemble, config: BoundConfig, seed: int, progress: bool) -> FreeEnergy:
    """The bound by the model alone."""
    data = CleanData.from_ensemble(ensemble, model, "cpu")
    generator = torch.Generator().manual_seed(derive_seed(seed, "bound", ensemble.state.label))
    nodes, weights = np.polynomial.legendre.leggauss(config.n_levels)
    low, high = math.log(NOISE_MIN_SIGMA), float(log_noise_max(data.box))
    log_s = low + 0.5 * (high - low) * (nodes + 1.0)
    # d(s_eff^2) = 2 s^2 d(ln s), and the bound has a factor 1/2.
    weights = weights * 0.5 * (high - low) * np.exp(2.0 * log_s)
    energies = np.asarray(ensemble.reduced_potentials)
    features = torch.stack([torch.as_tensor(energies), _force_identity(model, data)], dim=1)
    means_of_features = features.mean(0)
    if ensemble.state.convention == "switched":
        means_of_features[1] = 0.0  # exactly, where the force has no jump
    means, errors, slopes_of_levels = _all_levels(
        model, data, features - means_of_features, log_s, weights, config, generator, progress
    )
    slopes = weights @ slopes_of_levels
    if ensemble.state.convention == "switched":
        slopes[1] = 0.0
    per_frame = energies + features.numpy() @ slopes
    frame_error = per_frame.std(ddof=1) / math.sqrt(energies.size)
    value = float(energies.mean() + weights @ means)
    std_err = float(math.hypot(frame_error, np.linalg.norm(weights * errors)))
    return FreeEnergy(
        value=value,
        std_err=std_err,
        method="neural_ti_bound",
        convention=ensemble.state.convention,
        n_particles=ensemble.state.n_particles,
        diagnostics={
            "mean_energy_kt": float(energies.mean()),
            "mean_energy_err": float(energies.std(ddof=1) / math.sqrt(energies.size)),
            "frame_err": float(frame_error),
            "noise_sigma": np.exp(log_s).tolist(),
            "contribution_kt": (weights * means).tolist(),
            "contribution_err": (weights * errors).tolist(),
            "bound": "lower",
            "model_bound": value,
            "model_bound_err": std_err,
            "network": model.network_config.kind if model.network_config else "none",
        },
    )


def _all_levels(
    model: NoisedFluid,
    data: CleanData,
    features: Tensor,
    log_s: Array,
    weights: Array,
    config: BoundConfig,
    generator: torch.Generator,
    progress: bool,
) -> tuple[Array, Array, Array]:
    """`_information` at every level: means (K,), errors (K,), slopes (K, 2).

    A quarter of the effort finds how much each level adds to the error; the rest is shared out in that proportion.
    """
    n_pilot = max(8, config.n_pairs // 4)
    pilot = np.array([_information(model, data, features, level, n_pilot, generator)[1] for level in log_s])
    shares = weights * pilot / (weights * pilot).sum()
    n_pairs = np.maximum(8, np.rint(0.75 * config.n_pairs * len(log_s) * shares)).astype(int)
    levels = track(list(zip(log_s, n_pairs, strict=True)), "noise levels", shown=progress)
    fits = [_information(model, data, features, level, int(n), generator) for level, n in levels]
    means, errors, slopes = zip(*fits, strict=True)
    return np.array(means), np.array(errors), np.array(slopes)


def _information(
    model: NoisedFluid,
    data: CleanData,
    features: Tensor,
    log_s: float,
    n_pairs: int,
    generator: torch.Generator,
) -> tuple[float, float, Array]:
    """2 E[grad U . g*] - E|grad U|^2 at one noise level: mean, standard error, slopes on centred `features` (F, 2)."""
    n_frames, n_particles = data.positions.shape[0], data.positions.shape[1]
    order = [torch.randperm(n_frames, generator=generator) for _ in range(-(-n_pairs // n_frames))]
    frames = torch.cat(order)[:n_pairs]
    values, noise_squares = [], []
    for part in frames.split(max(1, _ATOMS_PER_BATCH // (2 * n_particles))):
        levels = torch.full((len(part),), log_s, dtype=torch.float64)
        batch, z = antithetic_batch(data, part, levels, generator)
        gradient = model.gradient(batch.positions, batch.box, batch.log_s)
        values.append(batch.worth(gradient).reshape(2, -1).mean(0))
        noise_squares.append(z.square().sum((1, 2)) - 3.0 * n_particles)
    controls = torch.cat([torch.cat(noise_squares).unsqueeze(1), features[frames]], dim=1)
    mean, error, slopes = regressed_mean(torch.cat(values).numpy(), controls.numpy())
    return mean, error, slopes[1:]


def _force_identity(model: NoisedFluid, data: CleanData) -> Tensor:
    """|beta grad U_LJ|^2 - beta lap U_LJ of each frame, (F,), 1 / sigma^2: zero on average in equilibrium."""
    laplacian = torch.cat(
        [
            model.lennard_jones_laplacian(block, data.box)
            for block in data.positions.split(frames_at_a_time(data.positions))
        ]
    )
    return data.gradient.square().sum((1, 2)) - laplacian


def regressed_mean(values: Array, controls: Array) -> tuple[float, float, Array]:
    """Mean of `values` (n,) where `controls` (n, c) are zero, by linear regression; its standard error; slopes (c,)."""
    scale = np.maximum(controls.std(axis=0), 1e-300)
    design = np.column_stack([np.ones(values.size), controls / scale])
    coefficients, *_ = np.linalg.lstsq(design, values, rcond=None)
    residual = values - design @ coefficients
    variance = residual @ residual / max(1, values.size - design.shape[1])
    error = math.sqrt(variance * np.linalg.pinv(design.T @ design)[0, 0])
    return float(coefficients[0]), error, coefficients[1:] / scale
