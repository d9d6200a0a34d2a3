r"""The denoising bound of a model alone: E|grad ln q_s|^2 from below at each level of noise, and
its integral.

The target is the noise alone, z / s_eff, though the mix that training uses (`training.targets`)
fluctuates less at each level: for the exact score, what one frame x_0 gives under noise at all
levels together is

.. math:: \frac12 \int E_z \left[ 2 \nabla U \cdot z / s_{eff} - |\nabla U|^2 \right] d(s_{eff}^2)
          = \beta F_{ex} - \beta U_{LJ}(x_0),

for each x_0 by itself (the pointwise relation of Kong, Brekelmans and Ver Steeg, ICLR 2023, arXiv
2302.03792). So with the energy of the frame it is the same number for all of them: which frames
there are hardly matters, and what is left of the error is noise, of which there is as much as one
likes.

The integral over ln s is done by Gauss-Legendre quadrature. At each node antithetic noise and
regression cut the noise of the average: on |z|^2 - 3N and on v.z / s_eff - div v, where v is
`NoisedFluid.pair_field` at the noised positions, whose means are exactly zero (the second by
partial integration over z; not for `truncated`, which jumps), and on the frame's beta U_LJ, whose
mean comes from all frames. Levels share frames, so the standard error is that of what each frame
moves at all levels together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.references.noise import NOISE_MIN_SIGMA, effective_variance, log_noise_max
from openmm_nti.runtime.tasks import derive_seed, track
from openmm_nti.validation.analysis.regression import regression

Array = NDArray[np.float64]
_ATOMS_PER_BATCH = 2560
_FEWEST_PAIRS = 16  # of a level, to fit a mean and three slopes with


@dataclass(frozen=True)
class _Frames:
    """Positions (F, N, 3) in sigma, the box (3,), and beta U_LJ less its mean (F,)."""

    positions: Tensor
    box: Tensor
    energies: Array


def model_bound(
    model: NoisedFluid,
    ensemble: Ensemble,
    n_levels: int,
    n_pairs: int,
    *,
    seed: int,
    progress: bool = False,
) -> FreeEnergy:
    """Lower bound on beta F_ex by the model alone; `bounds.estimate` has the rest.

    Parameters
    ----------
    model
        Any `LambdaHamiltonian` or `Denoiser` of the ensemble's pair potential.
    ensemble
        Decorrelated frames of the interacting fluid.
    n_levels, n_pairs
        Levels of noise, and antithetic pairs of noised frames at each, on average.
    seed
        Of the noise and the choice of frames.
    progress
        Show a progress bar with the time left.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "bound", ensemble.state.label))
    energies = np.asarray(ensemble.reduced_potentials)
    positions = torch.as_tensor(ensemble.positions_sigma, dtype=torch.float64)
    frames = _Frames(
        positions, cubic_box(ensemble.state.box_length_sigma), energies - energies.mean()
    )
    nodes, weights = np.polynomial.legendre.leggauss(n_levels)
    low, high = math.log(NOISE_MIN_SIGMA), float(log_noise_max(frames.box))
    log_s = low + 0.5 * (high - low) * (nodes + 1.0)
    # d(s_eff^2) = 2 s^2 d(ln s), and the bound has a factor 1/2.
    weights = weights * 0.5 * (high - low) * np.exp(2.0 * log_s)
    means, errors, slopes, pulls = _all_levels(
        model, frames, log_s, weights, n_pairs, generator, progress
    )
    value = float(energies.mean() + weights @ means)
    pulls_of_frames = (1.0 + weights @ slopes) * frames.energies / energies.size + weights @ pulls
    std_err = float(
        np.linalg.norm(pulls_of_frames) * math.sqrt(energies.size / (energies.size - 1))
    )
    return FreeEnergy(
        value=value,
        std_err=std_err,
        method="neural_ti_bound",
        convention=ensemble.state.convention,
        n_particles=ensemble.state.n_particles,
        diagnostics={
            "mean_energy_kt": float(energies.mean()),
            "mean_energy_err": float(energies.std(ddof=1) / math.sqrt(energies.size)),
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
    frames: _Frames,
    log_s: Array,
    weights: Array,
    n_pairs: int,
    generator: torch.Generator,
    progress: bool,
) -> tuple[Array, Array, Array, Array]:
    """`_information` at every level: means (K,), errors (K,), slopes (K,), pulls (K, F).

    A quarter of the effort finds how much each level adds to the error; the rest is shared out in
    that proportion. All levels take the same frames, as many times as they need, so that what a
    frame adds at one it takes away at others; only where a level hardly matters are some of them
    enough.
    """
    order = torch.randperm(len(frames.positions), generator=generator)[
        : max(_FEWEST_PAIRS, n_pairs)
    ]
    pilot = order[torch.arange(max(_FEWEST_PAIRS, n_pairs // 4)) % len(order)]
    spreads = weights * [_information(model, frames, pilot, level, generator)[1] for level in log_s]
    wanted = 0.75 * n_pairs * len(log_s) * spreads / spreads.sum()
    times = np.rint(wanted / len(order))
    sizes = np.where(
        times > 0, times * len(order), np.maximum(_FEWEST_PAIRS, np.rint(wanted))
    ).astype(int)
    parts = [order[torch.arange(size) % len(order)] for size in sizes]
    levels = track(list(zip(log_s, parts, strict=True)), "noise levels", shown=progress)
    fits = [_information(model, frames, part, level, generator) for level, part in levels]
    means, errors, slopes, pulls = (np.array(each) for each in zip(*fits, strict=True))
    return means, errors, slopes, pulls


def _information(
    model: NoisedFluid,
    frames: _Frames,
    chosen: Tensor,
    log_s: float,
    generator: torch.Generator,
) -> tuple[float, float, float, Array]:
    """2 E[grad U . z / s_eff] - E|grad U|^2 at one noise level, from one antithetic pair of each
    `chosen` frame (n,).

    Its mean, standard error, slope on the energies, and by how much each frame moves the mean,
    (F,).
    """
    n_frames, n_particles = frames.positions.shape[0], frames.positions.shape[1]
    log_noise = torch.tensor(log_s, dtype=torch.float64)
    spread = float(effective_variance(log_noise).sqrt())
    smooth, columns = model.end.is_continuous, []
    for part in chosen.split(max(1, _ATOMS_PER_BATCH // (2 * n_particles))):
        clean = frames.positions[part]
        z = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
        noise = torch.cat([z, -z])
        noised, levels = clean.repeat(2, 1, 1) + spread * noise, log_noise.expand(2 * len(part))
        gradient = model.gradient(noised, frames.box, levels)
        found = [
            (gradient * (2.0 / spread * noise - gradient)).sum((1, 2)),
            noise.square().sum((1, 2)) - 3.0 * n_particles,
        ]
        if smooth:
            field, divergence = model.pair_field(noised, frames.box, levels)
            found.append((field * noise).sum((1, 2)) / spread - divergence)
        columns.append(torch.stack(found, dim=1).reshape(2, len(part), -1).mean(0))
    table = torch.cat(columns).numpy()
    controls = np.column_stack([table[:, 1:], frames.energies[chosen.numpy()]])
    mean, error, slopes, pulls = regression(table[:, 0], controls)
    pulls_of_frames = np.bincount(chosen.numpy(), weights=pulls, minlength=n_frames).astype(
        np.float64
    )
    return mean, error, float(slopes[-1]), pulls_of_frames
