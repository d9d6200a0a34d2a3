"""Every estimator of crystals on 32 atoms joined by springs, whose free energy is known exactly.

    python benchmarks/spring_crystal.py

Exact methods with a model get one that is wrong by 15 %, bounds one that is right: they would
be below by what is wrong. Printed is how far each is off -ln Z_rel, its error and its CPU time. The
status is 1 if one is off by more than three errors and 0.02 kT, or has an error above 0.1 kT.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from typing import Any

import numpy as np

from openmm_nti.runtime.context import Execution
from openmm_nti.testing.spring_crystal import (
    SpringModel,
    exact_minus_log_z_rel,
    spring_crystal,
    spring_frames,
)
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.registry import all_estimators

N_FRAMES = 2048
LARGEST_ERROR = 0.1
WRONG = 0.85
MD = {"friction_star": 15.0, "platform": "CPU"}
SETTINGS: dict[str, dict[str, Any]] = {
    "harmonic": {},
    "crystal_bound": {},
    "crystal_tethered": {"n_tethered": 64, "tethered_steps": 240},
    "crystal_path_bar": {"n_paths": 1024, "n_steps": 60},
    "mbar_crystal": MD | {"n_frames": 60, "steps_between": 6, "force": "python"},
    "frenkel_ladd": MD | {"n_frames": 200, "steps_between": 10, "equilibration": 200},
    "frenkel_ladd_ramps": MD | {"n_ramps": 24, "ramp_steps": 1000, "equilibration": 200},
}


def row(name: str, seed: int) -> tuple[float, float, float]:
    """Return by how much a method is off -ln Z_rel, its error, both in kT, and its CPU seconds."""
    state, known = spring_crystal("fcc"), all_estimators()[name]
    frames = spring_frames(state, N_FRAMES, np.random.default_rng(seed))
    model = SpringModel(state, 1.0 if known.kind == "bound" else WRONG)
    job = Job(state, frames, model if known.needs_model else None, Execution(seed))
    began = time.process_time()
    found = known.estimate(job, known.Config(**SETTINGS[name]))
    off = found.diagnostics["minus_log_z_rel"] - exact_minus_log_z_rel(state)
    return off, found.std_err, time.process_time() - began


def main() -> int:
    """Print the table, and return the status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", help="Methods; by default all.")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    of_crystals = [name for name, known in all_estimators().items() if known.phase == "crystal"]
    good = set(of_crystals) == set(SETTINGS)
    print("| method | off by, kT | error, kT | CPU s |\n|---|---|---|---|")
    for name in asked.methods or of_crystals:
        off, error, seconds = row(name, asked.seed)
        shown = f"{error:.3f}" if math.isfinite(error) else "none"
        print(f"| `{name}` | {off:+.3f} | {shown} | {seconds:.0f} |", flush=True)
        bar = error if math.isfinite(error) else 0.0
        good &= bar <= LARGEST_ERROR and abs(off) <= 3 * bar + 0.02
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
