"""The range of lambda: from 0, the reference, to 1, the fluid, and nothing beyond."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def checked_couplings(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return `values` as float64, after a check that all lie in [0, 1].

    Parameters
    ----------
    values
        One lambda or an array of them.
    name
        What the message calls them.

    Raises
    ------
    ValueError
        If one of them is NaN or outside of [0, 1], or no number.
    """
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} = {values!r} must be numbers from 0 to 1") from None
    outside = found[~((found >= 0.0) & (found <= 1.0))]
    if outside.size:
        raise ValueError(
            f"{name} = {outside.flat[0]} must lie from 0, the ideal gas, to 1, the fluid: the path "
            "ends there"
        )
    return found
