"""Everything that runs in batches, on one device and on the CPU, as ratios of their times.

Pieces: the denoiser and energies with forces in batches of several sizes, energies at 24 lambdas, a
training step, noising and denoising paths whole and in stages, and tethered chains, whose MD is
OpenMM's. The batches of paths are those of the package, 6 configurations of N = 200, so they say
what a GPU gains as it stands; the rows of larger batches say what it could. Positions are lattices
under noise. Each time is the lowest of its rounds, after one that does not count, in wall seconds;
paths and chains run once. After --seconds no further piece begins, and those left out are named.

Without a GPU, `--device cpu --tiny` compares the CPU with itself in seconds: ratios are about 1.
Usage:

    python benchmarks/devices.py [--device cuda] [--output DIR] [--tiny] [--seconds 420]
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from speed_calls import MODEL, disordered_nm

from openmm_nti import Ensemble, LambdaHamiltonian, StatePoint, load_model
from openmm_nti.files import write_json
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.model_files import load_denoiser
from openmm_nti.runtime.context import Execution
from openmm_nti.runtime.devices import torch_device
from openmm_nti.training.loss import score_loss
from openmm_nti.training.targets import CleanData, noise_batch, stratified_log_noise
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.registry import all_estimators
from openmm_nti.validation.sampling.hmc import evaluate

PATHS = {"n_paths": 12, "n_steps": 60}
ESTIMATES = {
    "path_bar": PATHS,
    "path_stages": {**PATHS, "n_stages": 4, "equilibration_steps": 20},
    "neural_ti_tethered": {"n_levels": 8, "n_pairs": 16, "n_tethered": 8, "tethered_steps": 480},
}


def frames(state: StatePoint, count: int) -> Ensemble:
    """Return lattices under noise as an ensemble: what they cost, not what they mean, counts."""
    positions = np.stack([disordered_nm(state, seed) for seed in range(count)])
    energies = reduced_potential_numpy(positions / state.sigma_nm, state)
    return Ensemble(state, positions, energies, {})


def batches(state: StatePoint, sizes: list[int], device: torch.device) -> dict[str, Callable]:
    """Return the evaluations and the training step, by name, each with its data on `device`."""
    denoiser: NoisedFluid = load_denoiser(MODEL).to(device)
    model: LambdaHamiltonian = load_model(MODEL).to(device)
    box = cubic_box(state.box_length_sigma, device)
    calls: dict[str, Callable] = {}
    for size in sizes:
        x = torch.as_tensor(frames(state, size).positions_sigma, device=device)
        level = torch.full((size,), -1.5, dtype=torch.float64, device=device)
        coupling = torch.full((size,), 0.6, dtype=torch.float64, device=device)
        calls[f"denoiser, {size} configurations"] = partial(denoiser.gradient, x, box, level)
        calls[f"energy and forces, {size}"] = partial(evaluate, model, x, box, coupling)
    few = torch.as_tensor(frames(state, sizes[0]).positions_sigma, device=device)
    path = torch.linspace(0, 1, 24, dtype=torch.float64, device=device)
    calls[f"24 lambdas, {sizes[0]}"] = partial(model.energies_at, few, box, path)
    calls[f"training step, {sizes[0]}"] = training_step(few, box)
    return calls


def training_step(positions: torch.Tensor, box: torch.Tensor) -> Callable:
    """Return the gradient of the loss by the weights of the model, on the device of `positions`."""
    model = load_model(MODEL).requires_grad_(True).to(positions.device)
    gradient = model.end.gradient(positions, box)
    clean = CleanData(positions, gradient, box, gradient.square().mean())
    generator = torch.Generator().manual_seed(0)
    levels = stratified_log_noise(len(positions), -4.0, 0.0, generator).to(positions.device)
    noise = torch.randn(positions.shape, generator=generator, dtype=torch.float64)
    batch = noise_batch(clean, levels, noise.to(positions.device))

    def step() -> None:
        model.zero_grad(set_to_none=True)
        score_loss(model, batch).backward()

    return step


def whole(name: str, ensemble: Ensemble, device: str) -> Callable:
    """Return an estimate with small settings on `device`."""
    known = all_estimators()[name]
    trained, denoiser = known.load(MODEL)
    job = Job(ensemble.state, ensemble, trained, Execution(1, device=device), denoiser=denoiser)
    return partial(known.estimate, job, known.Config(**ESTIMATES[name]))


def seconds_of(call: Callable, device: torch.device, rounds: int) -> float:
    """Return the lowest wall seconds of `call`, with all that the device has to do for it."""

    def once() -> float:
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    if rounds > 1:
        once()
    return min(once() for _ in range(rounds))


def main() -> None:
    """Measure all pieces on both devices, and print milliseconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="compared with the CPU")
    parser.add_argument("--output", type=Path, default=Path("bench-output"))
    parser.add_argument("--tiny", action="store_true", help="N = 40, a test of this script")
    parser.add_argument("--seconds", type=float, default=420.0)
    options = parser.parse_args()
    began = time.perf_counter()
    devices = [torch_device(options.device), torch.device("cpu")]
    n = 40 if options.tiny else 200
    state = StatePoint(n_particles=n, box_length_sigma=6.0, temperature_star=1.25)
    sizes, rounds = ([2], 2) if options.tiny else ([6, 48, 192], 3)
    named = torch.cuda.get_device_name(devices[0]) if devices[0].type == "cuda" else "cpu"
    print(f"{named} against {torch.get_num_threads()} CPU thread(s), {MODEL}, N = {n}")
    print(f"{'piece':34s}{'device ms':>11s}{'cpu ms':>11s}{'cpu / device':>14s}")
    ensemble = frames(state, 32)
    on_both = [batches(state, sizes, device) for device in devices]
    pieces = {name: [calls[name] for calls in on_both] for name in on_both[0]}
    pieces |= {
        name: [whole(name, ensemble, str(device)) for device in devices] for name in ESTIMATES
    }
    rows, left_out = {}, []
    for name, calls in pieces.items():
        if time.perf_counter() - began > options.seconds:
            left_out.append(name)
            continue
        count = 1 if name in ESTIMATES else rounds
        here, cpu = (
            1e3 * seconds_of(call, at, count) for call, at in zip(calls, devices, strict=True)
        )
        rows[name] = {"device_ms": here, "cpu_ms": cpu, "ratio": cpu / here}
        print(f"{name:34s}{here:11.2f}{cpu:11.2f}{cpu / here:14.2f}", flush=True)
    if left_out:
        print(f"left out, for --seconds {options.seconds:g} were over: {', '.join(left_out)}")
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(
        options.output / "devices.json", {"device": named, "rows": rows, "left_out": left_out}
    )


if __name__ == "__main__":
    main()
