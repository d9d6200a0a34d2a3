"""Drawings of the fluid: its structure and its chemical potential."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from openmm_nti.validation.plots.drawing import COLOURS, axes_for, with_legend


def radial_distribution(
    r: np.ndarray,
    g: np.ndarray,
    *,
    std_err: np.ndarray | None = None,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the radial distribution function of a fluid, with a band of two standard errors.

    Parameters
    ----------
    r, g
        Distances in sigma, and g(r). Shape (n_bins,).
    std_err
        Of g(r), (n_bins,); None draws no band.
    label
        Name in the legend.
    ax
        Where to draw; by default a new figure.
    """
    ax = axes_for(ax)
    first = not ax.lines
    colour = COLOURS[0 if first else 1]
    ax.plot(r, g, color=colour, label=label, linestyle="-" if first else "--")
    title = "Radial distribution"
    if std_err is not None:
        title += " ± 2 errors"
        ax.fill_between(r, g - 2 * std_err, g + 2 * std_err, color=colour, alpha=0.25, linewidth=0)
    ax.set(xlabel="r / σ", ylabel="g(r)", title=title, ylim=(0, None))
    return with_legend(ax)


def chemical_potential(
    density: np.ndarray,
    value: np.ndarray,
    std_err: np.ndarray,
    *,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the excess chemical potential against density, with a band of two standard errors.

    Parameters
    ----------
    density
        rho sigma^3. Shape (M,).
    value, std_err
        beta mu_ex. Shape (M,), kT. NaN leaves a gap.
    label
        Name in the legend.
    ax
        Where to draw; by default a new figure.
    """
    ax = axes_for(ax)
    value, std_err = np.asarray(value, dtype=np.float64), np.asarray(std_err, dtype=np.float64)
    colour = COLOURS[len(ax.lines) % len(COLOURS)]
    ax.plot(
        density, value, color=colour, label=label, linestyle=("-", "--", ":")[len(ax.lines) % 3]
    )
    ax.fill_between(
        density, value - 2 * std_err, value + 2 * std_err, color=colour, alpha=0.25, linewidth=0
    )
    ax.set(xlabel="ρσ³", ylabel="βμ_ex", title="Excess chemical potential ± 2 errors")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    return with_legend(ax)
