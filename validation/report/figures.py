"""The figures of a report: each as inline SVG in the colour of the page's text, with the numbers it
shows as CSV.
"""

from __future__ import annotations

import csv
import io
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from openmm_nti.runtime.stored import read_arrays
from openmm_nti.validation import plots
from openmm_nti.validation.analysis.convergence import Convergence
from openmm_nti.validation.report.verdicts import has_error, uncertain

_TEXT_COLOUR = "#010203"  # replaced by the colour of the page's text
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "openmm-nti",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.4,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"),
        _TEXT_COLOUR,
    ),
}


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
    point: Mapping[str, Any], directory: Path, label: str, notes: list[str]
) -> list[ReportFigure]:
    """The figures of one state point.

    Parameters
    ----------
    point
        Its entry in results.json.
    directory
        Its folder in the run.
    label
        Of the state point; begins the names of the files of numbers.
    notes
        Receives a line about each figure that there is nothing for.
    """
    return [
        _figure(f"{label}_{name}", caption, draw, header, rows)
        for name, caption, draw, header, rows in _drawings(point, directory, notes)
    ]


def training_figures(path: Path) -> list[ReportFigure]:
    """Training curve and gain of the network from metrics.jsonl; none where that file is missing or
    empty.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if not lines:
        return []
    metrics = [json.loads(line) for line in lines]
    keys = ("step", "loss", "validation_loss")
    curve = _figure(
        "training",
        "Loss on training batches and on held-out frames",
        partial(plots.training_curve, metrics),
        keys,
        ([line[key] for key in keys] for line in metrics),
    )
    held_out = metrics[-1].get("held_out")
    if held_out is None:
        return [curve]
    columns = ("noise_sigma", "decile_gain_kt", "decile_gain_err")
    rows = (
        (label, *row)
        for label, gains in held_out.items()
        for row in zip(*(gains[c] for c in columns), strict=True)
    )
    caption = (
        "What the network adds to the lower bound, by noise level, on held-out frames (± 2 errors)"
    )
    return [
        curve,
        _figure(
            "gain", caption, partial(plots.gain_by_noise, held_out), ("state_point", *columns), rows
        ),
    ]


_Drawing = tuple[str, str, Callable[[Axes], Axes], Sequence[str], Iterable[Sequence[Any]]]


def _drawings(point: Mapping[str, Any], directory: Path, notes: list[str]) -> Iterator[_Drawing]:
    """Name, caption, drawing function, header and rows of what there is to draw."""
    estimates: Mapping[str, Mapping[str, Any]] = point.get("beta_f_ex", {})
    if estimates:
        values = {
            name: (entry["value"], float(entry["std_err"]) if has_error(entry) else np.inf)
            for name, entry in estimates.items()
        }
        table = [(name, *numbers) for name, numbers in values.items()]
        columns = ("method", "beta_f_ex_kt", "std_err_kt")
        yield (
            "estimates",
            "All estimates of β F_ex",
            partial(plots.estimates, values),
            columns,
            table,
        )
    profiles = _profiles(estimates, directory)
    if profiles:
        rows = [
            (name, *row) for name, profile in profiles.items() for row in zip(*profile, strict=True)
        ]
        names = ("method", "lambda", "dudl_kt", "std_err_kt")
        yield (
            "dudl",
            "Where the free energy comes from along λ",
            partial(_draw_profiles, profiles),
            names,
            rows,
        )
    else:
        notes.append("No profile of dU/dλ: neither ti_neural_md nor neural_ti has been run.")
    if "bar_chain" in estimates:
        yield _chain(estimates["bar_chain"]["diagnostics"], point["diagnostics"]["state"])
    for name in ("mbar_neural", "mbar_softcore"):
        matrix = estimates.get(name, {}).get("diagnostics", {}).get("overlap_matrix")
        if matrix is None:
            notes.append(f"No overlap matrix of {name}: it has not been run.")
            continue
        header = [f"window_{number}" for number in range(len(matrix))]
        yield (
            f"overlap_{name}",
            f"Overlap of the windows of {name}",
            partial(plots.overlap_matrix, matrix),
            header,
            matrix,
        )
    for name in ("neural", "softcore"):
        if (directory / f"{name}_convergence.npz").is_file():
            yield _convergence(directory / f"{name}_convergence.npz", f"mbar_{name}")
    yield from _gap(estimates.get("neural_ti_tethered", {}).get("diagnostics", {}))
    if "path_bar" in estimates and (directory / "path_works.npz").is_file():
        yield _works(directory / "path_works.npz", estimates["path_bar"]["value"])
    if (directory / "gr.npz").is_file():
        yield _radial_distributions(directory / "gr.npz")
    else:
        notes.append("No g(r): gr.npz is not there.")


def _profiles(
    estimates: Mapping[str, Mapping[str, Any]], directory: Path
) -> dict[str, tuple[Any, Any, Any]]:
    """The profiles lambdas, <dU/dlambda> and its error along the learned path, by method."""
    profiles = {}
    for method in ("ti_neural_md", "neural_ti_noised"):
        if method in estimates:
            diagnostics = estimates[method]["diagnostics"]
            profiles[method] = tuple(
                diagnostics[name] for name in ("lambdas", "dudl_mean", "dudl_std_err")
            )
    if (directory / "neural_ti.npz").is_file():
        names = ("lambdas", "dudl_mean", "dudl_err")
        arrays = read_arrays(directory / "neural_ti.npz", names)
        profiles["neural_ti"] = tuple(arrays[name] for name in names)
    return profiles


def _draw_profiles(profiles: Mapping[str, tuple[Any, Any, Any]], ax: Axes) -> Axes:
    for label, profile in profiles.items():
        plots.dudl(*profile, label=label, ax=ax)
    return ax


def _chain(chain: Mapping[str, Any], state: Mapping[str, Any]) -> _Drawing:
    values, errors = (
        np.array(chain[name], dtype=float) for name in ("beta_mu_ex", "beta_mu_ex_std_err")
    )
    n = np.arange(1, len(values) + 1)
    density, failing = n / state["box_length_sigma"] ** 3, chain["first_n_where_insertion_fails"]

    def draw(ax: Axes) -> Axes:
        plots.chemical_potential(density, values, errors, label="bar_chain", ax=ax)
        if failing is not None:
            ax.axvline(density[failing - 1], color="0.6", linewidth=0.8, label="insertion fails")
            ax.legend(frameon=False)
        return ax

    header = ("n", "density_star", "beta_mu_ex_kt", "std_err_kt")
    rows = zip(n.tolist(), density, values, errors, strict=True)
    return "insertion_chain", "Chemical potential along the insertion chain", draw, header, rows


def _convergence(path: Path, method: str) -> _Drawing:
    columns = read_arrays(path, Convergence._fields)
    caption = f"{method} from the first and from the last part of its samples (band: all of them)"
    draw = partial(plots.convergence, Convergence(**columns))
    return (
        f"convergence_{method}",
        caption,
        draw,
        list(columns),
        zip(*columns.values(), strict=True),
    )


def _gap(facts: Mapping[str, Any]) -> Iterator[_Drawing]:
    if "gap_noise_sigma" not in facts:
        return
    names = ("gap_noise_sigma", "gap_density_kt", "gap_density_err")
    columns = [facts[name] for name in names]
    caption = (
        f"Where the model's gap of {uncertain(facts['gap'], facts['gap_err'])} kT lies (± 2 errors)"
    )
    yield "gap", caption, partial(plots.gap_by_noise, *columns), names, zip(*columns, strict=True)


def _works(path: Path, value: float) -> _Drawing:
    works = read_arrays(path, ("forward", "reverse"))
    rows = [(direction, work) for direction, values in works.items() for work in values.tolist()]
    caption = "Works of noising and denoising paths; their densities cross at β F_ex"
    draw = partial(plots.work_histogram, works["forward"], works["reverse"], value)
    return "works", caption, draw, ("direction", "omega_kt"), rows


def _radial_distributions(path: Path) -> _Drawing:
    with np.load(path) as file:
        names = [name for name in ("g_data", "g_model") if name in file.files]
    arrays = read_arrays(path, ["r_sigma", *names])

    def draw(ax: Axes) -> Axes:
        for name in names:
            plots.radial_distribution(
                arrays["r_sigma"], arrays[name], label=name.removeprefix("g_"), ax=ax
            )
        return ax

    caption = "Structure of the reference data and of the model's own samples"
    return "gr", caption, draw, list(arrays), zip(*arrays.values(), strict=True)


def _figure(
    name: str,
    caption: str,
    draw: Callable[[Axes], Axes],
    header: Sequence[str],
    rows: Iterable[Sequence[Any]],
) -> ReportFigure:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(
        [value if isinstance(value, str | int) else f"{value:.8g}" for value in row] for row in rows
    )
    return ReportFigure(
        f"{name}.csv", caption, _svg(draw, name, caption), data_address(text.getvalue(), "text/csv")
    )


def data_address(text: str, kind: str) -> str:
    """`text` as a data: address of the media type `kind`."""
    return f"data:{kind};base64,{b64encode(text.encode()).decode()}"


def _svg(draw: Callable[[Axes], Axes], name: str, label: str) -> Markup:
    """The figure that `draw` makes as SVG for the inside of a page: transparent, in the colour of
    the text.
    """
    text = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.4, 3.1), layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(
            text, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    body = text.getvalue()
    body = body[body.index("<svg") :].replace(_TEXT_COLOUR, "currentColor")
    body = re.sub(r' (width|height)="[0-9.]+pt"', "", body, count=2)  # the page decides the size
    # Every figure of matplotlib numbers its parts from 1: on one page they need a name of their
    # own.
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    opening = f'<svg role="img" aria-label="{escape(label)}"'
    return Markup(opening + body.removeprefix("<svg"))  # noqa: S704  matplotlib escapes the text it writes
