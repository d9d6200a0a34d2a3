"""Coordinates with too few digits: what formats round, and what float32 loses far from the box."""

from __future__ import annotations

import math

import numpy as np

from openmm_nti.fluid.state import StatePoint
from openmm_nti.reference_md import statistics
from openmm_nti.reference_md._findings import Findings

_SPACING_SIGMA = 1e-4  # of float32 at the largest coordinate
_BIAS_WARN, _BIAS_REFUSE = 0.3, 5.0  # bias of beta U by rounding, in standard errors of its mean


def judge_drift(coordinates_nm: np.ndarray, state: StatePoint, findings: Findings) -> None:
    """Refuse coordinates so large that float32 has too few digits left for the distances.

    Parameters
    ----------
    coordinates_nm
        Coordinates as they were read. Any shape, float32, nm.
    state
        The state point that they should be of.
    findings
        Receives numbers and refusals.
    """
    largest = float(np.abs(coordinates_nm).max())
    spacing = float(np.spacing(np.float32(largest))) / state.sigma_nm
    findings.numbers["largest_coordinate_nm"] = largest
    if not spacing <= _SPACING_SIGMA:
        findings.refusals.append(
            f"coordinates reach {largest:.3g} nm, where float32 is good to {spacing:.2g} sigma "
            f"(allowed: {_SPACING_SIGMA:g}): wrap the trajectory into the box before saving it"
        )


def rounding_step(coordinates: np.ndarray) -> float:
    """Return the step to which coordinates are rounded: that of the format, or of float32.

    Parameters
    ----------
    coordinates
        Coordinates as they were read. Any shape, float32.
    """
    values = np.unique(np.asarray(coordinates, dtype=np.float32).ravel()[:200_000])
    values = values.astype(np.float64)
    largest = float(np.abs(values).max())
    finest = float(np.spacing(np.float32(largest)))
    gaps = np.diff(values)
    # Some values are read one float32 beside the decimal number that was meant.
    gaps = gaps[gaps > 2.5 * finest]
    if not len(gaps):
        return finest
    step = float(gaps.min())
    step = float(np.median(gaps[gaps < 1.5 * step]))
    # Ever larger coordinates, as many steps long, know the step ever better.
    reach = 100 * step
    while True:
        near = values[np.abs(values) <= reach]
        counts = np.round(near / step)
        if counts.any():
            step = float(near @ counts / (counts @ counts))
        if reach >= largest:
            break
        reach *= 10
    off = np.abs(values - step * np.round(values / step))
    return step if step > 8 * finest and (off <= 2.5 * finest).all() else finest


def judge_rounding(
    step: float,
    laplacian: np.ndarray,
    energies: np.ndarray,
    state: StatePoint,
    findings: Findings,
) -> None:
    """Judge the shift of <beta U> by rounded coordinates: step^2 / 24 of its Laplacian."""
    bias = step**2 / 24 * abs(float(laplacian.mean())) / state.temperature_star
    error = statistics.mean_and_error(energies)[1] if np.isfinite(energies).all() else math.inf
    findings.numbers |= {"rounding_sigma": step, "beta_u_rounding_bias_kt": bias}
    reason = (
        f"coordinates are rounded to {step:.2g} sigma, which shifts <beta U> by {bias:.2g} kT "
        f"(standard error {error:.2g}): save them with more digits"
    )
    if not bias <= _BIAS_REFUSE * error:
        findings.refusals.append(reason)
    elif not bias <= _BIAS_WARN * error:
        findings.warnings.append(reason)
