"""What each estimate cost, and what an error of 0.3 kT would: the claim of a single reference
simulation in numbers.

CPU seconds are those of the tasks, all processes of a task together. They are scaled to one
standard error by (std_err / 0.3)^2, as for independent samples: scaled numbers, not measured ones.
Evaluations are energies with forces of one configuration, of the model or, for `mbar_softcore`, of
the plain soft-core force; they follow from the settings, without pilots and energies at other
windows, which are in the times. The reference simulation of an N is shared by all methods that need
one and counted apart, in steps. Training is done once for all N: with it, as if for this one alone.
"""

from __future__ import annotations

import math
from typing import Any

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import read_json
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.model_files import denoiser_directory, training_core_seconds
from openmm_nti.reference_md import ReferenceConfig
from openmm_nti.validation.estimators import cost
from openmm_nti.validation.paper.jobs import PaperTask, Work, read_estimates
from openmm_nti.validation.report.verdicts import uncertain

TARGET = 0.3  # kT
# Of each kind of task: its settings in the preset, its method, and whether it needs reference data.
METHOD_OF_KIND = {
    "bound": ("bound", "neural_ti_bound", True),
    "neural_ti": ("neural_ti", "neural_ti", False),
    "path_bar": ("paths", "path_bar", True),
    "mbar_neural": ("windows", "mbar_neural", True),
    "softcore": ("softcore", "mbar_softcore", False),
}
_OF_THE_ENERGY = ("neural_ti", "mbar_neural", "ti_neural_md")
_OF_THE_SCORE = ("neural_ti_bound", "path_bar")  # they take the denoiser where the model has one


def expense_rows(work: Work) -> list[dict[str, Any]]:
    """Value, error and cost of every method at the N of the soft-core curve, as far as they are on
    disk.
    """
    rows = []
    for n in work.preset.softcore_n:
        for kind, (section, method, needs_data) in METHOD_OF_KIND.items():
            path = work.path(kind, n)
            found = [one for one in read_estimates(path) if one.method == method]
            if not found:
                continue
            seconds = read_json(path)["cpu_seconds"]
            factor = (found[0].std_err / TARGET) ** 2
            evaluations = n_evaluations(method, getattr(work.preset, section), found[0])
            rows.append(
                {
                    "n_particles": n,
                    "method": method,
                    "value": found[0].value,
                    "std_err": found[0].std_err,
                    "cpu_seconds": seconds,
                    "cpu_seconds_scaled": factor * seconds if math.isfinite(factor) else None,
                    "evaluations": evaluations,
                    "evaluations_scaled": round(factor * evaluations)
                    if math.isfinite(factor)
                    else None,
                    "reference_steps": reference_steps(work.ensemble(n), work.preset.reference)
                    if needs_data
                    else 0,
                }
            )
    return rows


def foreseen_seconds(task: PaperTask, slowness: float) -> float:
    """CPU seconds that one task will take, with a model of `slowness`."""
    preset, n = task.work.preset, task.n
    if task.kind in METHOD_OF_KIND:
        section, method, _ = METHOD_OF_KIND[task.kind]
        return cost.estimate_seconds(method, getattr(preset, section), n, slowness)
    others = {
        "widom": lambda: cost.widom_seconds(preset.reference.n_frames, preset.n_insertions, n),
        "gcmc": lambda: (
            5e-6 * preset.gcmc.n_walkers * preset.gcmc.n_frames * preset.gcmc.steps_between / 10
        ),
        "toy": lambda: 6e-3 * preset.toy.n_steps,
        "gr": lambda: 2e-7 * n * n * preset.reference.n_frames,
    }
    return others.get(task.kind, lambda: 0.1)()


def training_seconds(model: str) -> dict[str, float | None]:
    """CPU seconds of the training that each method rests on, by its name; None where its card does
    not say.
    """
    energy, score = training_core_seconds(model), training_core_seconds(denoiser_directory(model))
    return {**dict.fromkeys(_OF_THE_ENERGY, energy), **dict.fromkeys(_OF_THE_SCORE, score)}


def expense_lines(rows: list[dict[str, Any]], training: dict[str, float | None]) -> list[str]:
    """The table in Markdown; nothing without rows."""
    if not rows:
        return []
    lines = [
        "| N | method | βF_ex | CPU s | evaluations | CPU s for ± 0.3 kT | with training | "
        "evaluations | MD steps |",
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


def n_evaluations(method: str, config: Any, found: FreeEnergy) -> int:
    """Energies with forces that the estimate `found` by `method` took, with the settings `config`
    of the method.
    """
    if method == "neural_ti_bound":
        return 2 * int(config.n_levels * config.n_pairs)  # each is noised by +z and by -z
    if method == "path_bar":
        return 2 * int(config.n_paths * config.n_steps)
    if method == "neural_ti":
        return int(config.n_evaluations)
    equilibration = config.equilibration_steps if method == "mbar_neural" else config.equilibration
    left_out = (found.diagnostics["drift"] or {}).get("left_out", 0.0)
    windows, samples = (
        found.diagnostics["n_windows"],
        found.diagnostics["n_samples"] / (1.0 - left_out),
    )
    share = (windows - 1) / windows  # positions at lambda = 0 are drawn
    return round(
        share
        * (windows * found.diagnostics["n_chains"] * equilibration + samples * config.steps_between)
    )


def reference_steps(ensemble: Ensemble, config: ReferenceConfig) -> int:
    """MD steps of the one simulation of the interacting fluid, equilibration included."""
    return int(ensemble.provenance["n_steps"]) + config.n_replicas * config.equilibration_steps
