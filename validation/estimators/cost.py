"""How long calculations take, foretold before they start.

CPU seconds of one core were measured at N = 40 and 200 for each basic operation with the shipped
model. They are scaled by how quickly this machine does one of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.reference_md import ReferenceConfig
from openmm_nti.references.noise import log_noise
from openmm_nti.validation.estimators.bar_chain import BarChainConfig
from openmm_nti.validation.estimators.denoising_bound import BoundConfig
from openmm_nti.validation.estimators.neural_ti import NeuralTIConfig
from openmm_nti.validation.estimators.noised_ti import NoisedTIConfig
from openmm_nti.validation.estimators.path_weights import PathConfig
from openmm_nti.validation.estimators.softcore import SoftcoreConfig
from openmm_nti.validation.estimators.tethered import steps as tethered_steps
from openmm_nti.validation.sampling.placement import WindowsConfig, frames_needed

_PROBE_N, _PROBE_BATCH = 40, 32
_OF_CLASSICAL = ("mbar_softcore", "mu_decoupling", "bar_chain")
_OF_BOUND = ("neural_ti_bound", "neural_ti_tethered")


def gradient(n: int) -> float:
    """A gradient of the model at one configuration of n particles."""
    return n * (53e-6 + 0.25e-6 * n)


def md_step(n: int) -> float:
    """A step of Lennard-Jones MD."""
    return 50e-6 + 1.06e-6 * n


def softcore_step(n: int) -> float:
    """A step of MD with the soft core."""
    return 30e-6 + 3.9e-6 * n


def sweep(n: int, n_walkers: int) -> float:
    """A Monte-Carlo sweep of all walkers."""
    return 8e-8 * n**2 * (0.5 * n_walkers + 16)


def reference_seconds(config: ReferenceConfig, n: int) -> float:
    """Reference data of one N; a frame decorrelates in about five intervals."""
    return (
        1.5 * (recorded_steps(config) + config.n_replicas * config.equilibration_steps) * md_step(n)
    )


def recorded_steps(config: ReferenceConfig) -> int:
    """MD steps of all chains of one N after their equilibration."""
    pilot = 2 * config.segment_steps * config.n_replicas
    return min(
        max(pilot, 5 * config.n_frames * config.frame_interval),
        config.max_steps * config.n_replicas,
    )


def chain_seconds(config: BarChainConfig, largest_n: int) -> float:
    """The insertion chain, all n up to the largest together."""
    sweeps = config.equilibration_sweeps + config.n_frames * config.sweeps_between
    insertions = config.n_walkers * config.n_frames * config.n_insertions
    numbers = range(1, largest_n + 1)
    return sum(sweeps * sweep(n, config.n_walkers) + insertions * 4.5e-8 * n for n in numbers)


def softcore_seconds(config: SoftcoreConfig, n: int) -> float:
    """Soft-core windows of one N with their energies at all lambdas."""
    windows = softcore_windows(config, n)
    frames = windows * config.n_chains * config.n_frames
    steps = windows * config.n_chains * config.equilibration + frames * config.steps_between
    return steps * softcore_step(n) + frames * windows * 8e-9 * n * n


def softcore_windows(config: SoftcoreConfig, n: int) -> int:
    """Windows of one N, about so many where thermodynamic length decides."""
    return config.n_windows or 10 + n // 3


def bound_seconds(config: BoundConfig, n: int) -> float:
    """The denoising bound of one N, by the model alone."""
    return 2.0 * config.n_levels * config.n_pairs * gradient(n)


def tethered_seconds(config: BoundConfig, n: int) -> float:
    """The tethered chains of one N; a third of them are on long tethers, where they have more
    steps.
    """
    return 3 * config.n_tethered * tethered_steps(config.tethered_steps, n) * 1.8 * md_step(n)


def neural_ti_seconds(config: NeuralTIConfig, n: int) -> float:
    """Reverse diffusion of one N."""
    return 1.3 * config.n_evaluations * gradient(n)


def noised_seconds(config: NoisedTIConfig, n: int) -> float:
    """dU/dlambda of noised data of one N."""
    return 0.7 * 2 * (config.n_levels + 1) * config.n_frames * gradient(n)


def path_seconds(config: PathConfig, n: int) -> float:
    """Noising and denoising paths of one N."""
    return 2.0 * config.n_paths * config.n_steps * gradient(n)


def window_seconds(config: WindowsConfig, n: int) -> float:
    """MD along the learned path, with energies at all windows and control variates."""
    windows = neural_windows(config, n)
    frames = frames_of_a_window(config, n)
    steps = config.n_chains * config.equilibration_steps + frames * config.steps_between
    controls = 11.0 if config.control_variates else 0.0
    return windows * (1.3 * steps + frames * (0.15 * windows + controls)) * gradient(n)


def neural_windows(config: WindowsConfig, n: int) -> int:
    """Windows of one N, about so many where thermodynamic length decides."""
    return config.n_windows or max(4, round((4 + 0.47 * n) / config.window_length))


def frames_of_a_window(config: WindowsConfig, n: int) -> int:
    """Frames of all chains of a window, about so many where the pilot will decide."""
    length = (0.14 if config.control_variates else 0.28) * n
    return config.n_chains * (
        config.n_frames or frames_needed(length, neural_windows(config, n), config)
    )


def widom_seconds(n_frames: int, n_insertions: int, n: int) -> float:
    """Insertions into every frame of one N."""
    return n_frames * n_insertions * 4.5e-8 * n


def estimate_seconds(method: str, config: Any, n: int, slowness: float) -> float:
    """CPU seconds of an estimate by `method` with its settings `config`, of a model of `slowness`.

    Methods that share their samples cost the same, whichever comes first.
    """
    costs: dict[str, Callable[[Any, int], float]] = {
        **dict.fromkeys(_OF_BOUND, bound_seconds),
        "neural_ti": neural_ti_seconds,
        "neural_ti_noised": noised_seconds,
        **dict.fromkeys(("path_bar", "path_bracket"), path_seconds),
        **dict.fromkeys(("mbar_neural", "bar_neural", "ti_neural_md"), window_seconds),
        "mbar_softcore": softcore_seconds,
        "mu_decoupling": softcore_seconds,
        "bar_chain": chain_seconds,
    }
    if method not in costs:
        return 0.0
    seconds = costs[method](config, n) * (1.0 if method in _OF_CLASSICAL else slowness)
    return seconds + (tethered_seconds(config, n) if method in _OF_BOUND else 0.0)


def slowness(model: NoisedFluid, box_length_sigma: float) -> float:
    """CPU time of a gradient of `model` here over that in the measurements: about 1 on a core like
    theirs.
    """
    state = StatePoint(
        n_particles=_PROBE_N, box_length_sigma=box_length_sigma, **model.potential.model_dump()
    )
    box = cubic_box(box_length_sigma)
    one = torch.as_tensor(lattice_positions_nm(state, seed=1) / state.sigma_nm)
    positions = one.expand(_PROBE_BATCH, -1, -1).clone()
    levels = log_noise(torch.full((_PROBE_BATCH,), 0.8, dtype=torch.float64), box)
    times = []
    for _ in range(3):
        started = time.process_time()
        model.gradient(positions, box, levels)
        times.append(time.process_time() - started)
    return min(times) / (_PROBE_BATCH * gradient(_PROBE_N))
