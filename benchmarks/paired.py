"""How far lower bounds of models lie above that of the first, on the same noised frames.

Differences of two bounds are known far better than either: frames and noise are the same, and
cancel. With the gap of one model (benchmarks/temperatures.py), they give that of another at a
tenth of the cost. Usage:

    python benchmarks/paired.py FIRST MODEL [MODEL ...] --data ENSEMBLE.h5 [...] [--pairs 24]
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch

from openmm_nti.ensemble import Ensemble
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.model_files import load_denoiser
from openmm_nti.training.config import TrainingConfig
from openmm_nti.training.targets import CleanData, NoisedBatch, antithetic_batch

LEVELS = 12  # of noise, by Gauss-Legendre quadrature in ln s
CONFIGURATIONS = 12  # at once


def terms(model: NoisedFluid, batch: NoisedBatch) -> np.ndarray:
    """Return what each pair of noised frames adds to the bound, (pairs,), kT / sigma^2."""
    parts = [
        model.gradient(part.positions, part.box, part.log_s) for part in batch.split(CONFIGURATIONS)
    ]
    return batch.bound_terms(torch.cat(parts)).reshape(2, -1).mean(0).detach().numpy()


def differences(
    models: list[NoisedFluid], ensemble: Ensemble, n_pairs: int
) -> list[tuple[float, float]]:
    """Return how far each bound lies above the first, with its standard error, in kT."""
    bound = [model.bind(ensemble.state) for model in models]
    data = CleanData.from_ensemble(ensemble, bound[0], torch.device("cpu"))
    nodes, weights = np.polynomial.legendre.leggauss(LEVELS)
    low, high = math.log(TrainingConfig().noise_min_sigma), data.log_noise_max
    generator = torch.Generator().manual_seed(1)
    found = np.zeros((len(models), 2))
    for node, weight in zip(nodes, weights, strict=True):
        log_s = low + 0.5 * (high - low) * (node + 1)
        frames = torch.randperm(len(data.positions), generator=generator)[:n_pairs]
        levels = torch.full((len(frames),), log_s, dtype=torch.float64)
        batch = antithetic_batch(data, frames, levels, generator)
        first, *others = (terms(model, batch) for model in bound)
        # d(s_eff^2) = 2 s^2 d(ln s), and the bound has a factor 1/2.
        share = 0.5 * weight * (high - low) * math.exp(2 * log_s)
        for row, other in enumerate(others, 1):
            gain = share * (other - first)
            found[row] += gain.mean(), gain.var(ddof=1) / len(gain)
    return [(float(mean), math.sqrt(variance)) for mean, variance in found[1:]]


def main() -> None:
    """Print a row for each ensemble: the differences to the first model, in kT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--pairs", type=int, default=24)
    options = parser.parse_args()
    models = [load_denoiser(name) for name in options.models]
    for path in options.data:
        ensemble = Ensemble.load(path)
        rows = differences(models, ensemble, options.pairs)
        text = "  ".join(f"{value:+7.2f}({error:.2f})" for value, error in rows)
        print(f"{ensemble.state.label:40s} {text}", flush=True)


if __name__ == "__main__":
    main()
