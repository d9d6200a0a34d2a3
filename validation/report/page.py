"""report.html: one page with everything needed to judge a run.

It shows the contents of results.json and of the files beside it, and computes only verdicts
(`judge`). It needs no other file and no network: a policy in the page forbids it to load anything.
All tables can be sorted, and each figure carries its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from openmm_nti.files import read_json, write_text
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy, Verdict, uncertain
from openmm_nti.model_files import read_card
from openmm_nti.validation.estimators.registry import all_estimators
from openmm_nti.validation.report import judge
from openmm_nti.validation.report.drawing import data_address
from openmm_nti.validation.report.figures import ReportFigure, figures_at, training_figures
from openmm_nti.validation.report.judge import Estimates
from openmm_nti.validation.report.learned import learned

_TEMPLATES = Path(__file__).parent / "templates"
_LONG = 4  # longer lists are left to results.json
_QUANTITIES = {"beta_f_ex": "β F_ex", "beta_mu_ex": "β μ_ex"}


@dataclass(frozen=True)
class _Row:
    """One estimate in the table."""

    found: FreeEnergy
    answers: dict[str, Verdict]
    verdict: Verdict

    @property
    def method(self) -> str:
        return self.found.label

    @property
    def quantity(self) -> str:
        return _QUANTITIES[self.found.quantity]

    @property
    def shown(self) -> str:
        return uncertain(self.found.value, self.found.std_err)

    @property
    def description(self) -> str:
        known = all_estimators().get(self.found.method)
        return known.summary if known is not None else "A method that this version does not know"

    @property
    def facts(self) -> dict[str, str]:
        return _flat(self.found.to_dict()["diagnostics"])

    @property
    def levels(self) -> set[str]:
        """The levels of the verdict and of all answers."""
        return {self.verdict.level, *(answer.level for answer in self.answers.values())}


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
        levels = set().union(*(row.levels for row in self.rows))
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
    model = read_card(card) if card.is_file() else {}
    page = (
        _environment()
        .get_template("report.html")
        .render(
            sections=[_section(point, run_directory) for point in results["state_points"]],
            training=training_figures(run_directory / "model" / "metrics.jsonl"),
            learned=list(learned(model.get("training") or {})),
            model=_flat(model),
            provenance=_flat(results.get("provenance", {})),
            config=config.read_text(encoding="utf-8") if config.is_file() else None,
            results=data_address(
                (run_directory / "results.json").read_text(encoding="utf-8"), "application/json"
            ),
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
    estimates = {quantity: read_estimates(point, quantity) for quantity in _QUANTITIES}
    free_energies = estimates["beta_f_ex"]
    rows = [row for found in estimates.values() for group in _groups(found) for row in _rows(group)]
    notes = [] if rows else ["There are no estimates at this state point yet."]
    everything = {name: found for by_name in estimates.values() for name, found in by_name.items()}
    best = judge.best_exact(free_energies)
    facts = {key: value for key, value in point["diagnostics"].items() if key != "state"}
    return _Section(
        state=state,
        best=best.method if best is not None else None,
        headline=_headline(free_energies, rows),
        bracket=_bracket(free_energies),
        rows=rows,
        figures=figures_at(everything, run_directory / state.label, state.label, notes),
        notes=notes,
        reference=_flat(facts),
    )


def read_estimates(point: Mapping[str, Any], quantity: str) -> dict[str, FreeEnergy]:
    """Return the estimates of `quantity` in a state point of results.json, by method."""
    shared = {"n_particles": point["n_particles"], "quantity": quantity}
    entries: Mapping[str, Any] = point.get(quantity, {})
    return {name: FreeEnergy.from_dict({**entry, **shared}) for name, entry in entries.items()}


def _groups(estimates: Estimates) -> Iterator[dict[str, FreeEnergy]]:
    """Yield the estimates of each species, which can be compared with each other."""
    for species in dict.fromkeys(found.species for found in estimates.values()):
        yield {k: found for k, found in estimates.items() if found.species == species}


def _rows(estimates: Estimates) -> Iterator[_Row]:
    """Yield a row for each estimate: by preference the exact ones, then the others as in a run."""
    quoted = judge.quote(estimates)
    for found in sorted(estimates.values(), key=lambda found: _place(found.method)):
        answers = {
            "Converged?": judge.converged(found),
            "Overlap?": judge.overlap(found, estimates),
            "In the bracket?": judge.in_bracket(found, estimates),
        }
        yield _Row(found, answers, judge.judge(found, quoted))


def _place(method: str) -> tuple[bool, bool, int, str]:
    """Return what sorts the methods of a table; those that this version does not know come last."""
    known = all_estimators().get(method)
    if known is None:
        return True, True, 0, method
    exact = known.kind == "exact"
    return False, not exact, known.preference if exact else known.order, method


def _headline(estimates: Estimates, rows: list[_Row]) -> str:
    quote = judge.quote(estimates)
    if quote is None:
        return "No exact estimate with an error bar yet."
    best = quote.estimate
    bad = [row.method for row in rows if "bad" in row.levels]
    agreement = f"Look at {', '.join(bad)} below." if bad else "No estimate contradicts another."
    shown = uncertain(best.value, best.std_err)
    return f"β F_ex = {shown} kT ({best.method}). {quote.check.text} {agreement}"


def _bracket(estimates: Estimates) -> str:
    bounds = judge.bracket(estimates)
    lower = uncertain(*bounds.lower) if bounds.lower is not None else None
    upper = uncertain(*bounds.upper) if bounds.upper is not None else None
    if lower and upper:
        return f"Rigorous bounds, whatever the network has learned: {lower} and {upper} kT."
    if lower:
        return f"Rigorous lower bound, whatever the network has learned: {lower} kT."
    return "No bounds were computed."


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested mappings as one mapping with dotted keys."""
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
