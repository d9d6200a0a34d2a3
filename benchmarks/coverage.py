"""A test of the error bars: each exact estimator many times over, against the known free energy.

Every seed makes its own reference data, of other MD, and from them all estimates, with small
settings. The model is the same for all seeds. By default it is a small one, trained in a minute on
data of another seed. The fluid is that of the paper, `switched`, with beta F_ex from
reference_values.json. The benchmark counts how often

    |value - truth| < 1.96 sqrt(std_err^2 + truth_err^2).

Every seed has a file in OUTPUT, whose name ends in the fingerprint of what decided it, so a stopped
run goes on. Usage:

    python benchmarks/coverage.py OUTPUT [--n 20] [--seeds 20] [--model NAME]
    [--methods path_bar ...] [--workers 1]
"""

import argparse
import math
import time
from functools import partial
from pathlib import Path

import numpy as np
from cost import code

from openmm_nti import NetworkConfig, StatePoint
from openmm_nti.files import read_json, write_json
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.runtime.context import Execution
from openmm_nti.runtime.stored import mark
from openmm_nti.runtime.tasks import derive_seed
from openmm_nti.training import TrainingConfig, train
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.registry import all_estimators

TRUTHS = read_json(Path(__file__).parent / "reference_values.json")["switched"]
DATA = ReferenceConfig(n_frames=96, equilibration_steps=2000, frame_interval=100, segment_frames=25)
EFFORT = {
    "bound": {"n_pairs": 96, "n_tethered": 24, "tethered_steps": 4000},
    "paths": {"n_paths": 48, "n_steps": 40},
    "stages": {"n_paths": 48, "n_steps": 80, "equilibration_steps": 100, "steps_between": 10},
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
# Every method of these sections that estimates the free energy itself. So does neural_ti_tethered,
# except for errors of the model at very small and very large noise.
COVERED = [
    name
    for name, known in all_estimators().items()
    if known.section in EFFORT and known.kind != "bound"
]


def state_of(n: int) -> StatePoint:
    """Return the fluid of the paper with n particles."""
    return StatePoint(n_particles=n, box_length_sigma=6.0, temperature_star=1.25)


def one_seed(
    seed: int, output: Path, state: StatePoint, model: str, methods: tuple[str, ...]
) -> dict:
    """Return value, standard error and CPU seconds of each method, from their files if there."""
    root = derive_seed(seed, "coverage")
    folder = output / state.label / f"seed_{seed:03d}"
    (ensemble,) = generate([state], DATA, seed=root, directory=folder / "reference", progress=False)
    results = {}
    for name in methods:
        known = all_estimators()[name]
        config = known.Config(**EFFORT[known.section])
        score, denoiser = known.load(model) if known.needs_model else (None, None)
        path = (
            folder
            / f"{name}-{mark(name, root, [state, config, ensemble, score, denoiser, code()])}.json"
        )
        if not path.is_file():
            began = time.process_time()
            job = Job(state, ensemble, score, Execution(root), denoiser=denoiser)
            found = known.estimate(job, config)
            seconds = round(time.process_time() - began, 1)
            write_json(path, {"row": [found.value, found.std_err, seconds]})
        results[name] = read_json(path)["row"]
    return results


def small_model(output: Path, state: StatePoint) -> str:
    """Return the directory of a small model, trained on data of seed 0 if it is not there."""
    seed = derive_seed(0, "coverage")
    folder = output / state.label / "model"
    ensembles = generate([state], DATA, seed=seed, directory=folder / "reference", progress=False)
    train(ensembles, NETWORK, TRAINING, seed=seed, directory=folder, progress=True)
    return str(folder)


def summary(results: list[list[float]], truth: tuple[float, float]) -> dict:
    """Return the row of a method from its values, errors and seconds of all seeds."""
    values, errors, seconds = np.array(results).T
    deviations = values - truth[0]
    mean_err = math.hypot(values.std(ddof=1) / math.sqrt(values.size), truth[1])
    return {
        "n_seeds": values.size,
        "n_covered": int((np.abs(deviations) < 1.96 * np.hypot(errors, truth[1])).sum()),
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
    parser.add_argument("--n", type=int, default=20, choices=sorted(map(int, TRUTHS)))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--model", help="name or directory; by default a small one is trained")
    parser.add_argument("--methods", nargs="+", choices=COVERED, default=COVERED)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds must be at least 2: a spread is measured")
    state, truth = state_of(options.n), tuple(TRUTHS[str(options.n)][:2])
    model = options.model or small_model(options.output, state)
    methods = tuple(options.methods)
    task = partial(one_seed, output=options.output, state=state, model=model, methods=methods)
    seeds = range(1, options.seeds + 1)
    results = Execution(workers=options.workers).run(task, seeds, "coverage")
    rows = {name: summary([result[name] for result in results], truth) for name in methods}
    write_json(
        options.output / state.label / "coverage.json",
        {"truth": truth, "model": model, "methods": rows},
    )
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
