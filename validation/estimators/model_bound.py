r"""`model_bound`: the denoising bound of a model alone, E|grad ln q_s|^2 from below at all noise.

The target is the noise alone, z / s_eff, though the mix that training uses (`training.targets`)
fluctuates less at each level. For the exact score, what one frame x_0 gives with noise at all
levels together is

.. math:: \frac12 \int E_z \left[ 2 \nabla U \cdot z / s_{eff} - |\nabla U|^2 \right] d(s_{eff}^2)
          = \beta F_{ex} - \beta U_{LJ}(x_0),

for each x_0 by itself (the pointwise relation of Kong, Brekelmans and Ver Steeg, ICLR 2023, arXiv
2302.03792). So with the energy of the frame it is the same number for all frames: which frames
there are hardly matters. What is left of the error comes from the noise, and noise is cheap.

The integral over ln s is done by Gauss-Legendre quadrature. At each node, antithetic noise and
regression reduce the scatter of the average. The control variates are |z|^2 - 3N, and v.z / s_eff -
div v with v = `NoisedFluid.pair_field` at the noised positions. Their means are exactly zero: the
second one's by partial integration over z, which the `truncated` convention does not allow because
it jumps. A third is the frame's beta U_LJ, whose mean comes from all frames. Levels share frames,
so the standard error is that of what each frame contributes at all levels together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.free_energy import Diagnostics
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.reference_md.statistics import error_of_mean, mean_of_frames
from openmm_nti.references.noise import NOISE_MIN_SIGMA, effective_variance, log_noise_max
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.validation.analysis.regression import regression, require_finite, require_frames

Array = NDArray[np.float64]
_ATOMS_PER_BATCH = 2560
_FEWEST_FRAMES = 8
_FEWEST_PAIRS = 16  # of a level, to fit a mean and three slopes with


class ModelBoundDiagnostics(Diagnostics):
    """Facts about the bound of the model alone: what each level of noise adds to it, in kT."""

    model_config = ConfigDict(protected_namespaces=())

    mean_energy_kt: float
    mean_energy_err: float
    noise_sigma: list[float]
    contribution_kt: list[float]
    contribution_err: list[float]
    bound: Literal["lower"]
    model_bound: float
    model_bound_err: float
    network: str


@dataclass(frozen=True)
class ModelBound:
    """A lower bound on beta F_ex with its standard error, in kT, and its facts."""

    value: float
    std_err: float
    diagnostics: ModelBoundDiagnostics


@dataclass(frozen=True)
class Frames:
    """Positions (F, N, 3) in sigma, the box (3,), and beta U_LJ minus its mean (F,)."""

    positions: Tensor
    box: Tensor
    energies: Array


@takes_execution
def model_bound(
    model: NoisedFluid, ensemble: Ensemble, n_levels: int, n_pairs: int, execution: Execution
) -> ModelBound:
    """Return a lower bound on beta F_ex by the model alone; `denoising_bound` has the rest.

    Parameters
    ----------
    model
        Any `LambdaHamiltonian` or `Denoiser` of the ensemble's pair potential.
    ensemble
        Decorrelated frames of the interacting fluid.
    n_levels, n_pairs
        Levels of noise, and antithetic pairs of noised frames at each, on average.
    execution
        Its folder keeps the result below `bound`.

    Raises
    ------
    ValueError
        If there are fewer than 8 different
        frames, or a gradient is not finite.
    """
    model = fit_model(model, ensemble.state)
    require_frames("denoising bound", ensemble.positions_sigma, _FEWEST_FRAMES)
    found = execution.folder("bound").stored(
        "model",
        [model, ensemble, n_levels, n_pairs],
        lambda: _integral(model, ensemble, n_levels, n_pairs, execution),
    )
    value = float(found["value"])
    spread = float(found["spread"])
    std_err = error_of_mean(spread, ensemble.n_independent) if spread > 0 else math.inf
    mean_energy, mean_energy_err = mean_of_frames(
        ensemble.reduced_potentials, ensemble.n_independent
    )
    return ModelBound(
        value,
        std_err,
        ModelBoundDiagnostics(
            mean_energy_kt=mean_energy,
            mean_energy_err=mean_energy_err,
            noise_sigma=found["noise_sigma"].tolist(),
            contribution_kt=found["contribution_kt"].tolist(),
            contribution_err=found["contribution_err"].tolist(),
            bound="lower",
            model_bound=value,
            model_bound_err=std_err,
            network=model.network_config.kind if model.network_config else "none",
        ),
    )


def _integral(
    model: NoisedFluid, ensemble: Ensemble, n_levels: int, n_pairs: int, execution: Execution
) -> dict[str, Array]:
    """Return the bound, its spread between frames, and what each level contributes."""
    energies = ensemble.reduced_potentials
    positions = torch.as_tensor(ensemble.positions_sigma, dtype=torch.float64)
    box = box_of(ensemble.state)
    frames = Frames(positions, box, energies - energies.mean())
    nodes, weights = np.polynomial.legendre.leggauss(n_levels)
    low = math.log(NOISE_MIN_SIGMA)
    high = float(log_noise_max(box))
    log_s = low + 0.5 * (high - low) * (nodes + 1.0)
    # d(s_eff^2) = 2 s^2 d(ln s), and the bound has a factor 1/2.
    weights = weights * 0.5 * (high - low) * np.exp(2.0 * log_s)
    generator = execution.torch_random("bound", ensemble.state.label)
    means, errors, slopes, pulls = _all_levels(
        execution.place(model), frames, log_s, weights, n_pairs, generator, execution
    )
    of_frames = (1.0 + weights @ slopes) * frames.energies / energies.size + weights @ pulls
    return {
        "value": np.asarray(energies.mean() + weights @ means),
        "spread": np.linalg.norm(of_frames) * np.sqrt(energies.size),
        "noise_sigma": np.exp(log_s),
        "contribution_kt": weights * means,
        "contribution_err": weights * errors,
    }


def _all_levels(
    model: NoisedFluid,
    frames: Frames,
    log_s: Array,
    weights: Array,
    n_pairs: int,
    generator: torch.Generator,
    execution: Execution,
) -> tuple[Array, Array, Array, Array]:
    """Return `information` at every level: means, errors, slopes, all (K,), and pulls (K, F).

    A quarter of the effort finds how much each level adds to the error; the rest is shared out in
    that proportion. All levels take the same frames, as many times as they need, so that what a
    frame adds at one level it takes away at others. Only where a level hardly matters are some of
    the frames enough.
    """
    order = torch.randperm(len(frames.positions), generator=generator)
    order = order[: max(_FEWEST_PAIRS, n_pairs)]
    pilot = order[torch.arange(max(_FEWEST_PAIRS, n_pairs // 4)) % len(order)]
    spreads = weights * [information(model, frames, pilot, level, generator)[1] for level in log_s]
    wanted = 0.75 * n_pairs * len(log_s) * spreads / (spreads.sum() or 1.0)
    times = np.rint(wanted / len(order))
    fewest = np.maximum(_FEWEST_PAIRS, np.rint(wanted))
    sizes = np.where(times > 0, times * len(order), fewest).astype(int)
    parts = [order[torch.arange(size) % len(order)] for size in sizes]
    levels = execution.track(list(zip(log_s, parts, strict=True)), "noise levels")
    fits = [information(model, frames, part, level, generator) for level, part in levels]
    means, errors, slopes, pulls = (np.array(column) for column in zip(*fits, strict=True))
    return means, errors, slopes, pulls


def information(
    model: NoisedFluid,
    frames: Frames,
    chosen: Tensor,
    log_s: float,
    generator: torch.Generator,
) -> tuple[float, float, float, Array]:
    """Return 2 E[grad U . z / s_eff] - E|grad U|^2 at one noise level, from `chosen` frames (n,).

    There is one antithetic pair of noised frames for each. Returned are the mean, its standard
    error, its slope on the energies, and by how much each frame moves the mean, (F,).
    """
    n_frames, n_particles = frames.positions.shape[:2]
    log_noise = torch.tensor(log_s, dtype=torch.float64)
    spread = float(effective_variance(log_noise).sqrt())
    smooth = model.end.is_continuous
    columns = []
    for part in chosen.split(max(1, _ATOMS_PER_BATCH // (2 * n_particles))):
        clean = frames.positions[part]
        z = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
        noise = torch.cat([z, -z])
        noised = clean.repeat(2, 1, 1) + spread * noise
        levels = log_noise.expand(2 * len(part))
        gradient = model.gradient(noised, frames.box, levels)
        sums = [
            (gradient * (2.0 / spread * noise - gradient)).sum((1, 2)),
            noise.square().sum((1, 2)) - 3.0 * n_particles,
        ]
        if smooth:
            field, divergence = model.pair_field(noised, frames.box, levels)
            sums.append((field * noise).sum((1, 2)) / spread - divergence)
        columns.append(torch.stack(sums, dim=1).reshape(2, len(part), -1).mean(0))
    table = torch.cat(columns).numpy()
    advice = "train the network longer, and look for overlapping particles in the frames"
    require_finite("denoising bound", advice, products_of_gradients=table)
    controls = np.column_stack([table[:, 1:], frames.energies[chosen.numpy()]])
    mean, error, slopes, pulls = regression(table[:, 0], controls)
    of_frames = np.bincount(chosen.numpy(), weights=pulls, minlength=n_frames)
    return mean, error, float(slopes[-1]), of_frames.astype(np.float64)
