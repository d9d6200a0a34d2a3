"""The list of methods that `openmm-nti methods` shows."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from openmm_nti.validation.estimators.registry import all_estimators

_NEEDS = {
    "model": "a model",
    "energy": "a model with an energy",
    "data": "data",
}  # a denoiser may be there


def list_methods() -> dict[str, dict[str, Any]]:
    """Return the properties of each method, by its name."""
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
    table = Table(title="Methods", show_lines=True)
    for heading in ("method", "kind", "what it is, what it needs, and whether a run makes it"):
        table.add_column(heading, overflow="fold")
    for name, known in list_methods().items():
        needed = [_NEEDS[need] for need in known["needs"] if need in _NEEDS]
        needs = " and ".join(needed) or "the state point alone"
        asked = "" if known["in_runs"] else f", where estimates.{known['section']} asks for it"
        facts = f"{known['quantity']} from {needs}; in runs{asked}"
        table.add_row(name, known["kind"], f"{known['summary']}\n[dim]{facts}[/dim]")
    console.print(table)
    console.print("Settings of each: estimates.* in the file that `openmm-nti init` writes.")
