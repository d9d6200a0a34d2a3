"""The accuracy of a model: its estimates against reference values, and its samples against data.

The frames of the ensemble files in DATA must not be those of the training. For each file these
numbers are printed:

- the lower bound of the model alone, that with tethered chains, neural_ti_tethered and neural_ti,
  each with its bias;
- the RMS difference of g(r) between reverse-diffusion samples and data over 0.8 <= r <= 3 sigma,
  and the difference that two sets of so many frames have by chance;
- the difference of the mean energies per particle.

With --card the numbers are written into the model's card. Usage:

    openmm-nti generate examples/lj_pretrained.yaml --output data --seed 2 --set
    reference.n_frames=800 python benchmarks/accuracy.py lj-fluid-t1.25 data/reference [--steps 400]
    [--workers 2] [--card]

--samples takes one number for all files, or one for each in the order of N: dense fluids need fewer
samples for the same g(r).
"""

import argparse
import time
from pathlib import Path

import numpy as np
from cost import code

from openmm_nti import Ensemble, load_model
from openmm_nti.files import read_json, write_json
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.model_files import CARD_FILE, load_denoiser, model_directory
from openmm_nti.runtime.context import Execution
from openmm_nti.runtime.stored import mark
from openmm_nti.validation.analysis import gr
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.registry import all_estimators, estimator, section_config

LIMITS = (
    "For this pair potential and temperature alone. Between the trained densities accuracy is as "
    "in the rows of `accuracy`; outside of them, use exact estimators (mbar_neural, path_bar) only."
)
REFERENCE = Path(__file__).parent / "reference_values.json"
METHODS = [
    name for name, known in all_estimators().items() if known.section in {"bound", "neural_ti"}
]


def blocks(
    ensemble: Ensemble, positions: np.ndarray, n_blocks: int = 20
) -> tuple[np.ndarray, np.ndarray]:
    """Return g(r) and U/N of equal blocks of the frames.

    The first is over 0.8 <= r <= 3 sigma, (B, R), the second in epsilon, (B,).
    """
    state = ensemble.state
    pieces = np.split(positions[: len(positions) // n_blocks * n_blocks], n_blocks)
    curves = []
    for piece in pieces:
        r, g = gr.radial_distribution(piece, state.edges_sigma)
        curves.append(g[(r >= 0.8) & (r <= 3.0)])
    scale = state.temperature_star / state.n_particles
    energies = [scale * reduced_potential_numpy(piece, state).mean() for piece in pieces]
    return np.array(curves), np.array(energies)


def structure(ensemble: Ensemble, samples: np.ndarray) -> dict:
    """Return the differences between samples and data in g(r) and in energy per particle.

    Each comes with the difference that chance alone would give.
    """
    data_g, data_u = blocks(ensemble, ensemble.positions_sigma)
    model_g, model_u = blocks(ensemble, samples)
    variance_g = (data_g.var(axis=0, ddof=1) + model_g.var(axis=0, ddof=1)) / len(data_g)
    return {
        "gr_rms": float(np.sqrt(np.mean((model_g.mean(axis=0) - data_g.mean(axis=0)) ** 2))),
        "gr_rms_by_chance": float(np.sqrt(variance_g.mean())),
        "energy_excess_epsilon": float(model_u.mean() - data_u.mean()),
        "energy_excess_err": float(
            np.sqrt((data_u.var(ddof=1) + model_u.var(ddof=1)) / len(data_u))
        ),
    }


def examine(model, score, ensemble: Ensemble, n_samples: int, options: argparse.Namespace) -> dict:
    """Return the row of one state point; it is kept in OUTPUT and read from there later."""
    state = ensemble.state
    folder = Path(options.output) / state.label
    effort = {"n_pairs": options.pairs}
    if options.tethered is not None:
        effort["n_tethered"] = options.tethered
    settings = {
        "bound": effort,
        "neural_ti": {
            "n_samples": n_samples,
            "n_steps": options.steps,
            "corrector_steps": options.corrector,
        },
    }
    decided_by = [model, score, ensemble, settings, code()]
    done = folder / f"accuracy-{mark('accuracy', 1, decided_by)}.json"
    if done.is_file():
        return read_json(done)
    execution = Execution(1, options.workers, folder)
    found = {}
    seconds = 0.0
    for name in METHODS:
        known = estimator(name)
        trained = model if "energy" in known.needs else score
        config = section_config(known.section)(**settings[known.section])
        began = time.perf_counter()
        found[name] = known.estimate(Job(state, ensemble, trained, execution), config)
        seconds = time.perf_counter() - began  # of the last method, which takes longest
    facts = found["neural_ti_bound"].diagnostics
    with np.load(folder / "neural_ti.npz") as file:
        observed = structure(ensemble, file["positions_sigma"])
    row = {
        "n_particles": state.n_particles,
        "model_bound": [facts["model_bound"], facts["model_bound_err"]],
        **{name: [estimate.value, estimate.std_err] for name, estimate in found.items()},
        "n_samples": n_samples,
        "n_steps": options.steps,
        "corrector_steps": options.corrector,
        **observed,
        "neural_ti_seconds": round(seconds, 1),
    }
    write_json(done, row)
    return row


def main() -> None:
    """Print the table, with standard errors in kT in brackets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--samples", type=int, nargs="+", default=[512])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--corrector", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=384)
    parser.add_argument("--tethered", type=int, help="by default that of the bound")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", default="accuracy-output")
    parser.add_argument("--card", action="store_true")
    options = parser.parse_args()
    model = load_model(options.model)
    score = load_denoiser(options.model)
    reference = read_json(REFERENCE)["switched"]
    rows = []
    print(
        "N    reference       "
        + "".join(f"  {name:<24s}" for name in ("model_bound", *METHODS))
        + "g(r) RMS (by chance)  dE/N (eps)       time"
    )
    ensembles = [Ensemble.load(path) for path in options.data.glob("*.h5")]
    ensembles.sort(key=lambda item: item.state.n_particles)
    samples = options.samples * (len(ensembles) if len(options.samples) == 1 else 1)
    for ensemble, n_samples in zip(ensembles, samples, strict=True):
        row = examine(model, score, ensemble, n_samples, options)
        rows.append(row)
        known = reference.get(str(row["n_particles"]))
        cells = [
            f"{row['n_particles']:<4d}",
            f"{known[0]:8.2f}({known[1]:.2f})" if known else " " * 14,
        ]
        for method in ("model_bound", *METHODS):
            value, error = row[method]
            bias = f"{value - known[0]:+.2f}" if known else ""
            cells.append(f"{f'{value:8.2f}({error:.2f}) {bias}':<24s}")
        cells.append(f"{row['gr_rms']:.4f} ({row['gr_rms_by_chance']:.4f})     ")
        cells.append(f"{row['energy_excess_epsilon']:+.4f}({row['energy_excess_err']:.4f})")
        cells.append(f"{row['neural_ti_seconds']:.0f} s")
        print("  ".join(cells), flush=True)
    if options.card:
        path = model_directory(options.model) / CARD_FILE
        write_json(path, {**read_json(path), "accuracy": rows, "limits": LIMITS})
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
