"""The temperature that the positions of frames tell: <|grad U|^2> / <lap U>.

At equilibrium this ratio is kT, in the canonical ensemble of any smooth potential in a periodic box
(Butler et al., J. Chem. Phys. 109, 6519 (1998)). It takes no velocities, so it shows whether frames
belong to the potential and the temperature that somebody says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtr

from openmm_nti.fluid.cutoff import Cutoff
from openmm_nti.fluid.energy import followers, nearest_image
from openmm_nti.fluid.reduced import PairKind, by_kind
from openmm_nti.fluid.state import StatePoint
from openmm_nti.reference_md import statistics

MIN_FRAMES = 5  # fewer say nothing about the error of their mean
_MIN_CONTRIBUTIONS = 10  # frames that the force must come from, for the same reason
_N_BLOCKS = 20
_RELATIVE_STEP = 1e-4  # of the derivative of the slope; its error is far below the samples'
_SHELL_SIGMA = 0.1  # thickness of the shell in which pairs at a plain cutoff are counted


@dataclass(frozen=True)
class Curvature:
    """Squared gradient and Laplacian of the energy of frames.

    Attributes
    ----------
    squared_gradient
        |grad U|^2 of each frame. Shape (F,), epsilon^2 / sigma^2.
    laplacian
        The Laplacian of U of each frame, over all coordinates. Shape (F,), epsilon / sigma^2.
    """

    squared_gradient: np.ndarray
    laplacian: np.ndarray


@dataclass(frozen=True)
class Temperature:
    """The configurational temperature of frames, and how far it is from the expected one.

    Attributes
    ----------
    value
        T* of the frames; None where the energy has no curvature.
    std_err
        Standard error; None where it is unknown.
    z
        Deviation from the expected temperature, as a standard normal deviate; None if unknown.
    n_independent
        Number of independent frames that the error stands for; 0 if unknown.
    """

    value: float | None
    std_err: float | None
    z: float | None
    n_independent: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return value and error in the form of the other statistics, and the deviate."""
        return {
            "configurational_temperature_star": [self.value, self.std_err],
            "configurational_z": self.z,
        }


def curvature(positions_sigma: np.ndarray, state: StatePoint) -> Curvature:
    """Return squared gradient and Laplacian of the energy that molecular dynamics samples.

    A cutoff without a switching function leaves a jump of the force. Its part of the Laplacian
    comes from the number of pairs near the cutoff.

    Parameters
    ----------
    positions_sigma
        Positions. Shape (F, N, 3), sigma.
    state
        Box and pair potential.
    """
    positions = np.asarray(positions_sigma, dtype=np.float64)
    gradient = np.zeros_like(positions)
    laplacian = np.zeros(len(positions))
    kinds = state.pair_potential.kinds
    ends = np.array([kind.cutoff.cutoff_nm for kind in kinds])
    jumps = np.zeros(len(kinds))
    if state.convention != "switched":
        inside = np.nextafter(ends**2, 0.0)
        slopes = [float(kind.pair.slope(r2)) for kind, r2 in zip(kinds, inside, strict=True)]
        jumps = 2 * ends * slopes
    for first in range(positions.shape[1] - 1):
        separation = positions[:, first + 1 :] - positions[:, first : first + 1]
        separation = nearest_image(separation, state.edges_sigma)
        r2 = (separation**2).sum(axis=-1)
        kind = followers(state, first)
        slope, bend = by_kind(state.pair_potential, pair_derivatives, r2, kind)
        pair = 2 * slope[..., np.newaxis] * separation
        gradient[:, first] -= pair.sum(axis=1)
        gradient[:, first + 1 :] += pair
        laplacian += 2 * (4 * r2 * bend + 6 * slope).sum(axis=-1)
        rc, jump = (ends[0], jumps[0]) if kind is None else (ends[kind], jumps[kind])
        at_cutoff = (r2 < rc**2) & (r2 > (rc - _SHELL_SIGMA) ** 2)
        laplacian -= 2 * (jump * at_cutoff).sum(axis=-1) / _SHELL_SIGMA
    return Curvature((gradient**2).sum(axis=(1, 2)), laplacian)


