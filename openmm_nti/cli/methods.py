"""The methods as a list, for `openmm-nti methods`."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from openmm_nti.validation.estimators.registry import all_estimators

_NEEDS = {"model": "model", "energy": "model with energy", "data": "data"}


def list_methods() -> dict[str, dict[str, Any]]:
    """Return what there is to know of each method, by its name."""
    return {
        name: {
            "quantity": known.quantity,
            "kind": known.kind,
            "needs": sorted(known.needs),
            "in_runs": known.in_runs,
            "section": known.section,
            "summary": known.summary,
        }
        for name, known in all_estimators().items()
    }


def print_methods(console: Console) -> None:
    """Show the methods as a table, in the order of a run."""
    table = Table(title="Methods")
    table.add_column("method", no_wrap=True)
    for heading in ("quantity", "kind", "needs", "in runs", "summary"):
        table.add_column(heading)
    for name, known in list_methods().items():
        needs = ", ".join(_NEEDS[need] for need in known["needs"]) or "nothing"
        in_runs = "yes" if known["in_runs"] else f"{known['section']}: {{}}"
        table.add_row(name, known["quantity"], known["kind"], needs, in_runs, known["summary"])
    console.print(table)
    console.print("Settings of each: estimates.* in the file that `openmm-nti init` writes.")
