"""Speed of the second shipped model in the fluid of the first, as ratios of alternating calls.

Energy with forces as a bare module and as a TorchForce, the denoiser's gradient, and the gradient
of the training loss, at N = 200 (rho* = 0.93) of one species. `speed.py` says how times are taken.
Usage:

    OMP_NUM_THREADS=1 python benchmarks/speed_models.py [MODEL ...] [--rounds 30]
"""

import argparse

import numpy as np
import torch
from speed_calls import (
    DENSE,
    DEVICE,
    Calls,
    bare_evaluation,
    disordered_nm,
    evaluation,
    lowest_times,
)

from openmm_nti import load_model
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.md.forces import create_system, torch_force
from openmm_nti.model_files import load_denoiser
from openmm_nti.training.loss import score_loss
from openmm_nti.training.targets import CleanData, noise_batch

CONFIGURATIONS = 4


def gradient_of(model: NoisedFluid, *, trained: bool) -> object:
    """Return a call of the gradient of noised configurations, or of the loss by the weights."""
    model = model.bind(DENSE).requires_grad_(trained).to(DEVICE)
    frames = [disordered_nm(DENSE, seed) / DENSE.sigma_nm for seed in range(CONFIGURATIONS)]
    positions = torch.as_tensor(np.stack(frames), device=DEVICE)
    box = cubic_box(DENSE.box_length_sigma, DEVICE)
    gradient = model.end.gradient(positions, box)
    clean = CleanData(positions, gradient, box, gradient.square().mean())
    log_s = torch.linspace(-3.0, -0.5, CONFIGURATIONS, dtype=torch.float64, device=DEVICE)
    noise = torch.randn(positions.shape, dtype=torch.float64, generator=torch.manual_seed(0))
    batch = noise_batch(clean, log_s, noise.to(DEVICE))
    if not trained:
        return lambda: model.gradient(batch.positions, box, batch.log_s).cpu()

    def step() -> None:
        model.zero_grad(set_to_none=True)
        score_loss(model, batch).backward()

    return step


def main() -> None:
    """Print milliseconds and ratios to the first model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["lj-fluid-t1.25", "lj-family"])
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    for title in (
        "energy and forces, bare module",
        "energy and forces, TorchForce",
        "gradient of the denoiser",
        "training of the energy",
        "training of the denoiser",
    ):
        calls: Calls = {}
        for name in options.models:
            energy, denoiser = load_model(name).bind(DENSE), load_denoiser(name)
            calls[name] = {
                "energy and forces, bare module": lambda e=energy: bare_evaluation(e, DENSE),
                "energy and forces, TorchForce": lambda e=energy: evaluation(
                    create_system(DENSE, torch_force(e, DENSE)), DENSE
                ),
                "gradient of the denoiser": lambda d=denoiser: gradient_of(d, trained=False),
                "training of the energy": lambda e=energy: gradient_of(e, trained=True),
                "training of the denoiser": lambda d=denoiser: gradient_of(d, trained=True),
            }[title]()
        times = lowest_times(calls, options.rounds)
        first = times[options.models[0]]
        print(
            title,
            *(f"{name}: {1e3 * t:.2f} ms, {t / first:.3f}" for name, t in times.items()),
            sep="\n  ",
        )


if __name__ == "__main__":
    main()
