"""Draw the figures of README and of the index from numbers in docs/paper_full.

Usage: python docs/pictures.py
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from openmm_nti.files import atomic_path

HERE = Path(__file__).parent
SMALLEST_GAP, DARK_GAP = 0.1, 4.0  # kT; smaller ones look alike, numbers on larger ones are white
METHODS = ("denoiser", "neural_ti_bound", "neural_ti_tethered", "neural_ti")
LABELS = {"denoiser": "denoiser alone"}
MODELS = {"ljfluidt125": "lj-fluid-t1.25", "ljfamily": "lj-family"}
BLUE, ORANGE = "#2f7ed8", "#d9741a"


def bracket() -> Figure:
    """Draw the rigorous bounds of path weights around the best exact free energy."""
    table = np.genfromtxt(
        HERE / "paper_full" / "figures" / "brackets.csv", delimiter=",", names=True
    )
    n, exact = table["N"], table["best_exact"]
    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.fill_between(
        n,
        table["lower"],
        table["upper"],
        color=BLUE,
        alpha=0.3,
        linewidth=0,
        label="between bounds",
    )
    left.plot(n, exact, "o", color=ORANGE, markersize=4, label="best exact estimate")
    left.set(xlabel="number of atoms N", ylabel="excess free energy / kT", title="Free energy")
    left.legend(frameon=False)
    for side, marker in (("lower", "^"), ("upper", "v")):
        right.errorbar(
            n,
            table[side] - exact,
            yerr=2 * table[f"{side}_err"],
            color=BLUE,
            marker=marker,
            markersize=4,
            linewidth=1,
            capsize=2,
            label=f"{side} bound",
        )
    right.axhline(0.0, color=ORANGE, linewidth=1.2, label="best exact estimate")
    right.set(xlabel="number of atoms N", ylabel="bound less exact / kT", title="Bounds ± 2 errors")
    right.legend(frameon=False, loc="upper left")
    return figure


def accuracy() -> Figure:
    """Draw how far estimates of lj-fluid-t1.25 lie from independent values, against N."""
    table = np.genfromtxt(HERE / "pictures" / "accuracy.csv", delimiter=",", names=True)
    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for ax, names in ((left, METHODS[:2]), (right, METHODS[2:])):
        for shift, (name, colour) in enumerate(zip(names, (BLUE, ORANGE), strict=True)):
            error = np.hypot(table[f"{name}_err"], table["reference_err"])
            ax.errorbar(
                table["N"] + 4 * shift - 2,
                table[name],
                yerr=2 * error,
                fmt="o",
                color=colour,
                markersize=4,
                capsize=2,
                label=LABELS.get(name, name),
            )
        ax.axhline(0.0, color="0.5", linewidth=1)
        ax.set(xlabel="number of atoms N", ylabel="estimate less reference / kT")
        ax.legend(frameon=False, loc="lower left")
    left.set_title("Lower bounds ± 2 errors")
    right.set_title("Estimates ± 2 errors")
    return figure


def gaps() -> Figure:
    """Draw what a shipped model leaves out at each temperature and density, as a map of circles."""
    table = np.genfromtxt(HERE / "pictures" / "gaps.csv", delimiter=",", names=True)
    figure = Figure(figsize=(8.0, 3.8), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    names = [name[4:] for name in table.dtype.names if name.startswith("gap_")]
    for ax, name in zip(axes, [name for name in names if not name.endswith("_err")], strict=True):
        gap, error = table[f"gap_{name}"], table[f"gap_{name}_err"]
        shown = np.maximum(gap, SMALLEST_GAP)
        circles = ax.scatter(
            table["density_star"],
            table["temperature_star"],
            s=260,
            c=shown,
            cmap="YlOrRd",
            norm=mpl.colors.LogNorm(SMALLEST_GAP, 16.0),
            edgecolors="0.6",
        )
        for row, one, its in zip(table, gap, error, strict=True):
            at = (row["density_star"], row["temperature_star"])
            colour = "white" if one > DARK_GAP else "black"
            text = f"{one:.1f}" if abs(one) > its else "0"
            ax.annotate(text, at, ha="center", va="center", fontsize=7, color=colour)
        ax.set(xlabel="ρ σ³", title=MODELS.get(name, name), yscale="log")
        ax.set_xlim(0.1, 1.0)
        ax.set_yticks([1, 1.25, 1.5, 2, 3], ["1", "1.25", "1.5", "2", "3"])
        ax.minorticks_off()
    axes[0].set(ylabel="T* = kT / ε")
    figure.colorbar(circles, ax=axes, label="gap of the denoiser / kT")
    return figure


def main() -> None:
    """Write every figure below docs/pictures."""
    settings = {
        "svg.hashsalt": "openmm-nti",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    for draw in (bracket, accuracy, gaps):
        with (
            mpl.rc_context(settings),
            atomic_path(HERE / "pictures" / f"{draw.__name__}.svg") as path,
        ):
            draw().savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
