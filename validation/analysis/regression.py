"""Means with control variates, by linear regression."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def regressed_mean(values: Array, controls: Array) -> tuple[float, float, Array]:
    """Mean of `values` (n,) where `controls` (n, c) are zero, by linear regression; its standard
    error; slopes (c,).
    """
    return regression(values, controls)[:3]


def regression(values: Array, controls: Array) -> tuple[float, float, Array, Array]:
    """`regressed_mean`, and by how much each value moves the mean, (n,)."""
    scale = np.maximum(controls.std(axis=0), 1e-300)
    design = np.column_stack([np.ones(values.size), controls / scale])
    coefficients, *_ = np.linalg.lstsq(design, values, rcond=None)
    residual = values - design @ coefficients
    freedom = max(1, values.size - design.shape[1])
    error = math.sqrt(residual @ residual / freedom * np.linalg.pinv(design.T @ design)[0, 0])
    pulls = np.linalg.pinv(design)[0] * residual * math.sqrt(values.size / freedom)
    return float(coefficients[0]), error, coefficients[1:] / scale, pulls
