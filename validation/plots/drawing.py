"""What the drawing functions share: colours, axes, legends, and `save`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, NullFormatter

from openmm_nti.files import atomic_path, write_text

# Three hues that stay apart on light and dark paper and for colour-blind readers.
COLOURS = ("#2f7ed8", "#d9741a", "#2a9d72")


def axes_for(ax: Axes | None) -> Axes:
    """Return `ax`, or axes on a new figure where there is none."""
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    axes: Axes = plt.subplots(layout="constrained")[1]
    return axes


def with_legend(ax: Axes) -> Axes:
    """Return `ax` with a legend, if anything in it has a name."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False)
    return ax


def noise_axis(ax: Axes) -> None:
    """Make x a logarithmic axis of noise, with a few plain numbers in each decade."""
    ax.set(xscale="log", xlabel="noise s / σ")
    ax.xaxis.set_major_locator(_FewNumbers())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def name_at_the_end(ax: Axes) -> None:
    """Write the name of each series beside its last point, in their order from top to bottom."""
    ends: list[tuple[float, float, str, str]] = []
    for bars in ax.containers:
        if not isinstance(bars, ErrorbarContainer):
            continue
        points = np.asarray(bars.lines[0].get_xydata(), dtype=float)
        points = points[np.isfinite(points).all(axis=1)]
        if len(points):
            x, y = points[-1]
            ends.append((-y, x, str(bars.get_label()), str(bars.lines[0].get_color())))
    for number, (minus_y, x, name, colour) in enumerate(sorted(ends)):
        ax.annotate(
            name,
            (x, -minus_y),
            (1.04, 1.0 - (number + 0.5) / len(ends)),
            textcoords="axes fraction",
            color=colour,
            va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6},
        )


class _FewNumbers(Locator):
    """Ticks at 1, 2 and 5 of each decade; more where there is less than one decade."""

    def __call__(self) -> list[float]:
        """Return the ticks of the axis."""
        low, high = sorted(np.asarray(self.axis.get_view_interval()))  # type: ignore[union-attr]
        return self.tick_values(low, high)

    def tick_values(self, low: float, high: float) -> list[float]:
        """Return the ticks between `low` and `high`."""
        several = high > 10.0 * low
        leading = (1.0, 2.0, 5.0) if several else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
        decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        ticks = np.outer(decades, leading).ravel()
        return [float(tick) for tick in ticks if low <= tick <= high]


def save(ax: Axes, path: str | Path, columns: Mapping[str, np.ndarray | Sequence[float]]) -> Path:
    """Write the figure of `ax` to `path`, and the numbers it shows beside it, as CSV.

    Parameters
    ----------
    ax
        The drawing.
    path
        Its suffix chooses the format: .svg, .png or .pdf.
    columns
        Columns of equal length by their names.

    Returns
    -------
    Path
        The file of the numbers: `path` with the suffix .csv.

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
