"""Draw the figures of README and of the index from numbers in docs/paper_full.

Usage: python docs/pictures.py
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from openmm_nti.files import atomic_path

HERE = Path(__file__).parent
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


def main() -> None:
    """Write every figure below docs/pictures."""
    settings = {
        "svg.hashsalt": "openmm-nti",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context(settings), atomic_path(HERE / "pictures" / "bracket.svg") as path:
        bracket().savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
