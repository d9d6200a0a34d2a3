"""Drawings of bounds: works of paths, brackets, and the gap of a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from openmm_nti.free_energy import Diagnostics, uncertain
from openmm_nti.runtime.stored import read_arrays
from openmm_nti.validation.plots.drawing import COLOURS, axes_for, noise_axis, with_legend
from openmm_nti.validation.plots.figure import Figure


def work_histogram(
    forward: np.ndarray, reverse: np.ndarray, value: float, ax: Axes | None = None
) -> Axes:
    """Draw the works of noising and of denoising paths.

    By Crooks' theorem the two densities cross at the free energy.

    Parameters
    ----------
    forward, reverse
        omega of the paths of each direction, kT. Shape (n_paths,).
    value
        beta F_ex, where a line is drawn.
    ax
        Where to draw; by default a new figure.
    """
    ax = axes_for(ax)
    edges = np.histogram_bin_edges(np.concatenate([forward, reverse]), bins="auto")
    for colour, label, works in (
        (COLOURS[0], "noising", forward),
        (COLOURS[1], "denoising", reverse),
    ):
        ax.hist(
            works,
            bins=edges.tolist(),
            density=True,
            histtype="stepfilled",
            alpha=0.35,
            color=colour,
            label=label,
        )
    ax.axvline(value, color="0.4", linewidth=1, label="βF_ex")
    ax.set(xlabel="ω / kT", ylabel="density / (1 / kT)", title="Works of the paths")
    return with_legend(ax)


def bracket(
    n_particles: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    lower_err: np.ndarray,
    upper_err: np.ndarray,
    reference: np.ndarray | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw rigorous bounds of beta F_ex over N, as distances from a reference or their middle.

    Parameters
    ----------
    n_particles
        N. Shape (M,).
    lower, upper, lower_err, upper_err
        Bounds and their standard errors, kT; bars show two. Shape (M,).
    reference
        beta F_ex at each N; NaN takes the middle there. Shape (M,).
    ax
        Where to draw; by default a new figure.
    """
    ax = axes_for(ax)
    middle = 0.5 * (np.asarray(lower) + np.asarray(upper))
    zero = middle if reference is None else np.where(np.isfinite(reference), reference, middle)
    ax.fill_between(
        n_particles, lower - zero, upper - zero, color=COLOURS[0], alpha=0.15, linewidth=0
    )
    for colour, label, bound, errors in (
        (COLOURS[0], "lower bound", lower, lower_err),
        (COLOURS[1], "upper bound", upper, upper_err),
    ):
        bars = 2 * np.asarray(errors)
        ax.errorbar(
            n_particles,
            bound - zero,
            yerr=bars,
            color=colour,
            marker="o",
            markersize=4,
            capsize=3,
            label=label,
        )
    ax.axhline(0.0, color="0.4", linewidth=0.8)
    origin = "their middle" if reference is None else "the reference"
    ax.set(xlabel="N", ylabel=f"bound − {origin} / kT", title="Bracket ± 2 errors")
    return with_legend(ax)


def gap_by_noise(
    noise_sigma: Sequence[float],
    density_kt: Sequence[float],
    std_err: Sequence[float],
    ax: Axes | None = None,
) -> Axes:
    """Draw a model's gap per unit of ln s, with bars of two standard errors.

    Parameters
    ----------
    noise_sigma, density_kt, std_err
        Diagnostics `gap_noise_sigma`, `gap_density_kt` and `gap_density_err` of
        `neural_ti_tethered`.
    ax
        Where to draw; by default a new figure.
    """
    ax = axes_for(ax)
    ax.errorbar(
        noise_sigma,
        density_kt,
        yerr=2 * np.asarray(std_err),
        color=COLOURS[0],
        marker="o",
        markersize=4,
        capsize=3,
    )
    ax.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
    noise_axis(ax)
    ax.set(ylabel="gap per ln s / kT", title="What the model lacks")
    return ax


def works_figure(path: Path, value: float) -> Figure:
    """Return the figure `works` from a file of works that `Works.save` wrote.

    Parameters
    ----------
    path
        The file (.npz).
    value
        beta F_ex, where a line is drawn.
    """
    works = read_arrays(path, ("forward", "reverse"))
    return Figure(
        name="works",
        caption="Works of noising and denoising paths; their densities cross at β F_ex",
        draw=partial(work_histogram, works["forward"], works["reverse"], value),
        header=("direction", "omega_kt"),
        rows=[(name, work) for name, values in works.items() for work in values.tolist()],
    )


def gap_figure(facts: Diagnostics) -> Figure:
    """Return the figure `gap` from the diagnostics of tethered chains."""
    names = ("gap_noise_sigma", "gap_density_kt", "gap_density_err")
    columns = [facts[name] for name in names]
    gap = uncertain(facts["gap"], facts["gap_err"])
    return Figure(
        name="gap",
        caption=f"Where the model's gap of {gap} kT lies (± 2 errors)",
        draw=partial(gap_by_noise, *columns),
        header=names,
        rows=list(zip(*columns, strict=True)),
    )
