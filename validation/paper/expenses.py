"""What each estimate cost, and what an error of 0.3 kT would: the claim of a single reference simulation in numbers.

CPU seconds are those of the tasks, all processes of a task together. They are scaled to one standard error by
(std_err / 0.3)^2, as for independent samples: scaled numbers, not measured ones. The reference simulation of an N is
shared by all methods that need one and counted apart, in steps; so is training, which is done once for all N.
"""

from __future__ import annotations

import math
from typing import Any

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import read_json
from openmm_nti.model_files import model_directory, read_card
from openmm_nti.validation.paper.jobs import Work, read_estimates
from openmm_nti.validation.verdicts import uncertain

TARGET = 0.3  # kT
# Task, method, and whether it needs reference data.
_METHODS = (
    ("bound", "neural_ti_bound", True),
    ("neural_ti", "neural_ti", False),
    ("path_bar", "path_bar", True),
    ("mbar_neural", "mbar_neural", True),
    ("softcore", "mbar_softcore", False),
)


def expense_rows(work: Work) -> list[dict[str, Any]]:
    """Value, error and cost of every method at the N of the soft-core curve, as far as they are on disk."""
    rows = []
    for n in work.preset.softcore_n:
        for kind, method, needs_data in _METHODS:
            path = work.path(kind, n)
            found = [one for one in read_estimates(path) if one.method == method]
            if not found:
                continue
            seconds = read_json(path)["cpu_seconds"]
            scaled = seconds * (found[0].std_err / TARGET) ** 2
            rows.append({
                "n_particles": n,
                "method": method,
                "value": found[0].value,
                "std_err": found[0].std_err,
                "cpu_seconds": seconds,
                "cpu_seconds_scaled": scaled if math.isfinite(scaled) else None,
                "reference_steps": _reference_steps(work, n) if needs_data else 0,
            })  # fmt: skip
    return rows


def training_minutes(work: Work) -> float | None:
    """CPU minutes that the model's card says its training took, of all processes; None where it does not say."""
    training = read_card(model_directory(work.model)).get("training") or {}
    return training["seconds"] * training.get("processes", 1) / 60 if "seconds" in training else None


def expense_lines(rows: list[dict[str, Any]], training: float | None) -> list[str]:
    """The table in Markdown; nothing without rows."""
    if not rows:
        return []
    lines = [
        f"| N | method | βF_ex | CPU s | CPU s for ± {TARGET:g} kT | steps of the reference simulation |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        scaled = "" if row["cpu_seconds_scaled"] is None else f"{row['cpu_seconds_scaled']:,.0f}"
        steps = f"{row['reference_steps']:,}" if row["reference_steps"] else ""
        value = uncertain(row["value"], row["std_err"])
        lines.append(
            f"| {row['n_particles']} | {row['method']} | {value} | {row['cpu_seconds']:,.0f} | {scaled} | {steps} |"
        )
    known = "" if training is None else f" The model's card says {training:.0f} CPU minutes of training, for all N."
    return [*lines, "", f"Costs for ± {TARGET:g} kT are scaled by the square of the error.{known}", ""]


def _reference_steps(work: Work, n: int) -> int:
    """MD steps of the one simulation of the interacting fluid, equilibration included."""
    config = work.preset.reference
    provenance = Ensemble.load(work.directory / "reference" / f"{work.state(n).label}.h5").provenance
    return int(provenance["n_steps"]) + config.n_replicas * config.equilibration_steps
