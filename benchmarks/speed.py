"""What the model costs, as ratios of calls taken in turn in one process: a shared machine's
absolute times mean little.

Each time is the lowest of its rounds: processor time of the process with one thread, wall time with
--threads 2 or more (on a machine that does nothing else) and where there is a GPU. The scaling with
N is always that of one thread.

- Energy and forces at N = 200, L = 6 sigma (rho* = 0.93): bare module, TorchForce, PythonForce, and
  the same network with all pairs as neighbours, in units of OpenMM's own Lennard-Jones force.
- The gradient of the training loss, beside all pairs as neighbours with the two-body part in the
  graph, differentiated twice: what one writes first.
- Energies of a frame at 24 lambdas, in units of one.
- Energy and forces at rho* = 0.8 and growing N: time and peak memory, a process each; logarithmic
  slope, and a line a + b N through the points, with what it predicts for 10^5 particles.
- Chains of a lambda window in one Context, beside one Context for each.
- Windows of Hamiltonian Monte Carlo as one batch, beside one window after the other.

Writes speed.json and speed.png to the directory of --output. Lattices under noise of 0.1 sigma; the
shipped model.
"""

import argparse
import platform
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import openmm
import torch
from speed_calls import (
    DENSE,
    DEVICE,
    MODEL,
    AllPairs,
    Calls,
    bare_evaluation,
    context_of,
    disordered_nm,
    evaluation,
    lowest_times,
)
from speed_scaling import cost_model, scaling, show_scaling

from openmm_nti import LambdaHamiltonian, StatePoint, kernels, load_model
from openmm_nti.files import write_json
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.md.fluid_system import fluid_system
from openmm_nti.md.forces import create_system, python_force, torch_force
from openmm_nti.md.native_pair import native_pair_force
from openmm_nti.md.platforms import fastest_platform
from openmm_nti.training.loss import score_loss
from openmm_nti.training.targets import (
    CleanData,
    noise_batch,
    stratified_log_noise,
)
from openmm_nti.validation.sampling.hmc import Chains


def forces(model: LambdaHamiltonian, rounds: int) -> dict[str, float]:
    """Seconds of one energy with forces, by every way there is."""
    calls = {
        "OpenMM Lennard-Jones": evaluation(fluid_system(DENSE), DENSE),
        "two-body path in OpenMM": evaluation(
            create_system(DENSE, native_pair_force(model, DENSE)), DENSE
        ),
        "bare module": bare_evaluation(model, DENSE),
        "scripted": bare_evaluation(model, DENSE, scripted=True),
        "scripted, and dU/dlambda": bare_evaluation(model, DENSE, scripted=True, slope=True),
        "TorchForce": evaluation(create_system(DENSE, torch_force(model, DENSE)), DENSE),
        "PythonForce": evaluation(create_system(DENSE, python_force(model, DENSE)), DENSE),
        "bare module, all pairs": bare_evaluation(AllPairs(model).requires_grad_(False), DENSE),
    }
    return lowest_times(calls, rounds)


