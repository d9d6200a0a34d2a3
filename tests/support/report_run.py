"""A run with every file that the report reads, for the tests of the report."""

import json

import numpy as np

from openmm_nti.files import write_json, write_text
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.validation.analysis.convergence import Convergence

STATE = StatePoint(n_particles=40, box_length_sigma=6, temperature_star=1.25)
OVERLAP = [[0.6, 0.4, 0.0], [0.4, 0.3, 0.3], [0.0, 0.3, 0.7]]
PROFILE = {
    "lambdas": [0.0, 0.5, 1.0],
    "dudl_mean": [-5.0, -20.0, -40.0],
    "dudl_std_err": [0.1, 0.2, 0.3],
}

SERIES = Convergence(
    *np.array([[0.5, 1.0], [-21.2, -21.1], [0.3, 0.2], [-21.0, -21.1], [0.3, 0.2]])
)


def entry(value, std_err, method, *, verdict=("none", "not judged"), **diagnostics):
    """An estimate as it stands in results.json."""
    level, text = verdict
    return {
        "value": value,
        "std_err": std_err,
        "method": method,
        "convention": "switched",
        "verdict": {"level": level, "text": text},
        "diagnostics": diagnostics if level == "none" else diagnostics | {"verdict": text},
    }


def free_energy(entry, quantity="beta_f_ex"):
    """The estimate that an entry of results.json holds."""
    return FreeEnergy.from_dict({**entry, "n_particles": 40, "quantity": quantity})


def estimates():
    entries = [
        entry(
            -21.10, 0.15, "mbar_softcore", overlap_matrix=OVERLAP, verdict=("good", "good (0.3)")
        ),
        entry(-21.25, 0.10, "mbar_neural", overlap_matrix=OVERLAP, verdict=("good", "good (0.3)")),
        entry(-21.30, 0.12, "ti_neural_md", verdict=("good", "good"), **PROFILE),
        entry(-23.40, 0.10, "neural_ti"),
        entry(-22.00, 0.10, "neural_ti_bound"),
    ]
    return {one["method"]: one for one in entries}


HELD_OUT = {
    STATE.label: {
        "noise_sigma": [0.1, 0.3],
        "decile_gain_kt": [1.0, 2.0],
        "decile_gain_err": [0.1, 0.2],
    },
}


def make_run(path):
    """The directory `path` as a run leaves it."""
    point = {
        "n_particles": 40,
        "beta_f_ex": estimates(),
        "beta_mu_ex": {"widom": entry(-1.05, 0.01, "widom", verdict=("good", "good"))},
        "diagnostics": {"state": STATE.model_dump(mode="json")},
    }
    provenance = {"seed": 7, "versions": {"openmm": "8.5.2"}, "command": "run <script>"}
    write_json(
        path / "results.json", {"schema": 1, "state_points": [point], "provenance": provenance}
    )
    write_text(path / "config.yaml", "seed: 7\n")
    metrics = [
        {"step": step, "loss": 1 / step, "validation_loss": 2 / step, "held_out": HELD_OUT}
        for step in (1, 2, 3)
    ]
    write_text(
        path / "model" / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in metrics)
    )
    folder = path / STATE.label
    folder.mkdir()
    grid = np.linspace(0, 1, 50)
    np.savez(folder / "neural_ti.npz", lambdas=grid, dudl_mean=-40 * grid, dudl_err=0.1 + grid)
    np.savez(folder / "gr.npz", r_sigma=grid * 3, g_data=grid, g_model=grid**2)
    return path
