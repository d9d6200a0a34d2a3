"""Means with control variates, by linear regression, and a check that samples are finite."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

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


def regressed_mean(values: Array, controls: Array) -> tuple[float, float, Array]:
    """Return the mean of `values` (n,) where `controls` (n, c) are zero, by linear regression.

    Returns
    -------
    tuple
        The mean, its standard error, and the slopes (c,).
    """
    return regression(values, controls)[:3]


def regression(values: Array, controls: Array) -> tuple[float, float, Array, Array]:
    """Return what `regressed_mean` does, and by how much each value moves the mean, (n,)."""
    scale = np.maximum(controls.std(axis=0), 1e-300)
    design = np.column_stack([np.ones(values.size), controls / scale])
    coefficients, *_ = np.linalg.lstsq(design, values, rcond=None)
    residual = values - design @ coefficients
    freedom = max(1, values.size - design.shape[1])
    error = math.sqrt(residual @ residual / freedom * np.linalg.pinv(design.T @ design)[0, 0])
    pulls = np.linalg.pinv(design)[0] * residual * math.sqrt(values.size / freedom)
    return float(coefficients[0]), error, coefficients[1:] / scale, pulls
