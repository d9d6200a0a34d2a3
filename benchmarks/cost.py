"""The cost of an error of 0.3 kT: CPU seconds of exact methods and of the bound, side by side.

Every method runs in one process with modest settings, once for each seed, each seed with reference
data of its own. Methods alternate: all of them at one N and seed before the next seed. CPU seconds
are scaled to a standard error of 0.3 kT by (std_err / 0.3)^2, as for independent samples: scaled
numbers, not measured ones. They hold where an error has begun to fall like that, so the table says
with which overlap each was measured. Over seeds, seconds and squared errors are averaged, and the
spread of the values stands beside the error that was quoted.

Reference MD is counted with the methods that need it, and scaled like them; its own seconds are in
the column `data`. Training is a constant, from the card of the model or of its denoiser. The ratio
is that of scaled seconds without training to those of `mbar_softcore`. The gap of the bound is in
no error here. The bound and paths take the model's denoiser, if it has one.

A measurement is a file in OUTPUT, whose name ends in the fingerprint of all that decided it, with
the code. One that was interrupted begins anew, or its seconds would be too few. Usage:

    OPENMM_CPU_THREADS=1 OMP_NUM_THREADS=1 python benchmarks/cost.py --output cost
    [--n 40 120 200] [--seeds 3] [--density RHO] [--methods path_bar ...] [--model NAME]
    [--set mbar_softcore.n_frames=8 ...]

The box has an edge of 6 sigma, or follows from --density.
"""

import argparse
import math
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

import openmm_nti
import openmm_nti.reference_md
import openmm_nti.validation
from openmm_nti import Ensemble, StatePoint
from openmm_nti.files import finite, read_json, write_json
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.runtime.context import Execution
from openmm_nti.runtime.stored import fingerprint, mark
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.registry import all_estimators
from openmm_nti.validation.paper.expenses import TARGET, training_seconds

TEMPERATURE = 1.25
OVERLAPS = ("smallest_overlap", "min_neighbour_overlap", "overlap")  # in diagnostics
DATA = ReferenceConfig(n_frames=112, equilibration_steps=2000, segment_frames=25)
EFFORT: dict[str, dict[str, Any]] = {
    "neural_ti_bound": {"n_levels": 24, "n_pairs": 96, "n_tethered": 0},
    "path_bar": {"n_paths": 64, "n_steps": 100},
    "path_stages": {"n_paths": 64},
    "mbar_neural": {"n_chains": 16, "n_frames": 10},
    "mbar_softcore": {"n_frames": 20},
    "ufm_switching": {"n_frames": 12, "n_ramps": None},
}


def code() -> str:
    """Return a hash of the package's sources, which decide what is measured."""
    packages = (openmm_nti, openmm_nti.reference_md, openmm_nti.validation)
    files = {file for one in packages for file in Path(one.__file__).parent.rglob("*")}
    sources = sorted(file for file in files if file.suffix in {".py", ".h", ".cpp"})
    return fingerprint([file.read_text(encoding="utf-8") for file in sources])


def reference_data(state: StatePoint, seed: int, output: Path) -> tuple[Ensemble, float]:
    """Return reference data and the CPU seconds that they took, from disk if they are whole."""
    ending = mark("reference", seed, [state, DATA, code()])
    path = output / state.label / f"reference-{ending}.json"
    folder = path.with_suffix("")
    if not path.is_file():
        shutil.rmtree(folder, ignore_errors=True)
    began = time.process_time()
    (ensemble,) = generate([state], DATA, seed=seed, directory=folder, progress=False)
    if not path.is_file():
        write_json(path, {"seconds": time.process_time() - began})
    return ensemble, read_json(path)["seconds"]


def measure(
    method: str, state: StatePoint, seed: int, settings: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """Return value, error and seconds of one method, from its file if that exists."""
    known = all_estimators()[method]
    config = known.Config(**settings)
    data, data_seconds = None, 0.0
    if "data" in known.needs:
        data, data_seconds = reference_data(state, seed, options.output)
    model, denoiser = known.load(options.model) if known.needs_model else (None, None)
    ending = mark(method, seed, [state, config, data, model, denoiser, code()])
    path = options.output / state.label / f"{method}-{ending}.json"
    if path.is_file():
        return read_json(path)
    began = time.process_time()
    found = known.estimate(Job(state, data, model, Execution(seed), denoiser=denoiser), config)
    facts = found.diagnostics
    row = {
        "n_particles": state.n_particles,
        "method": method,
        "seed": seed,
        "value": found.value,
        "std_err": found.std_err,
        "overlap": next((facts[key] for key in OVERLAPS if key in facts), None),
        "verdict": found.verdict.text,
        "seconds": time.process_time() - began,
        "evaluations": known.evaluations(config, found),
        "data_seconds": data_seconds,
    }
    write_json(path, finite(row))  # an infinite error is null
    return row


def together(rows: list[dict[str, Any]], training: float) -> dict[str, Any]:
    """Return one row of the table from those of all seeds; no cost if an error is infinite."""
    values, errors = (
        np.array([row[key] if row[key] is not None else np.inf for row in rows], dtype=float)
        for key in ("value", "std_err")
    )
    seconds = float(np.mean([row["seconds"] for row in rows]))
    data = float(np.mean([row["data_seconds"] for row in rows]))
    error = math.sqrt(np.mean(errors**2))
    scaled = (error / TARGET) ** 2 * (seconds + data) if math.isfinite(error) else None
    return {
        "n_particles": rows[0]["n_particles"],
        "method": rows[0]["method"],
        "n_seeds": len(rows),
        "value": float(values.mean()),
        "std_err": error,
        "spread": float(values.std(ddof=1)) if len(rows) > 1 else None,
        "overlap": min(
            (row["overlap"] for row in rows if row["overlap"] is not None), default=None
        ),
        "seconds": seconds,
        "data_seconds": data,
        "scaled_seconds": scaled,
        "scaled_seconds_with_training": None if scaled is None else scaled + training,
    }


def line(row: dict[str, Any], softcore_seconds: float | None) -> str:
    """Return a row of the printed table."""
    spread, overlap, scaled = row["spread"], row["overlap"], row["scaled_seconds"]
    cells = [
        f"{row['n_particles']:<5d}{row['method']:16s}{row['n_seeds']:6d}",
        f"{row['value']:9.2f}{row['std_err']:8.3f}",
        "       -" if spread is None else f"{spread:8.3f}",
        "       -" if overlap is None else f"{overlap:8.2f}",
        f"{row['seconds']:8.0f}{row['data_seconds']:7.0f}",
    ]
    if scaled is None:
        return "".join([*cells, "   no error bar, nothing to scale"])
    cells.append(f"{scaled:9.1f}{row['scaled_seconds_with_training']:11.0f}")
    if softcore_seconds:
        cells.append(f"{scaled / softcore_seconds:10.3f}")
    return "".join(cells)


def chosen(given: list[str]) -> dict[str, dict[str, Any]]:
    """Return the settings of each method, with METHOD.KEY=VALUE of `given` in them."""
    effort = {method: dict(settings) for method, settings in EFFORT.items()}
    for text in given:
        name, _, value = text.partition("=")
        method, _, key = name.partition(".")
        if method not in effort or not key or not value:
            raise SystemExit(
                f"--set {text}: give METHOD.KEY=VALUE, with one of {', '.join(effort)}"
            )
        effort[method][key] = None if value == "null" else float(value)
    return effort


def main() -> None:
    """Measure what is not on disk, print the table and write OUTPUT/cost.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--n", type=int, nargs="+", default=(40, 120, 200))
    parser.add_argument("--seeds", type=int, default=1, help="seeds 1 to SEEDS")
    parser.add_argument("--density", type=float, help="rho*, in place of a box of 6 sigma")
    parser.add_argument("--methods", nargs="+", choices=EFFORT, default=list(EFFORT))
    parser.add_argument("--model", default="lj-fluid-t1.25")
    parser.add_argument("--set", nargs="+", default=[], metavar="METHOD.KEY=VALUE")
    options = parser.parse_args()
    effort = chosen(options.set)
    training = training_seconds(options.model)
    print(f"CPU seconds; those from `to 0.3 kT` on are scaled to an error of {TARGET} kT")
    print(
        "N    method           seeds    value std_err  spread overlap method s data s"
        " to 0.3 kT  +training / softcore"
    )
    rows = []
    for n in options.n:
        edge = 6.0 if options.density is None else (n / options.density) ** (1 / 3)
        state = StatePoint(n_particles=n, box_length_sigma=edge, temperature_star=TEMPERATURE)
        measured: dict[str, list[dict[str, Any]]] = {method: [] for method in options.methods}
        for seed in range(1, options.seeds + 1):
            for method, of_method in measured.items():
                of_method.append(measure(method, state, seed, effort[method], options))
        table = [together(found, training.get(name) or 0.0) for name, found in measured.items()]
        softcore = {row["method"]: row["scaled_seconds"] for row in table}.get("mbar_softcore")
        for row in table:
            print(line(row, softcore), flush=True)
        rows += table
    write_json(
        options.output / "cost.json",
        finite({"target": TARGET, "training_seconds": training, "effort": effort, "rows": rows}),
    )


if __name__ == "__main__":
    main()
