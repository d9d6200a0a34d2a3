"""Are the error bars right? Each exact estimator at N = 20, many times over, against the known free
energy.

Every seed makes reference data of its own and from them all estimates, with small settings. The
model is the same for all seeds: by default a small one, trained on data of a seed beside them in a
minute. The fluid is that of the paper, `switched`; its beta F_ex is that of reference_values.json.
Counted is how often

    |value - truth| < 1.96 sqrt(std_err^2 + truth_err^2).

One file a seed in OUTPUT, so that a stopped run goes on. Usage:

    python benchmarks/coverage.py OUTPUT [--seeds 20] [--model NAME] [--methods path_bar ...]
    [--workers 1]
"""

import argparse
import math
import time
from functools import partial
from pathlib import Path

import numpy as np

from openmm_nti import NetworkConfig, StatePoint, load_model
from openmm_nti.files import read_json, write_json
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.runtime.context import Execution
from openmm_nti.runtime.tasks import derive_seed
from openmm_nti.training import TrainingConfig, train
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.registry import all_estimators, section_config

STATE = StatePoint(n_particles=20, box_length_sigma=6.0, temperature_star=1.25)
TRUTH = tuple(read_json(Path(__file__).parent / "reference_values.json")["switched"]["20"][:2])
DATA = ReferenceConfig(
    n_frames=160, equilibration_steps=2000, frame_interval=100, segment_frames=50
)
EFFORT = {
    "bound": {"n_pairs": 96, "n_tethered": 24, "tethered_steps": 4000},
    "paths": {"n_paths": 64, "n_steps": 40},
    "windows": {
        "window_length": 1.0,
        "n_chains": 16,
        "n_frames": 8,
        "equilibration_steps": 300,
        "steps_between": 40,
    },
    "softcore": {"n_frames": 20, "steps_between": 25, "equilibration": 300},
    "bar_chain": {
        "n_walkers": 32,
        "n_frames": 2,
        "n_insertions": 100,
        "equilibration_sweeps": 60,
        "sweeps_between": 20,
    },
}
NETWORK = NetworkConfig(n_radial=6, n_channels=4, width=16, n_refinements=1)
TRAINING = TrainingConfig(n_steps=400)
# Every method of these sections whose number is the free energy itself. That of neural_ti_tethered
# is, but for errors of the model at very small and very large noise.
COVERED = [
    name
    for name, known in all_estimators().items()
    if known.section in EFFORT and known.kind != "bound"
]


def one_seed(seed: int, output: Path, model: str, methods: tuple[str, ...]) -> dict:
    """Value, standard error and seconds of each method; from the file of this seed where that has
    them.
    """
    path = output / f"seed_{seed:03d}.json"
    results = read_json(path) if path.is_file() else {}
    missing = [method for method in methods if method not in results]
    if not missing:
        return results
    root = derive_seed(seed, "coverage")
    folder = output / f"seed_{seed:03d}"
    (ensemble,) = generate([STATE], DATA, seed=root, directory=folder / "reference", progress=False)
    execution = Execution(root, directory=folder / STATE.label)
    job = Job(STATE, ensemble, load_model(model), execution)
    for name in missing:
        began = time.perf_counter()
        known = all_estimators()[name]
        result = known.estimate(job, section_config(known.section)(**EFFORT[known.section]))
        results[name] = [result.value, result.std_err, round(time.perf_counter() - began, 1)]
        write_json(path, results)
    return results


def small_model(output: Path) -> str:
    """Directory of a small model, trained on data of seed 0; trained already if it is there."""
    seed = derive_seed(0, "coverage")
    folder = output / "model"
    ensembles = generate([STATE], DATA, seed=seed, directory=folder / "reference", progress=False)
    train(ensembles, NETWORK, TRAINING, seed=seed, directory=folder, progress=True)
    return str(folder)


def summary(found: list[list[float]]) -> dict:
    """The row of a method from its values and errors over all seeds."""
    values, errors, seconds = np.array(found).T
    deviations = values - TRUTH[0]
    mean_err = math.hypot(values.std(ddof=1) / math.sqrt(values.size), TRUTH[1])
    return {
        "n_seeds": values.size,
        "n_covered": int((np.abs(deviations) < 1.96 * np.hypot(errors, TRUTH[1])).sum()),
        "bias": float(deviations.mean()),
        "bias_in_its_errors": float(deviations.mean() / mean_err),
        "mean_std_err": float(errors.mean()),
        "spread_over_std_err": float(values.std(ddof=1) / errors.mean()),
        "mean_seconds": float(seconds.mean()),
    }


def main() -> None:
    """Print the table and write it to OUTPUT/coverage.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--model", help="name or directory; by default a small one is trained")
    parser.add_argument("--methods", nargs="+", choices=COVERED, default=COVERED)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds must be at least 2: a spread is measured")
    model = options.model or small_model(options.output)
    task = partial(one_seed, output=options.output, model=model, methods=tuple(options.methods))
    seeds = range(1, options.seeds + 1)
    results = Execution(workers=options.workers).run(task, seeds, "coverage")
    rows = {method: summary([result[method] for result in results]) for method in options.methods}
    write_json(options.output / "coverage.json", {"truth": TRUTH, "model": model, "methods": rows})
    print(f"{'method':18s} covered    bias (its errors)  mean std_err  spread/std_err  seconds")
    for method, row in rows.items():
        print(
            f"{method:18s} {row['n_covered']:3d} of {row['n_seeds']:<3d} {row['bias']:+.3f} "
            f"({row['bias_in_its_errors']:+.1f}) {row['mean_std_err']:12.3f} "
            f"{row['spread_over_std_err']:12.2f}"
            f" {row['mean_seconds']:12.1f}"
        )


if __name__ == "__main__":
    main()
