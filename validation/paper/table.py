"""The table of all numbers: with errors, their distance from the best exact one, and verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from openmm_nti.files import finite, write_json, write_text
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.validation.paper.curves import MethodCurve
from openmm_nti.validation.report.drawing import csv_text
from openmm_nti.validation.report.judge import is_usable, judge, quote

WIDOM_LIMIT = 0.8  # rho*: beyond, insertion says nothing whatever its own diagnostics think
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
    """Return the rows of beta F_ex at one N.

    The reference is the number to quote (`report.judge`), which has no residual to itself.
    """
    quoted = quote(estimates)
    rows = []
    for estimate in estimates.values():
        row = _row(estimate, density_star)
        if quoted is not None:
            best = quoted.estimate
            row |= _residual(estimate, best.method, best.value, best.std_err)
        verdict = judge(estimate, quoted)
        rows.append(row | {"level": verdict.level, "note": verdict.text})
    return rows


def chemical_potential_rows(
    estimates: Iterable[FreeEnergy], density_star: float, reference: MethodCurve | None
) -> list[dict[str, Any]]:
    """Return the rows of beta mu_ex at one N, against the fit to the exact free energies."""
    rows = []
    for estimate in estimates:
        row = _row(estimate, density_star)
        if reference is not None and estimate.n_particles < reference.n[-1]:
            value, error = reference.fit.chemical_potential([estimate.n_particles])
            row |= _residual(estimate, "fit to exact F", float(value[0]), float(error[0]))
        note = estimate.verdict.text
        if estimate.method == "widom" and density_star > WIDOM_LIMIT:
            row["applies"] = False
            note = (
                f"rho* = {density_star:.2f} is above {WIDOM_LIMIT}: too dense for insertion; {note}"
            )
        rows.append(
            {**row, "level": estimate.verdict.level if row["applies"] else "bad", "note": note}
        )
    return rows


def refused_row(kind: str, n_particles: int, density_star: float, reason: str) -> dict[str, Any]:
    """Return a row without a number, for a method that gave none."""
    blank = dict.fromkeys(_COLUMNS)
    facts = {"n_particles": n_particles, "density_star": density_star, "method": kind}
    return {**blank, **facts, "applies": False, "level": "bad", "note": f"refused: {reason}"}


def write_table(directory: Path, rows: list[dict[str, Any]], facts: Mapping[str, Any]) -> None:
    """Write table.json with `facts` and all rows, and table.csv with the rows."""
    write_json(directory / "table.json", finite({**facts, "rows": rows}))
    cells = ([_finite_or_none(row.get(name)) for name in _COLUMNS] for row in rows)
    write_text(directory / "table.csv", csv_text(_COLUMNS, cells, digits=6))


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
        "applies": is_usable(estimate),
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


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
