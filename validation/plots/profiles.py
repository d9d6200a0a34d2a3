"""Drawings of dU/dlambda along a path."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from openmm_nti.validation.plots.drawing import COLOURS, axes_for, with_legend
from openmm_nti.validation.plots.figure import Figure


def dudl(
    lambdas: np.ndarray,
    mean: np.ndarray,
    std_err: np.ndarray,
    *,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw <dU/dlambda> with a band of two standard errors; its area is the free energy.

    Parameters
    ----------
    lambdas, mean, std_err
        Shape (K,); mean and std_err in kT.
    label
        Name in the legend.
    ax
        Where to draw; by default a new figure.
    """
    ax = axes_for(ax)
    mean, std_err = np.asarray(mean), np.asarray(std_err)
    colour = COLOURS[len(ax.lines) % len(COLOURS)]
    ax.plot(
        lambdas,
        mean,
        color=colour,
        label=label,
        marker="o" if len(mean) < 40 else None,
        markersize=3,
    )
    ax.fill_between(
        lambdas, mean - 2 * std_err, mean + 2 * std_err, color=colour, alpha=0.25, linewidth=0
    )
    ax.set(xlabel="λ  (0: ideal gas, 1: fluid)", ylabel="⟨dU/dλ⟩ / kT", title="dU/dλ ± 2 errors")
    return with_legend(ax)


def profile_figure(
    method: str, lambdas: Sequence[float], mean: Sequence[float], std_err: Sequence[float]
) -> Figure:
    """Return the figure `dudl` of one method; those of several methods may share their axes."""
    x, y, errors = (np.asarray(values, dtype=np.float64) for values in (lambdas, mean, std_err))

    def draw(ax: Axes) -> Axes:
        return dudl(x, y, errors, label=method, ax=ax)

    return Figure(
        name="dudl",
        caption="Where the free energy comes from along λ",
        draw=draw,
        header=("method", "lambda", "dudl_kt", "std_err_kt"),
        rows=[(method, *row) for row in zip(x, y, errors, strict=True)],
    )
