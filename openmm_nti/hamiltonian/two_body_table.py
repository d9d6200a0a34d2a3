"""The table of the two-body term of one kind of pair; `two_body` says what it is."""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from openmm_nti.fluid.reduced import PairKind
from openmm_nti.hamiltonian.pair_energy import KindEnergy, switching_function
from openmm_nti.references.noise import NOISE_MIN_SIGMA, effective_variance

Array = NDArray[np.float64]
NOISE_GATE_SIGMA = 0.8  # s_g; less where the cutoff is short
_SHELL_NOISE_SIGMA = 0.05  # s_b
_N_NOISE = 160
_R_STEP = 0.01
_SHELL_WIDTH = 0.5
# Beyond this energy the core continues linearly: exp(-600) is zero to any estimator, and the spline
# stays smooth.
_CORE_KT = 600.0


@lru_cache(maxsize=32)  # six species have 21 kinds of pairs, which are made a second each
def two_body_table(kind: PairKind, reach: float | None = None) -> tuple[Array, Array, Array]:
    """Return a table of Phi: the grid of ln s, the grid of r in sigma, and the values in kT.

    The shapes are (n_noise,), (n_r,) and (n_noise, n_r); all are float64. The grids are those of
    the longest cutoff of all kinds, `reach` in sigma; None for the kind's own.
    """
    cutoff = kind.cutoff.cutoff_nm
    reach = reach or cutoff
    noise_gate = min(NOISE_GATE_SIGMA, 0.27 * reach)
    # The last row is zero, and the box holds two cutoffs: the term is gone before s reaches L / 2.
    log_s = np.linspace(math.log(NOISE_MIN_SIGMA), math.log(2.2 * noise_gate), _N_NOISE)
    r = np.linspace(0.0, reach, round(reach / _R_STEP) + 1)
    variance = effective_variance(torch.from_numpy(log_s)).numpy()
    switch = switching_function(torch.from_numpy(r), cutoff - _SHELL_WIDTH, cutoff).numpy()
    values = np.empty((_N_NOISE, r.size))
    values[0] = _capped_potential(r, kind)
    for row in range(1, _N_NOISE):
        shell = variance[row] / (variance[row] + _SHELL_NOISE_SIGMA**2)
        gate = math.exp(-((variance[row] / noise_gate**2) ** 2))
        values[row] = (
            smeared_potential(r, variance[row], kind) * (1.0 - shell * (1.0 - switch)) * gate
        )
    values[-1] = 0.0
    return log_s, r, values


def smeared_potential(r: Array, variance: float, kind: PairKind) -> Array:
    """Return the pair potential smeared by the noise, -ln (exp(-beta u) * G)(r), in kT.

    Parameters
    ----------
    r
        Distances, (n_r,), sigma.
    variance
        Effective variance s_eff^2 of the noise of one particle, sigma^2.
    kind
        Pair potential, cutoff and temperature.
    """
    width = math.sqrt(2.0 * variance)
    step = min(width / 4.0, 0.016)
    farthest = max(kind.cutoff.cutoff_nm, float(r[-1]))
    inner = np.arange(0.5, (farthest + 10.0 * width) / step) * step
    log_boltzmann = -_capped_potential(inner, kind) + math.log(step)
    out = np.empty(r.size)
    for block in np.array_split(np.arange(r.size), max(1, r.size * inner.size // 1_000_000)):
        exponent = _log_radial_gaussian(r[block, None], inner[None, :], width) + log_boltzmann
        peak = exponent.max(axis=1, keepdims=True)
        out[block] = -(peak[:, 0] + np.log(np.exp(exponent - peak).sum(axis=1)))
    return out


def _log_radial_gaussian(r: Array, inner: Array, width: float) -> Array:
    """Return the log density of distance `inner` after a Gaussian displacement from `r`.

    The displacement is three-dimensional, with standard deviation `width`.
    """
    product = 2.0 * r * inner / width**2
    # (1 - exp(-p)) / p with its limit 1 at r = 0.
    ratio = np.where(product > 1e-12, -np.expm1(-product) / np.maximum(product, 1e-300), 1.0)
    norm = math.log(2.0) - 0.5 * math.log(2.0 * math.pi) - 3.0 * math.log(width)
    return norm + 2.0 * np.log(inner) - 0.5 * ((r - inner) / width) ** 2 + np.log(ratio)


def _capped_potential(r: Array, kind: PairKind) -> Array:
    """Return beta u(r) in kT, continued linearly where it exceeds the core energy."""
    core, slope = kind.pair_in_kt.core(_CORE_KT)
    energy = KindEnergy(kind)(torch.from_numpy(np.maximum(r, core) ** 2)).numpy()
    return energy + slope * np.minimum(r - core, 0.0)
