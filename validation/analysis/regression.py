"""Means with control variates, by linear regression, and a check that samples are finite."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from openmm_nti.reference_md.statistics import is_constant

Array = NDArray[np.float64]


def require_finite(method: str, advice: str, **samples: Array) -> None:
    """Refuse samples that hold NaN or infinity.

    Parameters
    ----------
    method
        Name of the estimator.
    advice
        What to look at next.
    **samples
        Arrays by what they hold, such as `forward_works`.

    Raises
    ------
    ValueError
        Naming the samples that are not finite.
    """
    for name, values in samples.items():
        bad = ~np.isfinite(values)
        if values.size == 0 or bad.any():
            count = f"{bad.sum()} of {values.size} {name.replace('_', ' ')} are not finite"
            what = count if values.size else f"there are no {name.replace('_', ' ')}"
            raise ValueError(f"{method}: {what}: {advice}")


def require_frames(method: str, positions: Array, fewest: int) -> None:
    """Refuse reference frames that cannot give an error: too few, or copies of each other.

    Parameters
    ----------
    method
        Name of the estimator.
    positions
        Of the frames, (F, N, 3).
    fewest
        Different frames that the estimator needs.

    Raises
    ------
    ValueError
        If there are fewer, or if half of all frames or more are copies of others.
    """
    frames, different = len(positions), len({frame.tobytes() for frame in positions})
    if not different >= fewest:
        raise ValueError(
            f"{method}: {different} different frames are too few for an error: {fewest} or more "
            "are needed; simulate longer"
        )
    if not 2 * different > frames:
        raise ValueError(
            f"{method}: only {different} of {frames} frames are different, so their number says "
            "nothing about the error: remove the copies"
        )


def error_of_mean(values: Array) -> float:
    """Return the standard error of the mean of independent `values` (n,).

    It is infinite where they give none: for a single one, and where all are equal up to rounding.
    """
    if values.size < 2 or is_constant(values):
        return math.inf
    return float(values.std(ddof=1)) / math.sqrt(values.size)


def regressed_mean(values: Array, controls: Array) -> tuple[float, float, Array]:
    """Return the mean of `values` (n,) where `controls` (n, c) are zero, by linear regression.

    Returns
    -------
    tuple
        The mean, its standard error, infinite where all values are equal, and the slopes (c,).
    """
    mean, error, slopes, _ = regression(values, controls)
    return mean, math.inf if is_constant(values) else error, slopes


def regression(values: Array, controls: Array) -> tuple[float, float, Array, Array]:
    """Return what `regressed_mean` does, and by how much each value moves the mean, (n,)."""
    # A control that never changes tells nothing; beside the ones it would share the mean with them.
    controls = np.where([is_constant(control) for control in controls.T], 0.0, controls)
    spread = controls.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    design = np.column_stack([np.ones(values.size), controls / scale])
    coefficients, *_ = np.linalg.lstsq(design, values, rcond=None)
    residual = values - design @ coefficients
    freedom = max(1, values.size - design.shape[1])
    error = math.sqrt(residual @ residual / freedom * np.linalg.pinv(design.T @ design)[0, 0])
    pulls = np.linalg.pinv(design)[0] * residual * math.sqrt(values.size / freedom)
    return float(coefficients[0]), error, coefficients[1:] / scale, pulls
