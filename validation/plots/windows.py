"""Drawings of simulations at several lambdas: overlap and convergence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from openmm_nti.validation.analysis.convergence import Convergence
from openmm_nti.validation.plots.drawing import COLOURS, axes_for, with_legend

_ANNOTATED = 12  # windows up to which an overlap matrix has room for numbers


def overlap_matrix(
    matrix: np.ndarray | Sequence[Sequence[float]],
    ax: Axes | None = None,
    *,
    lambdas: Sequence[float] | None = None,
) -> Axes:
    """Draw how much each pair of windows overlaps.

    An entry is the probability that a sample of one window is taken for a sample of the other.

    Parameters
    ----------
    matrix
        Diagnostic `overlap_matrix` of an MBAR result. Shape (K, K).
    ax
        Where to draw; by default a new figure.
    lambdas
        Of the windows, (K,); by default their numbers are shown.
    """
    ax = axes_for(ax)
    overlap = np.asarray(matrix, dtype=np.float64)
    edges = np.arange(len(overlap) + 1) - 0.5
    # Rasterised: the edges of drawn cells show as seams on dark pages.
    shades = ax.pcolormesh(
        edges,
        edges,
        overlap,
        cmap="Blues",
        vmin=0,
        vmax=max(0.5, overlap.max()),
        rasterized=True,
    )
    if isinstance(owner := ax.get_figure(), Figure):
        owner.colorbar(shades, ax=ax, label="probability", shrink=0.8)
    if len(overlap) <= _ANNOTATED:
        for (row, column), value in np.ndenumerate(overlap):
            if value >= 0.005:
                colour = "white" if value > 0.35 else "black"
                ax.text(
                    column, row, f"{value:.2f}"[1:], ha="center", va="center", size=7, color=colour
                )
    name = "window" if lambdas is None else "λ of the window"
    ax.set(xlabel=name, ylabel=name, aspect="equal", title="Overlap")
    ax.invert_yaxis()
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True))
        if lambdas is not None:
            axis.set_major_formatter(_named(lambdas))
    return ax


def _named(lambdas: Sequence[float]) -> FuncFormatter:
    """Return a formatter that writes the lambda of a window in place of its number."""
    names = {number: f"{value:.2g}" for number, value in enumerate(lambdas)}
    return FuncFormatter(lambda number, _: names.get(round(number), ""))


def convergence(series: Convergence, ax: Axes | None = None) -> Axes:
    """Draw estimates from the first and from the last part of the samples.

    They agree where nothing drifts. Bars show one standard error; the band is that of all samples
    (P. V. Klimovich, M. R. Shirts and D. L. Mobley, J. Comput. Aided Mol. Des. 29, 397 (2015)).
    """
    ax = axes_for(ax)
    value, std_err = float(series.forward[-1]), float(series.forward_err[-1])
    if np.isfinite(std_err):
        ax.axhspan(value - std_err, value + std_err, color="0.6", alpha=0.25, linewidth=0)
    for colour, label, values, errors in (
        (COLOURS[0], "from the start", series.forward, series.forward_err),
        (COLOURS[1], "from the end", series.backward, series.backward_err),
    ):
        bars = np.where(np.isfinite(errors), errors, 0.0)
        ax.errorbar(
            series.fractions,
            values,
            yerr=bars,
            color=colour,
            marker="o",
            markersize=4,
            capsize=3,
            label=label,
        )
    ax.set(
        xlabel="share of the samples",
        ylabel="βF_ex / kT",
        title="Convergence ± 1 error",
        xlim=(0, 1.05),
    )
    return with_legend(ax)
