"""What each estimate cost, and what an error of 0.3 kT would cost.

CPU seconds are those of the tasks, all processes of a task together. They are scaled to one
standard error by (std_err / 0.3)^2, as for independent samples: scaled numbers, not measured ones.
Evaluations are energies with forces of one configuration, of the model or, for `mbar_softcore`, of
the plain soft-core force; they follow from the settings, without pilots and energies at other
windows, which are in the times. The reference simulation of an N is shared by all methods that need
one and counted apart, in steps. Training is done once for all N: with it, as if for this one alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import read_json
from openmm_nti.free_energy import uncertain
from openmm_nti.model_files import denoiser_directory, training_core_seconds
from openmm_nti.reference_md import ReferenceConfig
from openmm_nti.validation.estimators.base import Estimator
from openmm_nti.validation.estimators.registry import all_estimators
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.paper.jobs import estimators_of
from openmm_nti.validation.paper.work import PaperTask, Work, read_estimates

TARGET = 0.3  # kT
_FILE_SECONDS = 0.1  # of a task that computes next to nothing


def leading_estimator(kind: str) -> Estimator | None:
    """Return the estimator that stands for a kind of task; None for what is no estimate."""
    known = all_estimators().get(kind)
    return known or next(iter(estimators_of(kind)), None)


def expense_rows(work: Work, kinds: Iterable[str]) -> list[dict[str, Any]]:
    """Return value, error and cost of the methods at the N of the soft-core curve.

    They are those of `kinds` that are on disk and count evaluations.
    """
    rows = []
    leading = {kind: known for kind in kinds if (known := leading_estimator(kind)) is not None}
    for n in work.preset.softcore_n:
        for kind, known in sorted(leading.items(), key=lambda item: item[1].order):
            path = work.path(kind, n)
            found = [one for one in read_estimates(path) if one.method == known.name]
            if not found:
                continue
            config = work.preset.settings(known.section)
            evaluations = known.evaluations(config, found[0])
            if evaluations is None:
                continue
            seconds = read_json(path)["cpu_seconds"]
            factor = (found[0].std_err / TARGET) ** 2
            is_known = math.isfinite(factor)
            steps = (
                reference_steps(work.ensemble(n), work.preset.reference)
                if "data" in known.needs
                else 0
            )
            rows.append(
                {
                    "n_particles": n,
                    "method": known.name,
                    "value": found[0].value,
                    "std_err": found[0].std_err,
                    "cpu_seconds": seconds,
                    "cpu_seconds_scaled": factor * seconds if is_known else None,
                    "evaluations": evaluations,
                    "evaluations_scaled": round(factor * evaluations) if is_known else None,
                    "reference_steps": steps,
                }
            )
    return rows


def forecast_seconds(task: PaperTask, pace: Pace) -> float:
    """Return the CPU seconds that one task will take on a machine of `pace`."""
    preset, n = task.work.preset, task.n
    of_section = estimators_of(task.kind)
    if of_section:
        config = preset.settings(of_section[0].section)
        return _FILE_SECONDS + max(known.seconds(config, n, pace) for known in of_section)
    if task.kind == "gcmc":
        steps = preset.gcmc.n_frames * preset.gcmc.steps_between
        return 5e-7 * preset.gcmc.n_walkers * steps
    if task.kind == "toy":
        return 6e-3 * preset.toy.n_steps
    return 2e-7 * n * n * preset.reference.n_frames  # g(r)


def training_seconds(model: str) -> dict[str, float | None]:
    """Return the CPU seconds of the training that each method rests on; None where unknown."""
    energy = training_core_seconds(model)
    score = training_core_seconds(denoiser_directory(model))
    return {
        name: energy if "energy" in known.needs else score
        for name, known in all_estimators().items()
        if known.needs_model
    }


def expense_lines(rows: list[dict[str, Any]], training: dict[str, float | None]) -> list[str]:
    """Return the table in Markdown; nothing without rows."""
    if not rows:
        return []
    lines = [
        (
            "| N | method | βF_ex | CPU s | evaluations | CPU s for ± 0.3 kT | with training | "
            "evaluations | MD steps |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        seconds, before = row["cpu_seconds_scaled"], training.get(row["method"], 0.0)
        with_training = None if seconds is None or before is None else seconds + before
        cells = [
            f"{row['n_particles']}",
            row["method"],
            uncertain(row["value"], row["std_err"]),
            *map(_count, (row["cpu_seconds"], row["evaluations"], seconds, with_training)),
            *map(_count, (row["evaluations_scaled"], row["reference_steps"] or None)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    note = (
        f"Costs for ± {TARGET:g} kT are scaled by the square of the error. One training serves "
        "every N."
    )
    return [*lines, "", note, ""]


def _count(number: float | None) -> str:
    return "" if number is None else f"{number:,.0f}"


def reference_steps(ensemble: Ensemble, config: ReferenceConfig) -> int:
    """Return the MD steps of the simulation of the interacting fluid, equilibration included."""
    return int(ensemble.provenance["n_steps"]) + config.n_replicas * config.equilibration_steps
