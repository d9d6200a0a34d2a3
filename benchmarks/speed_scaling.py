"""Time and memory of energy and forces at growing N, each point in a process of its own."""

import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from speed_calls import DEVICE, MODEL, bare_evaluation, lowest_times

from openmm_nti import StatePoint, load_model

LIQUID_DENSITY = 0.8
LARGE = 100_000


def scaling_point(n_particles: int) -> tuple[float, float]:
    """Seconds of energy with forces, and the peak memory of this process in GiB (of the GPU where
    it runs there).
    """
    torch.set_num_threads(1)
    state = StatePoint(n_particles=n_particles, density_star=LIQUID_DENSITY, temperature_star=1.25)
    call = bare_evaluation(load_model(MODEL), state)
    seconds = lowest_times({"": call}, max(3, 2000 // n_particles), warm_up=1)[""]
    if DEVICE == "cpu":
        return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return seconds, torch.cuda.max_memory_allocated() / 2**30


def scaling(sizes: list[int]) -> dict[str, list[float]]:
    """`scaling_point` at all sizes."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        points = [pool.submit(scaling_point, size).result() for size in sizes]
    seconds, memory = zip(*points, strict=True)
    return {"n_particles": list(sizes), "seconds": list(seconds), "memory_gib": list(memory)}


def line_through(sizes: list[float], values: list[float]) -> tuple[float, float]:
    """A and b of a + b N, by least squares of the relative errors."""
    weights = 1.0 / np.array(values)
    design = np.column_stack([np.ones(len(sizes)), sizes]) * weights[:, None]
    a, b = np.linalg.lstsq(design, np.ones(len(sizes)), rcond=None)[0]
    return float(a), float(b)


def cost_model(points: dict[str, list[float]]) -> dict[str, float]:
    """Lines through time and memory, the logarithmic slope of the time, and what they say of many
    particles.
    """
    sizes = points["n_particles"]
    (a, b) = line_through(sizes, points["seconds"])
    (c, d) = line_through(sizes, points["memory_gib"])
    slope = np.polyfit(np.log(sizes), np.log(points["seconds"]), 1)[0]
    per_atom = np.array(points["seconds"]) / sizes
    return {
        "log_log_slope": float(slope),
        "growth_per_atom": float(per_atom[-1] / per_atom[0]),
        "seconds_constant": a,
        "seconds_per_atom": b,
        "gib_constant": c,
        "gib_per_atom": d,
        "seconds_at_100000": a + b * LARGE,
        "gib_at_100000": c + d * LARGE,
    }


def show_scaling(results: dict) -> None:
    """Print the points and the line through them."""
    print(f"Energy and forces, rho* = {LIQUID_DENSITY}")
    for n, seconds, memory in zip(*results["scaling"].values(), strict=True):
        print(
            f"  N = {n:6d} {1e3 * seconds:9.1f} ms {1e6 * seconds / n:8.1f} us / atom "
            f"{memory:6.2f} GiB at most"
        )
    for name, value in results["cost_model"].items():
        print(f"  {name:28s} {value:.4g}")
