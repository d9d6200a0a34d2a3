"""Figures of estimates from windows: overlap, convergence, profiles, and the insertion chain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from openmm_nti.runtime.stored import read_arrays
from openmm_nti.validation import plots
from openmm_nti.validation.analysis.convergence import Convergence
from openmm_nti.validation.plots.figure import Figure


def overlap_figure(
    method: str, matrix: Sequence[Sequence[float]], lambdas: Sequence[float] | None
) -> Figure:
    """Return the figure of an MBAR overlap matrix, (K, K), of windows at `lambdas`, if known."""

    def draw(ax: Axes) -> Axes:
        plots.overlap_matrix(matrix, ax, lambdas=lambdas).set_title(f"Overlap, {method}")
        return ax

    return Figure(
        f"overlap_{method}",
        f"Overlap of the windows of {method}",
        draw,
        [f"window_{number}" for number in range(len(matrix))],
        matrix,
    )


def convergence_figure(method: str, path: Path) -> Figure:
    """Return the figure of the convergence series in the file `path`."""
    columns = read_arrays(path, Convergence._fields)

    def draw(ax: Axes) -> Axes:
        plots.convergence(Convergence(**columns), ax).set_title(f"Convergence, {method} ± 1 error")
        return ax

    return Figure(
        f"convergence_{method}",
        f"{method} from the first and from the last part of its samples (band: all of them; "
        "control variates, where there are any, with the coefficients of all)",
        draw,
        list(columns),
        list(zip(*columns.values(), strict=True)),
    )


def chain_figure(
    method: str,
    values: Sequence[float],
    errors: Sequence[float],
    box_length_sigma: float,
    failing: int | None,
) -> Figure:
    """Return the figure of beta mu_ex along the insertion chain.

    Parameters
    ----------
    method
        Name of the estimator.
    values, errors
        beta mu_ex(n) and its standard error for n = 1, 2, ..., kT.
    box_length_sigma
        Edge of the box.
    failing
        First n where insertion fails; None where it never does.
    """
    n = np.arange(1, len(values) + 1)
    density = n / box_length_sigma**3
    mean, error = (np.array(column, dtype=float) for column in (values, errors))

    def draw(ax: Axes) -> Axes:
        plots.chemical_potential(density, mean, error, label=method, ax=ax)
        if failing is not None:
            ax.axvline(density[failing - 1], color="0.6", linewidth=0.8, label="insertion fails")
            ax.legend(frameon=False)
        return ax

    return Figure(
        "insertion_chain",
        "Chemical potential along the insertion chain",
        draw,
        ("n", "density_star", "beta_mu_ex_kt", "std_err_kt"),
        list(zip(n.tolist(), density, mean, error, strict=True)),
    )
