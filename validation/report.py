"""report.html: one page that holds everything to judge a run by, and needs no other file and no network.

It shows what results.json and the files beside it hold and computes nothing but verdicts (`verdicts`). Figures are
inline SVG in the colour of the text, so that they follow the reader's light or dark setting.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from openmm_nti.files import read_json, write_text
from openmm_nti.state import StatePoint
from openmm_nti.validation import plots
from openmm_nti.validation.verdicts import DESCRIPTIONS, REFERENCES, has_error, judge, reference_method, uncertain
from openmm_nti.validation.window_data import read_arrays

_Estimates = Mapping[str, Mapping[str, Any]]
_Drawing = Callable[[Axes], Axes]
_TEMPLATES = Path(__file__).parent / "templates"
_QUANTITIES = {"beta_f_ex": "β F_ex", "beta_mu_ex": "β μ_ex"}
_TEXT_COLOUR = "#010203"  # replaced by the colour of the page's text
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "openmm-nti", "font.size": 9, "axes.titlesize": 10,
    "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.4,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _TEXT_COLOUR),
}  # fmt: skip


@dataclass
class _Section:
    """One state point on the page."""

    title: str
    headline: str
    rows: list[dict[str, str]]
    figures: list[tuple[str, Markup]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def write_report(run_directory: Path) -> Path:
    """Write `run_directory`/report.html from results.json and the files beside it.

    Parameters
    ----------
    run_directory
        Directory of a run. Files that are missing are left out of the page, with a note; results.json must be there.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    FileNotFoundError
        If there is no results.json.
    ValueError
        If a file is damaged.
    """
    results = read_json(run_directory / "results.json")
    config = run_directory / "config.yaml"
    training, training_note = _training(run_directory)
    page = _environment().get_template("report.html").render(
        sections=[_section(point, run_directory) for point in results["state_points"]],
        training=training,
        training_note=training_note,
        provenance=_flat(results.get("provenance", {})),
        config=config.read_text(encoding="utf-8") if config.is_file() else None,
    )  # fmt: skip
    path = run_directory / "report.html"
    write_text(path, page)
    return path


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _section(point: Mapping[str, Any], run_directory: Path) -> _Section:
    state = StatePoint.model_validate(point["diagnostics"]["state"])
    rows = [row for quantity in _QUANTITIES for row in _rows(quantity, point.get(quantity, {}))]
    section = _Section(str(state), _headline(point.get("beta_f_ex", {})), rows)
    if not rows:
        section.notes.append("There are no estimates at this state point yet.")
    for caption, draw in _drawings(point, run_directory / state.label, section.notes):
        section.figures.append((caption, _svg(draw, f"{state.label}: {caption}")))
    return section


def _rows(quantity: str, estimates: _Estimates) -> Iterator[dict[str, str]]:
    order = list(DESCRIPTIONS)
    for name in sorted(estimates, key=lambda method: order.index(method) if method in order else len(order)):
        estimate = estimates[name]
        verdict = judge(name, estimates)
        yield {
            "quantity": _QUANTITIES[quantity],
            "method": name,
            "description": DESCRIPTIONS.get(name, ""),
            "value": uncertain(estimate["value"], estimate["std_err"]),
            "convention": estimate["convention"],
            "level": verdict.level,
            "verdict": verdict.text,
        }


def _headline(estimates: _Estimates) -> str:
    reference = reference_method(estimates)
    if reference is None:
        return "No exact estimate with an error bar yet."
    best = min((name for name in REFERENCES if name in estimates), key=lambda name: _error(estimates[name]))
    bad = [name for name in estimates if judge(name, estimates).level == "bad"]
    agreement = f"Look at {', '.join(bad)} below." if bad else "No estimate contradicts another."
    return f"β F_ex = {uncertain(estimates[best]['value'], estimates[best]['std_err'])} kT ({best}). {agreement}"


def _error(estimate: Mapping[str, Any]) -> float:
    return float(estimate["std_err"]) if has_error(estimate) else math.inf


def _drawings(point: Mapping[str, Any], directory: Path, notes: list[str]) -> Iterator[tuple[str, _Drawing]]:
    """Captions and drawing functions of what there is to draw; `notes` receives what there is not."""
    estimates: _Estimates = point.get("beta_f_ex", {})
    if estimates:
        values = {name: (entry["value"], _error(entry)) for name, entry in estimates.items()}
        yield "All estimates of β F_ex", lambda ax: plots.estimates(values, ax)
    profiles = _profiles(estimates, directory)
    if profiles:
        yield "Where the free energy comes from along λ", lambda ax: _draw_profiles(profiles, ax)
    else:
        notes.append("No profile of dU/dλ: neither ti_neural_md nor neural_ti has been run.")
    if "bar_chain" in estimates:
        chain = estimates["bar_chain"]["diagnostics"]
        yield "Chemical potential along the insertion chain", partial(_draw_chain, chain, point["diagnostics"]["state"])
    for name in ("mbar_neural", "mbar_softcore"):
        matrix = estimates.get(name, {}).get("diagnostics", {}).get("overlap_matrix")
        if matrix is None:
            notes.append(f"No overlap matrix of {name}: it has not been run.")
        else:
            yield f"Overlap of the windows of {name}", partial(plots.overlap_matrix, matrix)
    if (directory / "gr.npz").is_file():
        yield "Structure of the reference data and of the model's own samples", partial(_draw_gr, directory / "gr.npz")
    else:
        notes.append("No g(r): gr.npz is not there.")


def _profiles(estimates: _Estimates, directory: Path) -> dict[str, tuple[Any, Any, Any]]:
    """The profiles lambdas, <dU/dlambda> and its error along the learned path, by method."""
    profiles = {}
    if "ti_neural_md" in estimates:
        diagnostics = estimates["ti_neural_md"]["diagnostics"]
        profiles["ti_neural_md"] = tuple(diagnostics[name] for name in ("lambdas", "dudl_mean", "dudl_std_err"))
    if (directory / "neural_ti.npz").is_file():
        names = ("lambdas", "dudl_mean", "dudl_err")
        arrays = read_arrays(directory / "neural_ti.npz", names)
        profiles["neural_ti"] = tuple(arrays[name] for name in names)
    return profiles


def _draw_profiles(profiles: Mapping[str, tuple[Any, Any, Any]], ax: Axes) -> Axes:
    for label, profile in profiles.items():
        plots.dudl(*profile, label=label, ax=ax)
    return ax


def _draw_chain(chain: Mapping[str, Any], state: Mapping[str, Any], ax: Axes) -> Axes:
    values = np.array(chain["beta_mu_ex"])
    density = np.arange(1, len(values) + 1) / state["box_length_sigma"] ** 3
    plots.chemical_potential(density, values, np.array(chain["beta_mu_ex_std_err"]), label="bar_chain", ax=ax)
    failing = chain["first_n_where_insertion_fails"]
    if failing is not None:
        ax.axvline(density[failing - 1], color="0.6", linewidth=0.8, label="insertion fails")
        ax.legend(frameon=False)
    return ax


def _draw_gr(path: Path, ax: Axes) -> Axes:
    with np.load(path) as file:
        names = [name for name in ("g_data", "g_model") if name in file.files]
    arrays = read_arrays(path, ["r_sigma", *names])
    for name in names:
        plots.radial_distribution(arrays["r_sigma"], arrays[name], label=name.removeprefix("g_"), ax=ax)
    return ax


def _training(run_directory: Path) -> tuple[list[tuple[str, Markup]], str | None]:
    """Captions and figures of the training, or else a note."""
    path = run_directory / "model" / "metrics.jsonl"
    if not path.is_file():
        return [], "No training curve: model/metrics.jsonl is not there."
    metrics = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not metrics:
        return [], "No training curve: model/metrics.jsonl is empty."
    drawings: dict[str, _Drawing] = {
        "Loss on training batches and on held-out frames": partial(plots.training_curve, metrics)
    }
    if "held_out" in metrics[-1]:
        caption = "What the network adds to the lower bound, by noise level, on held-out frames (± 2 errors)"
        drawings[caption] = partial(plots.gain_by_noise, metrics[-1]["held_out"])
    return [(caption, _svg(draw, caption)) for caption, draw in drawings.items()], None


def _svg(draw: _Drawing, label: str) -> Markup:
    """The figure that `draw` makes as SVG for the inside of a page: transparent, in the colour of the text."""
    text = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.4, 3.1), layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    body = text.getvalue()
    body = body[body.index("<svg") :].replace(_TEXT_COLOUR, "currentColor")
    body = re.sub(r' (width|height)="[0-9.]+pt"', "", body, count=2)  # the page decides the size
    opening = f'<svg role="img" aria-label="{escape(label)}"'
    return Markup(opening + body.removeprefix("<svg"))  # noqa: S704  matplotlib escapes the text it writes


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as one, with dotted keys."""
    flat = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat
