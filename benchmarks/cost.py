"""The cost of an error of 0.3 kT: CPU time and evaluations of six methods at several N.

Every method runs once with modest settings in one process. Its CPU time and evaluations are then
scaled to a standard error of 0.3 kT by (std_err / 0.3)^2, as for independent samples. So these are
scaled numbers, not measured ones. Reference data are counted with the methods that need them, and
scaled like them. The core seconds of training, from the card of the model or of its denoiser, are a
constant. The table has the total without it and with it, and the ratio of the total without it to
that of `mbar_softcore`. The gap of the bound is in no error here. The bound and paths take the
model's denoiser, if it has one.

An evaluation is one energy with forces of one configuration of N particles. It is one of the model
for `mbar_neural`, `path_bar` and `neural_ti_bound`, and one of the plain soft-core force for
`mbar_softcore`. Evaluations of Lennard-Jones forces for the reference data have their own column.
All numbers of evaluations follow from the settings: steps times chains times windows, and levels
times paths. Pilots and energies of samples at other windows are in the times, but not in the
evaluations. Usage:

    OPENMM_CPU_THREADS=1 OMP_NUM_THREADS=1 python benchmarks/cost.py --output cost
    [--n 40 120 200] [--density RHO] [--methods path_bar ...] [--model lj-fluid-t1.25]

The box has an edge of 6 sigma, or follows from --density.
"""

import argparse
import math
import time
from pathlib import Path

from openmm_nti import Ensemble, StatePoint
from openmm_nti.files import read_json, write_json
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.registry import all_estimators, section_config
from openmm_nti.validation.paper.expenses import TARGET, reference_steps, training_seconds

SEED = 1
DATA = ReferenceConfig(n_frames=160, segment_frames=50)
EFFORT = {  # settings of each measured section, of which the first method is run
    "bound": {"n_levels": 24, "n_pairs": 96, "n_tethered": 0},
    "paths": {"n_paths": 64, "n_steps": 300},
    "stages": {"n_paths": 48, "n_steps": 300},
    "windows": {"n_chains": 16, "n_frames": 10},
    "softcore": {"n_frames": 30},
    "ufm_switching": {"n_frames": 30},
}
KNOWN = {known.section: known for known in reversed(all_estimators().values())}
COSTS = {KNOWN[section].name: KNOWN[section] for section in EFFORT}


def reference_data(state: StatePoint, folder: Path) -> tuple[Ensemble, dict]:
    """Return the reference data and their cost, from disk if they are there."""
    path = folder / "reference.json"
    began = time.process_time()
    (ensemble,) = generate([state], DATA, seed=SEED, directory=folder / "reference", progress=False)
    if not path.is_file():
        write_json(
            path,
            {
                "seconds": time.process_time() - began,
                "evaluations": reference_steps(ensemble, DATA),
            },
        )
    return ensemble, read_json(path)


def measure(method: str, state: StatePoint, model_name: str, output: Path) -> dict:
    """Return the costs of one method at one state point, from its file if that exists."""
    folder = output / state.label
    path = folder / f"{method}.json"
    if path.is_file():
        return read_json(path)
    known = COSTS[method]
    data = None
    data_cost = {"seconds": 0.0, "evaluations": 0}
    if "data" in known.needs:
        data, data_cost = reference_data(state, folder)
    model, denoiser = known.load(model_name) if known.needs_model else (None, None)
    config = section_config(known.section)(**EFFORT[known.section])
    began = time.process_time()
    job = Job(state, data, model, Execution(SEED, directory=folder / method), denoiser=denoiser)
    result = known.estimate(job, config)
    row = {
        "n_particles": state.n_particles,
        "method": method,
        "value": result.value,
        "std_err": result.std_err,
        "seconds": time.process_time() - began,
        "evaluations": known.evaluations(config, result),
        "data_seconds": data_cost["seconds"],
        "data_evaluations": data_cost["evaluations"],
    }
    write_json(path, row)
    return row


def scaled(row: dict, training: float) -> dict:
    """Return `row` with its costs scaled to an error of 0.3 kT; None if the error is infinite."""
    factor = (row["std_err"] / TARGET) ** 2 if row["std_err"] is not None else None
    if factor is None or not math.isfinite(factor):
        names = (
            "scaled_seconds",
            "scaled_evaluations",
            "scaled_data_evaluations",
            "scaled_seconds_with_training",
        )
        return {**row, **dict.fromkeys(names)}
    seconds = factor * (row["seconds"] + row["data_seconds"])
    return {
        **row,
        "scaled_seconds": seconds,
        "scaled_evaluations": round(factor * row["evaluations"]),
        "scaled_data_evaluations": round(factor * row["data_evaluations"]),
        "scaled_seconds_with_training": seconds + training,
    }


def line(row: dict, softcore_seconds: float | None) -> str:
    """Return a row of the table; the error is infinite if windows do not overlap."""
    start = (
        f"{row['n_particles']:<4d} {row['method']:16s} {row['value']:9.2f} {row['std_err']:8.3f} "
    )
    start += (
        f"{row['seconds']:8.0f} {row['data_seconds']:6.0f} {row['evaluations']:10d} "
        f"{row['data_evaluations']:10d}"
    )
    if row["scaled_seconds"] is None:
        return f"{start}   no error bar, nothing to scale"
    return (
        f"{start} {row['scaled_seconds']:9.0f} {row['scaled_seconds_with_training']:12.0f} "
        f"{row['scaled_evaluations']:11d} {row['scaled_data_evaluations']:11d}"
        + (f" {row['scaled_seconds'] / softcore_seconds:11.2f}" if softcore_seconds else "")
    )


def main() -> None:
    """Measure the costs that are not on disk, print the table and write OUTPUT/cost.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--n", type=int, nargs="+", default=(40, 120, 200))
    parser.add_argument("--density", type=float, help="rho*, in place of a box of 6 sigma")
    parser.add_argument("--methods", nargs="+", choices=COSTS, default=list(COSTS))
    parser.add_argument("--model", default="lj-fluid-t1.25")
    options = parser.parse_args()
    training = training_seconds(options.model)
    print("times in seconds, _ev: evaluations; columns from `scaled` on are for an error of 0.3 kT")
    print(
        "N    method               value  std_err   method   data method_ev    data_ev     scaled "
        "+training "
        "  method_ev     data_ev  / softcore"
    )
    rows = []
    for n in options.n:
        edge = 6.0 if options.density is None else (n / options.density) ** (1 / 3)
        state = StatePoint(n_particles=n, box_length_sigma=edge, temperature_star=1.25)
        measured = {
            method: scaled(
                measure(method, state, options.model, options.output), training.get(method) or 0.0
            )
            for method in options.methods
        }
        softcore = measured.get("mbar_softcore", {}).get("scaled_seconds")
        for row in measured.values():
            print(line(row, softcore), flush=True)
        rows += measured.values()
    write_json(
        options.output / "cost.json", {"target": TARGET, "training_seconds": training, "rows": rows}
    )


if __name__ == "__main__":
    main()
