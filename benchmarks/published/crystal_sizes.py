"""beta A / N of an fcc crystal at several sizes, to infinite size and to the full potential.

beta A / N + ln N / 2N should be linear in 1/N. Printed is it, and its slope between sizes; what
normal modes add for infinite size; what the frames say that the cutoff leaves out; and the sum of
all, which should be the same for all sizes. The default is the state for which the equation of M.
A. van der Hoef (J. Chem. Phys. 113, 8142 (2000)) has 2.6233, with a cutoff that fits into three
cells. Where the network sees too far for the box, `frenkel_ladd` takes its place. Usage:

    export OPENMM_CPU_THREADS=1 OMP_NUM_THREADS=1
    python benchmarks/published/crystal_sizes.py --output sizes [--cells 3 4 5] [--seed 1]
    [--density 1.28] [--temperature 2] [--cutoff 2.15]
"""

import argparse
import math
from itertools import pairwise
from pathlib import Path

from openmm_nti import StatePoint
from openmm_nti.model_files import load_denoiser
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.registry import estimator
from openmm_nti.validation.melting.row import Row, row_of

FRAMES = ReferenceConfig(
    n_frames=256,
    n_replicas=4,
    equilibration_steps=2000,
    friction_star=2.0,
    frame_interval=150,
    segment_frames=40,
)
PATHS = {"n_paths": 64, "n_steps": 80}


def measure(state: StatePoint, options: argparse.Namespace) -> Row:
    """Return what is known of one size, with its free energy."""
    execution = Execution(options.seed, 1, options.output / state.label, progress=True)
    (frames,) = generate([state], FRAMES, execution.folder("reference"))
    model = load_denoiser(options.model)
    name, settings = "crystal_path_bar", PATHS
    try:
        model.bind(state)
    except ValueError:  # the network sees further than half the box
        name, settings, model = "frenkel_ladd", {}, None
    known = estimator(name)
    found = known.estimate(Job(state, frames, model, execution), known.Config(**settings))
    return row_of(frames, found, full=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cells", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--density", type=float, default=1.28)
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--cutoff", type=float, default=2.15)
    parser.add_argument("--model", default="lj-fluid-t1.25")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| N | method | a + ln N / 2N | to infinite N | tail | full, infinite N |")
    print("|---|---|---|---|---|---|")
    points = []
    for cells in options.cells:
        state = StatePoint(
            crystal={"lattice": "fcc", "cells": [cells] * 3},
            density_star=options.density,
            temperature_star=options.temperature,
            cutoff_sigma=options.cutoff,
            switch_sigma=options.cutoff - 0.3,
        )
        row = measure(state, options)
        n, facts = state.n_particles, row.facts
        error = facts["beta_f_ex"]["std_err"] / n
        own = facts["beta_a_per_particle"] + 0.5 * math.log(n) / n
        points.append((1 / n, own, error))
        size, tail = facts["to_infinite_size"]["a"], facts["tail"]["beta_f"] / n
        print(
            f"| {n} | {facts['verdict']['text']} | {own:.4f}({error:.4f}) "
            f"| {size - 0.5 * math.log(n) / n:.4f} | {tail:.4f} "
            f"| {row.known.a:.4f}({row.known.std_err:.4f}) |",
            flush=True,
        )
    for one, other in pairwise(points):
        step = one[0] - other[0]
        slope, error = (one[1] - other[1]) / step, math.hypot(one[2], other[2]) / step
        sizes = f"{1 / one[0]:.0f} to {1 / other[0]:.0f}"
        print(f"slope in 1/N from N = {sizes}: {slope:.2f}({error:.2f})")


if __name__ == "__main__":
    main()
