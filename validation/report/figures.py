"""The figures of a report, each with its numbers as CSV.

They are inline SVG in the colour of the page's text. Estimators supply their own figures. Figures
of the same name are drawn on the same axes, so that profiles of several methods can be compared.
This module adds the figures of a whole state point, and of the training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from markupsafe import Markup
from matplotlib.axes import Axes

from openmm_nti.free_energy import FreeEnergy
from openmm_nti.runtime.stored import read_arrays
from openmm_nti.training.inputs import metrics_until
from openmm_nti.validation import plots
from openmm_nti.validation.estimators.registry import all_estimators
from openmm_nti.validation.plots.figure import Figure
from openmm_nti.validation.report.drawing import csv_text, data_address, svg


@dataclass(frozen=True)
class ReportFigure:
    """A figure on the page.

    Attributes
    ----------
    name, caption
        File name of the numbers, and the line below the figure.
    svg
        The drawing.
    numbers
        The CSV as a data: address.
    """

    name: str
    caption: str
    svg: Markup
    numbers: str


def figures_at(
    estimates: Mapping[str, FreeEnergy], directory: Path, label: str, notes: list[str]
) -> list[ReportFigure]:
    """Return the figures of one state point.

    Parameters
    ----------
    estimates
        Its estimates of both quantities, by method.
    directory
        Its folder in the run.
    label
        Of the state point; begins the names of the files of numbers.
    notes
        Receives a line about what could not be drawn.
    """
    drawings = [
        *_estimates_figure(estimates),
        *_of_estimators(estimates, directory, notes),
        *_structure(directory, notes),
    ]
    return [_on_the_page(figure, f"{label}_{figure.name}") for figure in drawings]


def training_figures(path: Path) -> list[ReportFigure]:
    """Return the training curve and the gain of the network; none without metrics.jsonl."""
    metrics = metrics_until(path)
    if not metrics:
        return []
    keys = ("step", "loss", "validation_loss")
    curve = Figure(
        "training",
        "Loss on training batches and on held-out frames",
        partial(plots.training_curve, metrics),
        keys,
        [[line[key] for key in keys] for line in metrics],
    )
    figures = [curve]
    held_out = metrics[-1].get("held_out")
    if held_out is not None:
        columns = ("noise_sigma", "decile_gain_kt", "decile_gain_err")
        rows = [
            (label, *row)
            for label, gains in held_out.items()
            for row in zip(*(gains[name] for name in columns), strict=True)
        ]
        caption = (
            "What the network adds to the lower bound, by noise level, on held-out frames "
            "(± 2 errors)"
        )
        draw = partial(plots.gain_by_noise, held_out)
        figures.append(Figure("gain", caption, draw, ("state_point", *columns), rows))
    return [_on_the_page(figure, figure.name) for figure in figures]


def _estimates_figure(estimates: Mapping[str, FreeEnergy]) -> Iterator[Figure]:
    values = {
        name: (found.value, found.std_err)
        for name, found in estimates.items()
        if found.quantity == "beta_f_ex"
    }
    if values:
        columns = ("method", "beta_f_ex_kt", "std_err_kt")
        rows = [(name, *numbers) for name, numbers in values.items()]
        draw = partial(plots.estimates, values)
        yield Figure("estimates", "All estimates of β F_ex", draw, columns, rows)


def _of_estimators(
    estimates: Mapping[str, FreeEnergy], directory: Path, notes: list[str]
) -> list[Figure]:
    """Return the estimators' own figures in the order of a run; those of one name as one."""
    figures: dict[str, Figure] = {}
    missing = []
    phases = {known.phase for name, known in all_estimators().items() if name in estimates}
    for name, known in all_estimators().items():
        if name not in estimates:
            missing += [name] if known.in_runs and known.phase in phases else []
            continue
        try:
            drawn = list(known.figures(estimates[name], directory))
        except (AttributeError, KeyError, TypeError) as error:  # diagnostics of another version
            notes.append(f"No figures of {name}: its results are of another version ({error}).")
            continue
        for figure in drawn:
            same = figures.get(figure.name)
            figures[figure.name] = figure if same is None else _overlaid(same, figure)
    if missing:
        notes.append(f"No figures of {', '.join(missing)}: not estimated here.")
    return list(figures.values())


def _overlaid(first: Figure, second: Figure) -> Figure:
    """Return both figures on the same axes, with the rows of both."""

    def draw(ax: Axes) -> Axes:
        return second.draw(first.draw(ax))

    return replace(first, draw=draw, rows=chain(first.rows, second.rows))


def _structure(directory: Path, notes: list[str]) -> Iterator[Figure]:
    """Yield g(r) of the data and of the model's samples."""
    path = directory / "gr.npz"
    if not path.is_file():
        notes.append("No g(r): gr.npz is not there.")
        return
    names = ("g_data", "err_data", "g_model", "err_model")
    arrays = read_arrays(path, ("r_sigma",), names)

    def draw(ax: Axes) -> Axes:
        for label in ("data", "model"):
            if f"g_{label}" in arrays:
                g, error = arrays[f"g_{label}"], arrays.get(f"err_{label}")
                plots.radial_distribution(arrays["r_sigma"], g, std_err=error, label=label, ax=ax)
        return ax

    caption = "Structure of the reference data and of the model's own samples"
    yield Figure("gr", caption, draw, list(arrays), zip(*arrays.values(), strict=True))


def _on_the_page(figure: Figure, name: str) -> ReportFigure:
    numbers = data_address(csv_text(figure.header, figure.rows), "text/csv")
    return ReportFigure(
        f"{name}.csv", figure.caption, svg(figure.draw, name, figure.caption), numbers
    )
