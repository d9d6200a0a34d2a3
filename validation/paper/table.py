"""table.json and table.csv: numbers with errors, their distance from the best exact one, and where
not to use them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from openmm_nti.files import finite, write_json, write_text
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.validation.paper.curves import MethodCurve, best_exact, reliable
from openmm_nti.validation.report.verdicts import REFERENCES, uncertain

WIDOM_LIMIT = 0.8  # rho*: beyond, insertion says nothing whatever its own diagnostics think
BOUNDS = ("neural_ti_bound",)
_REASONS = {
    "neural_ti": "the error of the score and of its sampler, which no error bar holds",
    "ti_softcore": "too few windows",
    "path_bracket": "the middle of wide bounds",
    "eos": "an equation of state knows no small box",
}
_COLUMNS = (
    "n_particles",
    "density_star",
    "quantity",
    "method",
    "convention",
    "value",
    "std_err",
    "reference_method",
    "reference_value",
    "reference_err",
    "residual",
    "residual_err",
    "applies",
    "level",
    "note",
)


def free_energy_rows(
    estimates: Mapping[str, FreeEnergy], density_star: float
) -> list[dict[str, Any]]:
    """Rows of beta F_ex at one N. The reference is the best exact estimate; it has no residual to
    itself.
    """
    reference = best_exact(estimates)
    rows = []
    for estimate in estimates.values():
        row = _row(estimate, density_star)
        if reference is not None:
            row |= _residual(estimate, reference.method, reference.value, reference.std_err)
        rows.append(row | _judged(row, str(estimate.diagnostics.get("verdict", ""))))
    return rows


def chemical_potential_rows(
    estimates: Iterable[FreeEnergy], density_star: float, reference: MethodCurve | None
) -> list[dict[str, Any]]:
    """Rows of beta mu_ex at one N, against the fit to the exact free energies."""
    rows = []
    for estimate in estimates:
        row = _row(estimate, density_star)
        if reference is not None and estimate.n_particles < reference.n[-1]:
            value, error = reference.fit.chemical_potential([estimate.n_particles])
            row |= _residual(estimate, "fit to exact F", float(value[0]), float(error[0]))
        note = str(estimate.diagnostics.get("verdict", ""))
        if estimate.method == "widom" and density_star > WIDOM_LIMIT:
            row["applies"] = False
            note = (
                f"rho* = {density_star:.2f} is above {WIDOM_LIMIT}: too dense for insertion; {note}"
            )
        rows.append({**row, "level": "good" if row["applies"] else "bad", "note": note})
    return rows


def refused_row(kind: str, n_particles: int, density_star: float, reason: str) -> dict[str, Any]:
    """A row without a number, for a method that gave none."""
    blank = dict.fromkeys(_COLUMNS)
    facts = {"n_particles": n_particles, "density_star": density_star, "method": kind}
    return {**blank, **facts, "applies": False, "level": "bad", "note": f"refused: {reason}"}


def write_table(directory: Path, rows: list[dict[str, Any]], facts: Mapping[str, Any]) -> None:
    """table.json with `facts` and all rows, table.csv with the rows."""
    write_json(directory / "table.json", finite({**facts, "rows": rows}))
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerows([_COLUMNS, *([_cell(row.get(name)) for name in _COLUMNS] for row in rows)])
    write_text(directory / "table.csv", lines.getvalue())


def _row(estimate: FreeEnergy, density_star: float) -> dict[str, Any]:
    return {
        **dict.fromkeys(_COLUMNS),
        "n_particles": estimate.n_particles,
        "density_star": round(density_star, 4),
        "quantity": estimate.quantity,
        "method": estimate.method,
        "convention": estimate.convention,
        "value": estimate.value,
        "std_err": estimate.std_err,
        "applies": reliable(estimate),
    }


def _residual(estimate: FreeEnergy, method: str, value: float, std_err: float) -> dict[str, Any]:
    if estimate.method == method:
        return {"reference_method": method}
    return {
        "reference_method": method,
        "reference_value": value,
        "reference_err": std_err,
        "residual": estimate.value - value,
        "residual_err": math.hypot(estimate.std_err, std_err),
    }


def _judged(row: Mapping[str, Any], verdict: str) -> dict[str, Any]:
    """`level` and `note` of a row of beta F_ex; `verdict` is what its own diagnostics say."""
    own = f"; {verdict}" if verdict else ""
    if not row["applies"]:
        return {"level": "bad", "note": f"do not use{own}"}
    if row["residual"] is None:
        text = (
            "the others are held against it"
            if row["reference_method"]
            else "nothing exact stands beside it"
        )
        return {"level": "good", "note": text + own}
    method, residual, error = row["method"], row["residual"], row["residual_err"]
    distance = f"{uncertain(residual, error)} kT from {row['reference_method']}"
    if method in BOUNDS:
        holds = residual <= 2 * error
        note = "a lower bound, and it holds" if holds else "a lower bound that is violated"
        return {"level": "good" if holds else "bad", "note": f"{note}: {distance}{own}"}
    if abs(residual) <= 3 * error:
        return {"level": "good", "note": f"agrees: {distance}{own}"}
    if method in REFERENCES:
        return {"level": "bad", "note": f"disagrees, though both are exact: {distance}{own}"}
    reason = next(
        (text for start, text in _REASONS.items() if method.startswith(start)),
        "outside of its error",
    )
    return {"level": "warn", "note": f"{reason}: {distance}{own}"}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return str(value)
