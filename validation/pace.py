"""`Pace`: how quick this machine is, measured in a moment, to forecast how long work takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import openmm
import torch

from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.md.fluid_system import fluid_system
from openmm_nti.reference_md import ReferenceConfig
from openmm_nti.references.noise import log_noise
from openmm_nti.training import TrainingConfig

_FEWEST, _MORE = 20, 60  # particles, and more of them: two points for a straight line in N
_BATCH_ATOMS = 1280
_MD_STEPS = 50
_REFERENCE_OVERHEAD = 1.5  # of recording frames and testing them, over the bare steps
_STEPS_BETWEEN_FRAMES = 5  # intervals until a frame is independent
_START_OF_TRAINING = 5.0  # seconds before the first step
_STEP_IN_GRADIENTS = 3.5  # a training step over gradients of the same configurations


@dataclass(frozen=True)
class Pace:
    """CPU seconds of the operations that estimates are made of, as straight lines in N.

    Attributes
    ----------
    gradient_seconds
        Of a gradient of the model at one configuration: (constant, per particle).
    md_seconds
        Of one step of MD of the interacting fluid: (constant, per particle).
    """

    gradient_seconds: tuple[float, float] = (0.0, 0.0)
    md_seconds: tuple[float, float] = (0.0, 0.0)

    def gradient(self, n: int) -> float:
        """Return the time of a gradient of the model at one configuration of `n` particles."""
        return max(0.0, self.gradient_seconds[0] + self.gradient_seconds[1] * n)

    def md_step(self, n: int) -> float:
        """Return the time of one step of MD of `n` particles."""
        return max(0.0, self.md_seconds[0] + self.md_seconds[1] * n)

    def slowed(self, factor: float) -> Pace:
        """Return the pace where everything takes `factor` times as long."""
        lines = (self.gradient_seconds, self.md_seconds)
        return Pace(*((factor * constant, factor * slope) for constant, slope in lines))


def measure(state: StatePoint, model: NoisedFluid | None) -> Pace:
    """Return the pace of this machine with `model`, in a second or two.

    Parameters
    ----------
    state
        Supplies the fluid; N and the box are replaced by small cubes of the same density.
    model
        What estimates will evaluate; None where they evaluate none.
    """
    reach = state.cutoff_sigma if model is None else model.bind(state).reach
    shortest = 2.0 * reach * (1 + 1e-6)  # a box must hold twice what the network sees
    fewest = max(_FEWEST, math.ceil(state.density_star * shortest**3))
    small = [_resized(state, n, shortest) for n in (fewest, fewest + max(_MORE, fewest // 2))]
    steps = _line(small, [_md_seconds(resized) for resized in small])
    if model is None:
        return Pace(md_seconds=steps)
    return Pace(_line(small, [_gradient_seconds(model, resized) for resized in small]), steps)


def reference_seconds(config: ReferenceConfig, n: int, pace: Pace) -> float:
    """Return the CPU seconds of the reference MD of `n` particles."""
    steps = recorded_steps(config) + config.n_replicas * config.equilibration_steps
    return _REFERENCE_OVERHEAD * steps * pace.md_step(n)


def recorded_steps(config: ReferenceConfig) -> int:
    """Return the expected number of MD steps of all chains after equilibration.

    It is assumed that every fifth recorded frame is independent.
    """
    pilot = 2 * config.segment_steps * config.n_replicas
    wanted = _STEPS_BETWEEN_FRAMES * config.n_frames * config.frame_interval
    return min(max(pilot, wanted), config.max_steps * config.n_replicas)


def training_seconds(config: TrainingConfig, numbers: Sequence[int], pace: Pace) -> float:
    """Return the CPU seconds of a training at these numbers of particles."""
    per_atom = sum(pace.gradient(n) / n for n in numbers) / len(numbers)
    step = _STEP_IN_GRADIENTS * config.atoms_per_step * per_atom
    seconds = _START_OF_TRAINING + config.n_steps * step
    return seconds if config.max_minutes is None else min(seconds, 60 * config.max_minutes)


def _resized(state: StatePoint, n: int, shortest: float) -> StatePoint:
    edge = max(shortest, (n / state.density_star) ** (1 / 3))
    if state.is_mixture:
        numbers = [
            max(1, round(n * each / state.n_particles)) for each in state.composition.values()
        ]
        state = state.with_numbers(numbers)
        n = sum(numbers)
    cube = {"n_particles": n, "box_length_sigma": edge, "box_sigma": None, "crystal": None}
    return state.model_copy(update=cube)


def _line(states: Sequence[StatePoint], seconds: Sequence[float]) -> tuple[float, float]:
    """Return a line in N through two states; neither of its numbers is negative."""
    few, many = (state.n_particles for state in states)
    slope = max(0.0, (seconds[1] - seconds[0]) / (many - few))
    constant = seconds[0] - slope * few
    return (constant, slope) if constant >= 0 else (0.0, seconds[1] / many)


def _gradient_seconds(model: NoisedFluid, state: StatePoint) -> float:
    model, box = model.bind(state), box_of(state)
    batch = max(1, _BATCH_ATOMS // state.n_particles)
    one = torch.as_tensor(lattice_positions_nm(state, seed=1) / state.sigma_nm)
    positions = one.expand(batch, -1, -1).clone()
    levels = log_noise(torch.full((batch,), 0.8, dtype=torch.float64), box)
    return _quickest(lambda: model.gradient(positions, box, levels)) / batch


def _md_seconds(state: StatePoint) -> float:
    platform = openmm.Platform.getPlatformByName("CPU")
    integrator = openmm.VerletIntegrator(0.001)
    context = openmm.Context(fluid_system(state), integrator, platform, {"Threads": "1"})
    context.setPositions(np.asarray(lattice_positions_nm(state, seed=1)))
    return _quickest(lambda: integrator.step(_MD_STEPS)) / _MD_STEPS


def _quickest(function: Callable[[], object]) -> float:
    """Return CPU seconds; of one thread, since several wait for each other on a busy machine."""
    times, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(3):
            started = time.process_time()
            function()
            times.append(time.process_time() - started)
    finally:
        torch.set_num_threads(threads)
    return min(times)