def configurational_temperature(
    found: Curvature, state: StatePoint, weights: np.ndarray | None = None
) -> Temperature:
    """Return the temperature of frames in the order of time.

    The deviate is that of the mean of |grad U|^2 - T* lap U, which is zero in expectation for any
    number of frames; Student's t, for the number of independent ones.

    Parameters
    ----------
    found
        Squared gradients and Laplacians.
    state
        The state point with the expected temperature.
    weights
        Weights that carry the frames over to the ensemble of molecular dynamics; None if they are
        all equal. Shape (F,).
    """
    share = np.ones(len(found.laplacian)) if weights is None else weights / weights.mean()
    gradients, laplacians = share * found.squared_gradient, share * found.laplacian
    mean = float(laplacians.mean())
    if not (math.isfinite(mean) and mean > 0 and np.isfinite(gradients).all()):
        return Temperature(None, None, None)
    value = float(gradients.mean()) / mean
    contributions = gradients.sum() ** 2 / max(float((gradients**2).sum()), 1e-300)
    if len(gradients) < MIN_FRAMES or not contributions >= _MIN_CONTRIBUTIONS:
        return Temperature(value, None, None)
    residuals = gradients - state.temperature_star * laplacians
    error = _error_of_mean(residuals)
    if not (error > 0 and math.isfinite(error)):
        return Temperature(value, None, None)
    std_err = _error_of_mean(gradients - value * laplacians) / mean
    n = max(2.0, (float(residuals.std(ddof=1)) / error) ** 2)
    return Temperature(value, std_err, _deviate(residuals, error, n), n)


def _error_of_mean(series: np.ndarray) -> float:
    """Return the error by the statistical inefficiency, or from blocks where that is larger.

    The inefficiency of a short series comes out too small where its slow part is weak.
    """
    error = statistics.mean_and_error(series)[1]
    n_blocks = min(_N_BLOCKS, len(series) // 2)
    means = [block.mean() for block in np.array_split(series, n_blocks)]
    return max(error, float(np.std(means, ddof=1)) / math.sqrt(n_blocks))


def _deviate(series: np.ndarray, error: float, n: float) -> float:
    """Return the deviate of a mean from zero, by Student's t with Johnson's term for skewness.

    Rare collisions make the series skew (Johnson, J. Am. Stat. Assoc. 73, 536 (1978)).
    """
    spread = float(series.std(ddof=1))
    t = float(series.mean()) / error
    skewness = float(np.mean((series - series.mean()) ** 3)) / spread**3
    corrected = t + skewness / math.sqrt(n) * (1 / 6 + t * t / 3)
    chance = 2 * float(stdtr(n - 1, -abs(corrected)))
    return math.copysign(float(-ndtri(max(chance, 1e-300) / 2)), corrected)


def pair_derivatives(kind: PairKind, r2: np.ndarray) -> np.ndarray:
    """Return the first and second derivative of u S by r^2, (2, *S) for `r2` (*S,), in epsilon."""
    inside = r2 < kind.cutoff.cutoff_nm**2
    q = r2[inside]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        step = _RELATIVE_STEP * q
        slope = kind.pair.slope(q)
        bend = (kind.pair.slope(q + step) - kind.pair.slope(q - step)) / (2 * step)
        if kind.cutoff.convention == "switched":
            energy = kind.pair.energy_numpy(q)
            factor, first, second = _switch(q, kind.cutoff)
            bend = bend * factor + 2 * slope * first + energy * second
            slope = slope * factor + energy * first
    slopes, bends = np.zeros_like(r2), np.zeros_like(r2)
    slopes[inside], bends[inside] = slope, bend
    return np.stack([slopes, bends])


def _switch(q: np.ndarray, cutoff: Cutoff) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the switching function at r^2 = q with its first and second derivative by q."""
    width = cutoff.cutoff_nm - cutoff.switch_nm
    r = np.sqrt(q)
    x = np.clip((r - cutoff.switch_nm) / width, 0, 1)
    factor = 1 + x**3 * (-10 + x * (15 - 6 * x))
    first = -30 * x**2 * (1 - x) ** 2 / width
    second = -60 * x * (1 - x) * (1 - 2 * x) / width**2
    return factor, first / (2 * r), second / (4 * q) - first / (4 * q * r)
