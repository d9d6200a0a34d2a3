"""The figures of a run. Each function draws on `ax`, or on a new figure when there is none, and
returns the Axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from openmm_nti.files import atomic_path, write_text
from openmm_nti.validation.analysis.convergence import Convergence

# Three hues that stay apart on light and dark paper and for colour-blind readers.
COLOURS = ("#2f7ed8", "#d9741a", "#2a9d72")
_ANNOTATED = 12  # windows up to which an overlap matrix has room for numbers


def overlap_matrix(matrix: np.ndarray | Sequence[Sequence[float]], ax: Axes | None = None) -> Axes:
    """How much each pair of windows overlaps: the probability that a sample of one is taken for the
    other's.

    Parameters
    ----------
    matrix
        `overlap_matrix` of an MBAR result. Shape (K, K).
    """
    ax = _axes(ax)
    overlap = np.asarray(matrix, dtype=np.float64)
    edges = np.arange(len(overlap) + 1) - 0.5
    ax.pcolormesh(edges, edges, overlap, cmap="Blues", vmin=0, vmax=max(0.5, overlap.max()))
    if len(overlap) <= _ANNOTATED:
        for (row, column), value in np.ndenumerate(overlap):
            if value >= 0.005:
                colour = "white" if value > 0.35 else "black"
                ax.text(
                    column, row, f"{value:.2f}"[1:], ha="center", va="center", size=7, color=colour
                )
    ax.set(xlabel="window", ylabel="window", aspect="equal", title="Overlap")
    ax.invert_yaxis()
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return ax


def dudl(
    lambdas: np.ndarray,
    mean: np.ndarray,
    std_err: np.ndarray,
    *,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Profile of <dU/dlambda> with a band of two standard errors; its area is the free energy.

    Parameters
    ----------
    lambdas, mean, std_err
        Shape (K,); mean and std_err in kT.
    label
        Name in the legend.
    """
    ax = _axes(ax)
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
    return _with_legend(ax)


def radial_distribution(
    r: np.ndarray, g: np.ndarray, *, label: str | None = None, ax: Axes | None = None
) -> Axes:
    """Structure of the fluid.

    Parameters
    ----------
    r, g
        Distances in sigma, and g(r). Shape (n_bins,).
    label
        Name in the legend.
    """
    ax = _axes(ax)
    first = not ax.lines
    ax.plot(r, g, color=COLOURS[0 if first else 1], label=label, linestyle="-" if first else "--")
    ax.set(xlabel="r / σ", ylabel="g(r)", title="Radial distribution", ylim=(0, None))
    return _with_legend(ax)


