"""The gap of a model at temperatures that it was not trained for.

For each N, MD runs at all temperatures. MBAR in beta gives beta F_ex at each of them from its
reference value at T* = 1.25 (benchmarks/reference_values.json). The gap is how far the model's
rigorous lower bound lies below that. Finished parts are read from OUTPUT, so a second model costs
its bounds alone. Usage:

    python benchmarks/temperatures.py OUTPUT --models lj-fluid-t1.25 [DIR ...] [--n 40 100 160 200]
    [--temperatures 1 1.5 2 3] [--frames 400] [--pairs 384] [--tethered [--set n_tethered=128 ...]]
    [--table gaps.csv]

With --tethered, the last column is how far `neural_ti_bound`, with its tethered chains and the last
model, lies below, with its verdict. --set changes its effort. --table writes the rows for the
figure of docs/pictures.py. Below T* = 1.2 there are N = 160 and more only: fewer would lie between
gas and liquid.
"""

import argparse
import csv
import math
from itertools import pairwise
from pathlib import Path

from openmm_nti import StatePoint
from openmm_nti.files import read_json
from openmm_nti.model_files import load_denoiser
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.model_bound import model_bound
from openmm_nti.validation.estimators.registry import estimator, section_config
from openmm_nti.validation.sweep import run
from openmm_nti.validation.sweep.thermodynamics import Anchor

REFERENCE = Path(__file__).parent / "reference_values.json"
ANCHOR = 1.25
_STEP_IN_BETA = 0.12  # neighbours overlap up to N = 200
_COLDEST, _FROM_N = 1.2, 160


def ladder(temperatures: list[float]) -> list[float]:
    """Return the temperatures and, between them, as many more as overlap asks for."""
    betas = sorted({1 / t for t in [*temperatures, ANCHOR]})
    found = []
    for low, high in pairwise(betas):
        n = math.ceil((high - low) / _STEP_IN_BETA)
        found += [low + (high - low) * k / n for k in range(n)]
    return sorted(1 / beta for beta in [*found, betas[-1]])


def read_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--models", nargs="+", default=["lj-fluid-t1.25"])
    parser.add_argument("--n", type=int, nargs="+", default=[40, 100, 160, 200])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 1.5, 2.0, 3.0])
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=384)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--tethered", action="store_true")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


def main() -> None:
    """Print the table: beta F_ex by the sweep, and each model's gap, in kT."""
    options = read_options()
    effort = section_config("bound")(**dict(one.split("=", 1) for one in options.set))
    columns = ["N", "density_star", "temperature_star", "beta_f_ex", "beta_f_ex_err"]
    for name in options.models:
        columns += [f"gap_{Path(name).name}", f"gap_{Path(name).name}_err"]
    table: list[list[float]] = []
    known = read_json(REFERENCE)["switched"]
    models = {str(name): load_denoiser(name) for name in options.models}
    print(f"{'N':>4s} {'T*':>5s} {'beta F_ex':>15s}  gap of {', '.join(models)}", flush=True)
    config = ReferenceConfig(n_frames=options.frames)
    for n in options.n:
        wanted = [t for t in options.temperatures if t >= _COLDEST or n >= _FROM_N]
        state = StatePoint(n_particles=n, box_length_sigma=6.0, temperature_star=ANCHOR)
        anchor = Anchor(ANCHOR, *known[str(n)][:2])
        states = run.states_of(state, ladder(wanted), anchor)
        execution = Execution(options.seed, 1, options.output / f"N{n}", progress=True)
        rows = run.sweep(states, config, anchor, execution)["temperatures"]
        ensembles = generate(states, config, execution.folder("reference"))
        for row, ensemble in zip(rows, ensembles, strict=True):
            t = ensemble.state.temperature_star
            if not any(math.isclose(t, one) for one in [*wanted, ANCHOR]):
                continue
            truth = row["beta_f_ex"]
            gaps = []
            numbers = [n, ensemble.state.density_star, t, truth["value"], truth["std_err"]]
            for number, model in enumerate(models.values()):
                folder = execution.child(f"T{t:g}").folder(number)  # the same noise for all
                bound = model_bound(model, ensemble, 24, options.pairs, execution=folder)
                error = math.hypot(bound.std_err, truth["std_err"])
                numbers += [truth["value"] - bound.value, error]
                gaps.append(f"{numbers[-2]:6.2f}({error:.2f})")
            table.append(numbers)
            if options.tethered:
                job = Job(
                    ensemble.state, ensemble, model, execution.child(f"T{t:g}").folder("chains")
                )
                best = estimator("neural_ti_bound").estimate(job, effort)
                error = math.hypot(best.std_err, truth["std_err"])
                below = truth["value"] - best.value
                gaps.append(f"with chains {below:6.2f}({error:.2f}), {best.verdict.text}")
            print(
                f"{n:4d} {t:5.3g} {truth['value']:8.2f}({truth['std_err']:.2f})  "
                + "  ".join(gaps)
                + f"  bound {bound.value:.2f}({bound.std_err:.2f}), "
                f"{ensemble.n_independent:.0f} frames",
                flush=True,
            )
    if options.table:
        with options.table.open("w", newline="", encoding="utf-8") as lines:
            writer = csv.writer(lines)
            writer.writerow(columns)
            writer.writerows([f"{number:.5g}" for number in row] for row in table)


if __name__ == "__main__":
    main()
