"""What an error of 0.3 kT costs: wall time and energy-with-force evaluations of four methods at
several N.

Every method runs once with modest settings in one process. Its time and evaluations are then scaled
to a standard error of 0.3 kT by (std_err / 0.3)^2, as for independent samples: a scaled number, not
a measured one. Reference data are counted with the methods that need them, and scaled like them.
The core seconds of training, from the card of the model or of its denoiser, are a constant; the
table has the total without it and with it, and the total without it over that of `mbar_softcore`.
The bound stays a bound: its gap is in no error here. The bound and `path_bar` take the model's
denoiser, where it has one.

An evaluation is one of one configuration of N particles: of the model for `mbar_neural`, `path_bar`
and `neural_ti_bound`, of the plain soft-core force for `mbar_softcore`, and of Lennard-Jones forces
for the reference data, in a column of their own. They follow from the settings: steps times chains
times windows, and levels times paths. What pilots and the energies of samples at other windows take
is in the times, but not in the evaluations. Usage:

    python benchmarks/cost.py --output cost [--n 40 120 200] [--methods path_bar ...] [--model
    lj-fluid-t1.25]
"""

import argparse
import math
import time
from pathlib import Path

from openmm_nti import Ensemble, StatePoint, load_model
from openmm_nti.files import read_json, write_json
from openmm_nti.model_files import load_denoiser
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.registry import all_estimators, section_config
from openmm_nti.validation.paper.expenses import TARGET, reference_steps, training_seconds

SEED = 1
DATA = ReferenceConfig(n_frames=160, segment_frames=50)
EFFORT = {  # of the sections that are measured; their first method stands for each
    "bound": {"n_levels": 24, "n_pairs": 96, "n_tethered": 0},
    "paths": {"n_paths": 64, "n_steps": 300},
    "windows": {"n_chains": 16, "n_frames": 10},
    "softcore": {"n_frames": 30},
}
KNOWN = {known.section: known for known in reversed(all_estimators().values())}
COSTS = {KNOWN[section].name: KNOWN[section] for section in EFFORT}


def reference_data(state: StatePoint, folder: Path) -> tuple[Ensemble, dict]:
    """The data, and what they cost; both from disk if they are there."""
    path = folder / "reference.json"
    began = time.perf_counter()
    (ensemble,) = generate([state], DATA, seed=SEED, directory=folder / "reference", progress=False)
    if not path.is_file():
        write_json(
            path,
            {
                "seconds": time.perf_counter() - began,
                "evaluations": reference_steps(ensemble, DATA),
            },
        )
    return ensemble, read_json(path)


def measure(method: str, state: StatePoint, model_name: str, output: Path) -> dict:
    """The costs of one method at one state point; from its file if that is there."""
    folder = output / state.label
    path = folder / f"{method}.json"
    if path.is_file():
        return read_json(path)
    known = COSTS[method]
    data = None
    data_cost = {"seconds": 0.0, "evaluations": 0}
    if "data" in known.needs:
        data, data_cost = reference_data(state, folder)
    load = load_model if "energy" in known.needs else load_denoiser
    model = load(model_name) if known.needs_model else None
    config = section_config(known.section)(**EFFORT[known.section])
    began = time.perf_counter()
    job = Job(state, data, model, Execution(SEED, directory=folder / method))
    result = known.estimate(job, config)
    row = {
        "n_particles": state.n_particles,
        "method": method,
        "value": result.value,
        "std_err": result.std_err,
        "seconds": time.perf_counter() - began,
        "evaluations": known.evaluations(config, result),
        "data_seconds": data_cost["seconds"],
        "data_evaluations": data_cost["evaluations"],
    }
    write_json(path, row)
    return row


def scaled(row: dict, training: float) -> dict:
    """`row` with what an error of 0.3 kT costs by (std_err / 0.3)^2; None where the error is
    infinite.
    """
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
    """One row of the table; the error is infinite where windows do not overlap."""
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
    """Measure what is not on disk, print the table and write it to OUTPUT/cost.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--n", type=int, nargs="+", default=(40, 120, 200))
    parser.add_argument("--methods", nargs="+", choices=COSTS, default=list(COSTS))
    parser.add_argument("--model", default="lj-fluid-t1.25")
    options = parser.parse_args()
    training = training_seconds(options.model)
    print(
        "times in seconds, _ev: evaluations; from `scaled` on, all are scaled to an error of 0.3 kT"
    )
    print(
        "N    method               value  std_err   method   data method_ev    data_ev     scaled "
        "+training "
        "  method_ev     data_ev  / softcore"
    )
    rows = []
    for n in options.n:
        state = StatePoint(n_particles=n, box_length_sigma=6.0, temperature_star=1.25)
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
