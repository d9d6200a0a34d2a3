"""Drawing of estimates side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from openmm_nti.validation.plots.drawing import COLOURS, axes_for


def estimates(results: Mapping[str, tuple[float, float]], ax: Axes | None = None) -> Axes:
    """Draw estimates side by side with bars of two standard errors.

    Parameters
    ----------
    results
        Value and standard error by the name of the method, kT. An infinite error gives an open
        marker without a bar.
    ax
        Where to draw; by default a new figure.
    """
    ax = axes_for(ax)
    for row, (value, std_err) in enumerate(results.values()):
        known = bool(np.isfinite(std_err))
        ax.errorbar(
            value,
            row,
            xerr=2 * std_err if known else None,
            color=COLOURS[0],
            marker="o",
            capsize=3,
            markerfacecolor=COLOURS[0] if known else "none",
        )
    ax.set_yticks(range(len(results)), list(results))
    ax.set(xlabel="kT", title="Estimates ± 2 errors", ylim=(len(results) - 0.5, -0.5))
    ax.grid(axis="x", alpha=0.3)
    return ax
