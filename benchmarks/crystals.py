"""The CPU time that methods for a crystal take to an error of 0.5 kT, measured in turn.

All methods run one after another in one process, and again with the next seed, so that a machine
whose pace changes is the same for all. Each has settings that lead close to 0.5 kT. What is left is
scaled by (error / 0.5 kT)^2, with the mean square error of all rounds. MD of the frames is counted
with every method that needs frames, at each seed anew, and scaled like the rest. The training of
the model is not counted. `gap` is what a bound lies below the mean of the exact methods, which no
error tells. Usage:

    OPENMM_CPU_THREADS=1 OMP_NUM_THREADS=1 python benchmarks/crystals.py --output crystals
    [--rounds 3] [--methods frenkel_ladd crystal_path_bar ...] [--model lj-fluid-t1.25]

The crystal is fcc with N = 256, rho* = 1.10 and T* = 1.25. Another is made with --cells, --density
and --temperature.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np

from openmm_nti import Ensemble, StatePoint
from openmm_nti.files import write_json
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.registry import estimator

TARGET = 0.5  # kT
FRAMES = {"n_replicas": 4, "equilibration_steps": 800, "friction_star": 5.0}
METHODS = {  # name of a row: the method, its settings, and how many frames it takes
    "frenkel_ladd": ("frenkel_ladd", {"n_frames": 13}, 0),
    "frenkel_ladd, 4 chains": ("frenkel_ladd", {"n_frames": 26, "n_chains": 4}, 0),
    "frenkel_ladd_ramps": ("frenkel_ladd_ramps", {"n_ramps": 12}, 0),
    "crystal_path_bar": ("crystal_path_bar", {"n_paths": 12, "n_steps": 90}, 48),
    "crystal_bound": ("crystal_bound", {"n_pairs": 16, "n_levels": 24}, 64),
}


def frames_of(state: StatePoint, number: int, seed: int, folder: Path) -> Ensemble:
    """Return decorrelated frames of the crystal, from simulations that are made anew."""
    each = -(-number // FRAMES["n_replicas"])
    config = ReferenceConfig(
        n_frames=number, frame_interval=60, segment_frames=max(10, each), **FRAMES
    )
    (ensemble,) = generate([state], config, seed=seed, directory=folder, progress=False)
    return ensemble


def measure(row: str, state: StatePoint, model: str, seed: int, output: Path) -> dict:
    """Return what one method gives with one seed, and its CPU seconds."""
    name, settings, n_frames = METHODS[row]
    known = estimator(name)
    models = known.load(model) if known.needs_model else (None, None)
    began = time.process_time()
    data = None
    if n_frames:
        data = frames_of(state, n_frames, seed, output / f"seed{seed}" / f"{n_frames}_{row}")
    of_data = time.process_time() - began
    job = Job(state, data, models[0], Execution(seed, progress=False), denoiser=models[1])
    found = known.estimate(job, known.Config(**settings))
    return {
        "row": row,
        "seed": seed,
        "minus_log_z_rel": found.diagnostics["minus_log_z_rel"],
        "std_err": found.std_err,
        "kind": known.kind,
        "seconds": time.process_time() - began,
        "data_seconds": of_data,
        "verdict": found.verdict.text,
    }


def table(rows: list[dict], names: list[str]) -> list[str]:
    """Return the lines of the table of all rounds; the first method is what others are put to."""
    exact = [one for one in rows if one["kind"] == "exact" and math.isfinite(one["std_err"])]
    weights = np.array([one["std_err"] ** -2.0 for one in exact])
    mean = float(np.average([one["minus_log_z_rel"] for one in exact], weights=weights))
    lines = [
        f"mean of the exact methods: -ln Z_rel = {mean:.2f} +- {weights.sum() ** -0.5:.2f} kT",
        f"{'':24s} mean-all  scatter    error   seconds   MD of it   to 0.5 kT  ratio      gap",
    ]
    first = None
    for name in names:
        own = [one for one in rows if one["row"] == name]
        values = np.array([one["minus_log_z_rel"] for one in own])
        error = math.sqrt(np.mean([one["std_err"] ** 2 for one in own]))
        seconds, of_data = (
            np.mean([one[key] for one in own]) for key in ("seconds", "data_seconds")
        )
        cost = seconds * (error / TARGET) ** 2
        first = first or cost
        scatter = values.std(ddof=1) if len(own) > 1 else math.nan
        gap = f"{mean - values.mean():8.2f}" if own[0]["kind"] == "bound" else ""
        lines.append(
            f"{name:24s} {values.mean() - mean:8.2f} {scatter:8.2f} {error:8.2f} {seconds:9.1f} "
            f"{of_data:10.1f} {cost:11.1f} {cost / first:6.2f} {gap}"
        )
    return lines


def main() -> None:
    """Measure all methods in turn, print the table and write OUTPUT/crystals.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--model", default="lj-fluid-t1.25")
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--density", type=float, default=1.10)
    parser.add_argument("--temperature", type=float, default=1.25)
    options = parser.parse_args()
    state = StatePoint(
        crystal={"lattice": "fcc", "cells": [options.cells] * 3},
        density_star=options.density,
        temperature_star=options.temperature,
    )
    rows = []
    for seed in range(options.seed, options.seed + options.rounds):
        for row in options.methods:
            rows.append(measure(row, state, options.model, seed, options.output))
            print(rows[-1], flush=True)
    write_json(options.output / "crystals.json", {"target": TARGET, "rows": rows})
    print("\n".join(table(rows, options.methods)))


if __name__ == "__main__":
    main()
