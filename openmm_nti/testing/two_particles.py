"""Two particles of a fluid, known exactly: samples by rejection, free energies by quadrature."""

from __future__ import annotations

import math

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.state import StatePoint

_GRID = 108  # points along an edge; the Mayer function is smooth on the scale of their distance
_BLOCK = 100_000

# Small and cold enough for |beta F_ex| to be far larger than the error of a short estimate. Edges
# are unequal, so that whoever takes one for another is found out.
TWO_PARTICLES = StatePoint.model_validate(
    {
        "n_particles": 2,
        "box_sigma": [3.1, 3.0, 3.7],
        "temperature_star": 0.8,
        "cutoff_sigma": 1.5,
        "switch_sigma": 1.25,
    }
)


def exact_samples(n_frames: int, rng: np.random.Generator) -> Ensemble:
    """Return independent frames of `TWO_PARTICLES`: uniform ones, kept with their weight."""
    kept: list[np.ndarray] = []
    deepest = 1.0 / TWO_PARTICLES.temperature_star
    while sum(map(len, kept)) < n_frames:
        trial = rng.uniform(0.0, TWO_PARTICLES.edges_sigma, size=(20_000, 2, 3))
        energy = reduced_potential_numpy(trial, TWO_PARTICLES)
        kept.append(trial[np.log(rng.uniform(size=len(trial))) < -energy - deepest])
    positions = np.concatenate(kept)[:n_frames]
    return Ensemble(
        TWO_PARTICLES,
        positions * TWO_PARTICLES.sigma_nm,
        reduced_potential_numpy(positions, TWO_PARTICLES),
        {"exact": True},
    )


def exact_value(quantity: str) -> float:
    """Return beta F_ex of `TWO_PARTICLES`, or beta mu_ex of a third particle, kT.

    With the Mayer function f = exp(-u) - 1 and means over the periodic box, Z_2 / V^2 = 1 + <f> and
    Z_3 / V^3 = 1 + 3 <f> + 3 <f>^2 + <f_12 f_13 f_23>; the last is a sum over Fourier coefficients.
    """
    ticks = np.arange(_GRID) / _GRID * TWO_PARTICLES.edges_sigma[:, None]
    second = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1).reshape(-1, 3)
    energies = [
        reduced_potential_numpy(np.stack([np.zeros_like(block), block], axis=1), TWO_PARTICLES)
        for block in np.array_split(second, math.ceil(len(second) / _BLOCK))
    ]
    with np.errstate(over="ignore", invalid="ignore"):
        mayer = np.expm1(-np.nan_to_num(np.concatenate(energies), nan=np.inf, posinf=np.inf))
    coefficients = np.fft.fftn(mayer.reshape(3 * (_GRID,))) / len(mayer)
    mean, triangle = float(mayer.mean()), float((coefficients**3).sum().real)
    two = -math.log1p(mean)
    if quantity == "beta_f_ex":
        return two
    return -math.log1p(3.0 * mean + 3.0 * mean**2 + triangle) - two
