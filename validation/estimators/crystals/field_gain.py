"""What the excess of a `SiteField` adds to the bound of a crystal at one noise level."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.validation.analysis.regression import regression, require_finite
from openmm_nti.validation.estimators.crystals.site_field import SiteField, log_noise_of

Array = NDArray[np.float64]

_ATOMS_PER_BATCH = 5120


def gain(
    field: SiteField,
    modes: Tensor,
    shifts: Array,
    chosen: Tensor,
    variance: float,
    generator: torch.Generator,
) -> tuple[float, float, Array]:
    """Return E[2 h . (z/s - q/(C + v)) - |h|^2] at noise of `variance`, from `chosen` frames (n,).

    There is one antithetic pair of noised frames for each. Returned are the mean, its slope on the
    `shifts` (F,) of the frames' bounds, and by how much each frame moves the mean, (F,).
    """
    columns = []
    for part in chosen.split(max(1, _ATOMS_PER_BATCH // (2 * field.state.n_particles))):
        z = torch.randn(modes[part].shape, generator=generator, dtype=torch.float64)
        rows = _products(field, modes[part].repeat(2, 1), torch.cat([z, -z]), variance)
        columns.append(rows.reshape(len(rows), 2, -1).mean(1))
    table = torch.cat(columns, dim=1).numpy().T
    advice = "train the network longer, and look for overlapping particles in the frames"
    require_finite("bound of a crystal", advice, products_of_gradients=table)
    controls = np.column_stack([table[:, 1:], shifts[chosen.numpy()]])
    mean, _, slopes, pulls = regression(table[:, 0], controls)
    of_frames = np.bincount(chosen.numpy(), weights=pulls, minlength=len(modes))
    return mean, float(slopes[-1]), of_frames.astype(np.float64)


def _products(field: SiteField, clean: Tensor, noise: Tensor, variance: float) -> Tensor:
    """Return the gain of each noised frame, then its control variates, whose mean is zero, (c, B).

    The first ones are of the noise and of the phonons. The last one is of the two-body term, where
    its force does not jump.
    """
    spread, widths = math.sqrt(variance), field.phonons.variances + variance
    noised = clean + spread * noise
    gaussian, excess = field.gaussian(noised, variance), field.excess(noised, variance)
    rows = [
        (excess * (2.0 * (noise / spread - gaussian) - excess)).sum(1),
        noise.square().sum(1) - noise.shape[1],
        (gaussian * noise / spread - 1.0 / widths).sum(1),
        (gaussian.square() - (clean.square() + variance) / widths.square()).sum(1),
    ]
    model = field.model
    if model.end.is_continuous:
        levels = log_noise_of(variance, len(noised))
        pull, divergence = model.pair_field(field.positions(noised), box_of(field.state), levels)
        rows.append((field.phonons.modes(pull) * noise).sum(1) / spread - divergence)
    return torch.stack(rows)