def training(model: LambdaHamiltonian, rounds: int) -> dict[str, float]:
    """Seconds of one gradient of the loss."""
    times = {}
    for n_particles, n_configurations in ((200, 8), (40, 32)):
        state = StatePoint(n_particles=n_particles, box_length_sigma=6.0, temperature_star=1.25)
        ours = load_model(MODEL).requires_grad_(True).to(DEVICE)
        dense = AllPairs(model).to(DEVICE)
        lattices = [
            lattice_positions_nm(state, seed) / state.sigma_nm for seed in range(n_configurations)
        ]
        positions = torch.as_tensor(np.stack(lattices), device=DEVICE)
        box = cubic_box(state.box_length_sigma, DEVICE)
        gradient = ours.end.gradient(positions, box)
        clean = CleanData(positions, gradient, box, gradient.square().mean())
        generator = torch.Generator().manual_seed(0)
        levels = stratified_log_noise(n_configurations, -4.0, 0.0, generator).to(DEVICE)
        noise = torch.randn(positions.shape, generator=generator, dtype=torch.float64).to(DEVICE)
        batch = noise_batch(clean, levels, noise)

        def step(model: LambdaHamiltonian, batch=batch) -> None:
            model.zero_grad(set_to_none=True)
            score_loss(model, batch).backward()

        name = f"{n_configurations} x N = {n_particles}"
        calls: Calls = {
            name: lambda ours=ours: step(ours),
            f"{name}, all pairs": lambda dense=dense: step(dense),
        }
        times |= lowest_times(calls, max(2, rounds // 4), warm_up=1)
    return times


def many_lambdas(model: LambdaHamiltonian, rounds: int) -> dict[str, float]:
    """Seconds of the energies of one frame: at one lambda, at one with forces, at 24."""
    model = model.to(DEVICE)
    positions = torch.as_tensor(
        disordered_nm(DENSE, seed=1) / DENSE.sigma_nm, device=DEVICE
    ).unsqueeze(0)
    box = cubic_box(DENSE.box_length_sigma, DEVICE)
    lam = torch.linspace(0, 1, 24, dtype=torch.float64, device=DEVICE)
    calls: Calls = {
        "1 lambda": lambda: model(positions, box, lam[12:13]).cpu(),
        "1 lambda, with forces": bare_evaluation(model, DENSE),
        "24 lambdas": lambda: model.energies_at(positions, box, lam).cpu(),
    }
    times = lowest_times(calls, rounds)
    model.to("cpu")
    return times


def chains(model: LambdaHamiltonian, rounds: int) -> dict[str, float]:
    """Seconds of ten MD steps of sixteen chains at N = 40, in one Context and in sixteen."""
    state = StatePoint(n_particles=40, box_length_sigma=6.0, temperature_star=1.25)

    def contexts(n_contexts: int) -> Callable[[], object]:
        n_replicas = 16 // n_contexts
        made = [
            context_of(
                create_system(
                    state,
                    torch_force(model, state, n_replicas=n_replicas, lambda_nti=0.5),
                    n_replicas=n_replicas,
                ),
                state,
            )
            for _ in range(n_contexts)
        ]
        return lambda: [context.getIntegrator().step(10) for context in made]

    return lowest_times(
        {"16 chains, one Context": contexts(1), "16 chains, one by one": contexts(16)}, rounds // 3
    )


def windows(model: LambdaHamiltonian, rounds: int) -> dict[str, float]:
    """Seconds of ten leapfrog steps of four chains in each of 16 windows at N = 40, as one batch
    and one by one.
    """
    state = StatePoint(n_particles=40, box_length_sigma=6.0, temperature_star=1.25)
    n_windows = 16
    model = model.to(DEVICE)
    start = np.stack([disordered_nm(state, seed) for seed in range(4 * n_windows)]) / state.sigma_nm
    each = torch.as_tensor(start, device=DEVICE).unflatten(0, (n_windows, 4))
    lambdas = torch.linspace(0.3, 1.0, n_windows, dtype=torch.float64)
    box = cubic_box(state.box_length_sigma, DEVICE)
    generator = torch.Generator().manual_seed(1)
    whole = Chains(model, box, lambdas, each, generator)
    single = [
        Chains(model, box, lambdas[k : k + 1], each[k : k + 1], generator) for k in range(n_windows)
    ]
    calls: Calls = {
        "16 windows, one batch": lambda: whole.move(10).cpu(),
        "16 windows, one by one": lambda: [chains.move(10).cpu() for chains in single],
    }
    times = lowest_times(calls, max(2, rounds // 3), warm_up=1)
    model.to("cpu")
    return times


def show(title: str, times: dict[str, float], base: str) -> None:
    """Print milliseconds, and ratios to the call named `base`."""
    print(f"{title}; ratios to: {base}")
    for name, seconds in times.items():
        print(
            f"  {name:28s} {1e3 * seconds:9.2f} ms  {seconds / times[base]:8.2f}  "
            f"{1 / seconds:8.1f} / s"
        )


def plot(results: dict, path: Path) -> None:
    """Ratios of energy with forces as bars, and time for each atom against N."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (bars, lines) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    times = results["energy_and_forces"]
    bars.barh(list(times), [value / times["OpenMM Lennard-Jones"] for value in times.values()])
    bars.set(xscale="log", xlabel="time / OpenMM's Lennard-Jones force, N = 200")
    bars.invert_yaxis()
    sizes = np.array(results["scaling"]["n_particles"])
    model = results["cost_model"]
    lines.plot(sizes, 1e6 * np.array(results["scaling"]["seconds"]) / sizes, "o", label="measured")
    lines.plot(
        sizes,
        1e6 * (model["seconds_constant"] / sizes + model["seconds_per_atom"]),
        label="a / N + b",
    )
    lines.set(xscale="log", xlabel="N", ylabel="energy and forces, µs / atom")
    lines.set_ylim(0, 1.1 * lines.get_ylim()[1])
    lines.legend()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("bench-output"),
        help="directory of speed.json, speed.png",
    )
    parser.add_argument("--rounds", type=int, default=8, help="rounds of the quick calls")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[500, 1000, 2000, 5000, 10000],
        help="N of the scaling",
    )
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch; OpenMM has one")
    options = parser.parse_args()
    if options.rounds < 3 or len(options.sizes) < 2:
        parser.error("--rounds must be at least 3, and --sizes two or more")
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    where = torch.cuda.get_device_name() if DEVICE == "cuda" else f"{platform.machine()} CPU"
    compiled = "compiled operations" if kernels.loaded() else "no compiled operations"
    device = f"torch {torch.__version__} on {where}, {options.threads} thread(s), {compiled}"
    print(f"{device}; OpenMM {openmm.__version__} on {fastest_platform().getName()}; {MODEL}")
    results: dict = {
        "device": device,
        "platform": fastest_platform().getName(),
        "rounds": options.rounds,
    }
    # First, while this process is small: the peak memory of a new process starts from that of its
    # parent.
    results["scaling"] = scaling(options.sizes)
    results["cost_model"] = cost_model(results["scaling"])
    show_scaling(results)
    model = load_model(MODEL)
    results["energy_and_forces"] = forces(model, options.rounds)
    show(
        "Energy and forces, N = 200, rho* = 0.93",
        results["energy_and_forces"],
        "OpenMM Lennard-Jones",
    )
    results["training"] = training(model, options.rounds)
    show("Training step", results["training"], "8 x N = 200")
    results["many_lambdas"] = many_lambdas(model, options.rounds)
    show("Energies of a frame, N = 200", results["many_lambdas"], "1 lambda")
    results["chains"] = chains(model, options.rounds)
    show("Ten MD steps at lambda = 0.5, N = 40", results["chains"], "16 chains, one Context")
    results["windows"] = windows(model, options.rounds)
    show("A move of ten steps, N = 40, 4 chains each", results["windows"], "16 windows, one batch")
    write_json(options.output / "speed.json", results)
    plot(results, options.output / "speed.png")
    print(f"wrote {options.output / 'speed.json'} and {options.output / 'speed.png'}")


if __name__ == "__main__":
    main()
