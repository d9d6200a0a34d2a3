"""report.html: one page that holds everything to judge a run by, and needs no other file and no
network.

It shows what results.json and the files beside it hold and computes nothing but verdicts
(`verdicts`, `checks`). All tables can be sorted, each figure carries its numbers, and a policy in
the page forbids it to load anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from openmm_nti.files import read_json, write_text
from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.report import checks
from openmm_nti.validation.report.checks import Answer
from openmm_nti.validation.report.figures import (
    ReportFigure,
    data_address,
    figures_at,
    training_figures,
)
from openmm_nti.validation.report.verdicts import (
    DESCRIPTIONS,
    REFERENCES,
    has_error,
    judge,
    reference_method,
    uncertain,
)

_Estimates = Mapping[str, Mapping[str, Any]]
_TEMPLATES = Path(__file__).parent / "templates"
_LONG = 4  # longer lists are left to results.json
_QUANTITIES = {"beta_f_ex": "β F_ex", "beta_mu_ex": "β μ_ex"}


@dataclass(frozen=True)
class _Row:
    """One estimate in the table."""

    method: str
    quantity: str
    value: float
    std_err: float
    shown: str
    convention: str
    answers: dict[str, Answer]
    verdict: Answer
    facts: dict[str, str]

    @property
    def description(self) -> str:
        return DESCRIPTIONS.get(self.method, "")


@dataclass(frozen=True)
class _Section:
    """One state point on the page."""

    state: StatePoint
    best: str | None
    headline: str
    bracket: str
    rows: list[_Row]
    figures: list[ReportFigure]
    notes: list[str]
    reference: dict[str, str]

    @property
    def worst(self) -> str:
        """The level of the worst verdict or answer on the state point."""
        levels = {one.level for row in self.rows for one in (row.verdict, *row.answers.values())}
        return next((level for level in ("bad", "warn") if level in levels), "good")


def write_report(run_directory: Path) -> Path:
    """Write `run_directory`/report.html from results.json and the files beside it.

    Parameters
    ----------
    run_directory
        Directory of a run. Files that are missing are left out of the page, with a note;
        results.json must be there.

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
    config, card = run_directory / "config.yaml", run_directory / "model" / "model.json"
    page = (
        _environment()
        .get_template("report.html")
        .render(
            sections=[_section(point, run_directory) for point in results["state_points"]],
            training=training_figures(run_directory / "model" / "metrics.jsonl"),
            model=_flat(read_json(card)) if card.is_file() else {},
            provenance=_flat(results.get("provenance", {})),
            config=config.read_text(encoding="utf-8") if config.is_file() else None,
            results=data_address(json.dumps(results, indent=2), "application/json"),
        )
    )
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
    estimates: _Estimates = point.get("beta_f_ex", {})
    rows = [row for quantity in _QUANTITIES for row in _rows(quantity, point.get(quantity, {}))]
    notes = [] if rows else ["There are no estimates at this state point yet."]
    figures = figures_at(point, run_directory / state.label, state.label, notes)
    best = min(
        (name for name in REFERENCES if name in estimates),
        key=lambda name: _error(estimates[name]),
        default=None,
    )
    return _Section(
        state=state,
        best=best if reference_method(estimates) else None,
        headline=_headline(estimates, best, rows),
        bracket=_bracket(estimates),
        rows=rows,
        figures=figures,
        notes=notes,
        reference=_flat(
            {key: value for key, value in point["diagnostics"].items() if key != "state"}
        ),
    )


def _rows(quantity: str, estimates: _Estimates) -> Iterator[_Row]:
    order = list(DESCRIPTIONS)
    for name in sorted(
        estimates, key=lambda method: order.index(method) if method in order else len(order)
    ):
        estimate = estimates[name]
        verdict = judge(name, estimates)
        answers = {
            "Converged?": checks.converged(name, estimate),
            "Overlap?": checks.overlap(name, estimates),
            "In the bracket?": checks.in_bracket(name, estimates)
            if quantity == "beta_f_ex"
            else checks.NOT_ASKED,
        }
        yield _Row(
            name,
            _QUANTITIES[quantity],
            estimate["value"],
            _error(estimate),
            uncertain(estimate["value"], estimate["std_err"]),
            estimate["convention"],
            answers,
            Answer(verdict.level, verdict.text),
            _flat(estimate["diagnostics"]),
        )


def _headline(estimates: _Estimates, best: str | None, rows: list[_Row]) -> str:
    if best is None or reference_method(estimates) is None:
        return "No exact estimate with an error bar yet."
    bad = [
        row.method
        for row in rows
        if "bad" in {row.verdict.level, *(one.level for one in row.answers.values())}
    ]
    agreement = f"Look at {', '.join(bad)} below." if bad else "No estimate contradicts another."
    return (
        f"β F_ex = {uncertain(estimates[best]['value'], estimates[best]['std_err'])} kT ({best}). "
        f"{agreement}"
    )


def _bracket(estimates: _Estimates) -> str:
    lower, upper = (uncertain(*bound) if bound else None for bound in checks.bracket(estimates))
    if lower and upper:
        return f"Rigorous bounds, whatever the network has learned: {lower} and {upper} kT."
    return (
        f"Rigorous lower bound, whatever the network has learned: {lower} kT."
        if lower
        else "No bounds were computed."
    )


def _error(estimate: Mapping[str, Any]) -> float:
    return float(estimate["std_err"]) if has_error(estimate) else math.inf


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as one, with dotted keys."""
    flat = {}
    for key, value in data.items():
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            value = dict(enumerate(value))  # noqa: PLW2901
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        elif isinstance(value, list) and len(value) > _LONG:
            flat[f"{prefix}{key}"] = f"{len(value)} entries, in results.json"
        else:
            flat[f"{prefix}{key}"] = f"{value:.6g}" if isinstance(value, float) else str(value)
    return flat