def chemical_potential(
    density: np.ndarray,
    value: np.ndarray,
    std_err: np.ndarray,
    *,
    label: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Excess chemical potential against density, with a band of two standard errors; NaN leaves a
    gap.

    Parameters
    ----------
    density
        rho sigma^3. Shape (M,).
    value, std_err
        beta mu_ex. Shape (M,), kT.
    label
        Name in the legend.
    """
    ax = _axes(ax)
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
    return _with_legend(ax)


def convergence(series: Convergence, ax: Axes | None = None) -> Axes:
    """Estimates from the first and from the last part of the samples, which agree where nothing
    drifts.

    Bars of one standard error; the band is that of all samples (P. V. Klimovich, M. R. Shirts and
    D. L. Mobley, J. Comput. Aided Mol. Des. 29, 397 (2015)).
    """
    ax = _axes(ax)
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
    return _with_legend(ax)


def work_histogram(
    forward: np.ndarray, reverse: np.ndarray, value: float, ax: Axes | None = None
) -> Axes:
    """Works of noising and of denoising paths: by Crooks' theorem the two densities cross at the
    free energy.

    Parameters
    ----------
    forward, reverse
        omega of the paths of each direction, kT. Shape (n_paths,).
    value
        beta F_ex, where to draw the line.
    """
    ax = _axes(ax)
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
    return _with_legend(ax)


def bracket(
    n_particles: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    lower_err: np.ndarray,
    upper_err: np.ndarray,
    reference: np.ndarray | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Rigorous bounds of beta F_ex over N, as distances from a reference or else from their middle.

    Parameters
    ----------
    n_particles
        N. Shape (M,).
    lower, upper, lower_err, upper_err
        Bounds and their standard errors, kT; bars show two. Shape (M,).
    reference
        beta F_ex at each N; NaN takes the middle there. Shape (M,).
    """
    ax = _axes(ax)
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
    of_what = "their middle" if reference is None else "the reference"
    ax.set(xlabel="N", ylabel=f"bound − {of_what} / kT", title="Bracket ± 2 errors")
    return _with_legend(ax)


def training_curve(metrics: Sequence[Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """Loss on training batches and on held-out frames.

    Parameters
    ----------
    metrics
        Lines of metrics.jsonl, with `step`, `loss` and `validation_loss`.
    """
    ax = _axes(ax)
    steps = [line["step"] for line in metrics]
    for name, colour in (("loss", COLOURS[0]), ("validation_loss", COLOURS[1])):
        ax.plot(steps, [line[name] for line in metrics], color=colour, label=name.replace("_", " "))
    ax.set(xlabel="step", ylabel="loss", title="Training")
    return _with_legend(ax)


def gain_by_noise(held_out: Mapping[str, Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """How far the network has raised the denoising bound above the two-body path's, by tenths of ln
    s.

    Parameters
    ----------
    held_out
        `held_out` of a line of metrics.jsonl: for each state point `noise_sigma`, `decile_gain_kt`
        and `decile_gain_err`.
    """
    ax = _axes(ax)
    for number, (label, gains) in enumerate(held_out.items()):
        ax.errorbar(
            gains["noise_sigma"],
            gains["decile_gain_kt"],
            yerr=2 * np.asarray(gains["decile_gain_err"]),
            color=COLOURS[number % len(COLOURS)],
            marker="os^Dv"[number % 5],
            markersize=3,
            capsize=2,
            label=label.partition("_")[0],
        )
    ax.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
    ax.set(
        xscale="log",
        xlabel="noise s / σ",
        ylabel="gain / kT",
        title="Bound gained over the two-body path",
    )
    return _with_legend(ax)


def gap_by_noise(
    noise_sigma: Sequence[float],
    density_kt: Sequence[float],
    std_err: Sequence[float],
    ax: Axes | None = None,
) -> Axes:
    """The gap of a model by unit of ln s, as tethered chains measure it, with bars of two standard
    errors.

    Parameters
    ----------
    noise_sigma, density_kt, std_err
        Diagnostics `gap_noise_sigma`, `gap_density_kt` and `gap_density_err` of
        `neural_ti_tethered`.
    """
    ax = _axes(ax)
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
    ax.set(
        xscale="log", xlabel="noise s / σ", ylabel="gap per ln s / kT", title="What the model lacks"
    )
    return ax


def estimates(results: Mapping[str, tuple[float, float]], ax: Axes | None = None) -> Axes:
    """Estimates side by side with bars of two standard errors; an infinite error gives an open
    marker without a bar.

    Parameters
    ----------
    results
        Value and standard error by the name of the method, kT.
    """
    ax = _axes(ax)
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


def save(ax: Axes, path: str | Path, columns: Mapping[str, np.ndarray | Sequence[float]]) -> Path:
    """Write the figure of `ax` to `path`, and what it shows beside it, as `path` with the suffix
    .csv.

    Parameters
    ----------
    path
        Its suffix chooses the format: .svg, .png or .pdf.
    columns
        Columns of equal length by their names.

    Returns
    -------
    Path
        The file of the numbers.

    Raises
    ------
    TypeError
        If `ax` is not on a figure of its own.
    ValueError
        If the columns differ in length.
    """
    figure, path = ax.get_figure(), Path(path)
    if not isinstance(figure, Figure):
        raise TypeError(
            "these axes are in a subfigure or in none: draw on axes of a Figure to save it"
        )
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(repr(float(number)) for number in row) for row in rows)]
    numbers = path.with_suffix(".csv")
    write_text(numbers, "\n".join(lines) + "\n")
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    return numbers


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    axes: Axes = plt.subplots(layout="constrained")[1]
    return axes


def _with_legend(ax: Axes) -> Axes:
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False)
    return ax
