r"""Noising and denoising paths, step by step: where the levels lie, and what a path weighs.

Noise levels 0 = v_0 < v_1 < ... < v_K. A forward path adds Gaussian increments of variance delta_k
= v_{k+1} - v_k; a reverse path follows the model back, with the variance that matches the forward
kernel best,

.. math:: r_k = \delta_k (1 - \delta_k I_k), \qquad I_k = E|\nabla U|^2 / 3N \text{ at level } k + 1.

What is lost even with an exact score is the rest of the Hessian H, whose mean eigenvalue I_k is: tr
(H - I_k)^2 delta_k^2 / 4 in a step. Levels are spaced so that steps lose about the same. Both
follow from gradients on a few frames that no path starts from, and neither can do harm: a level or
a variance that fits badly costs overlap, not exactness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.files import atomic_path
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.references.noise import NOISE_MIN_SIGMA
from openmm_nti.runtime.stored import read_arrays
from openmm_nti.runtime.tasks import derive_seed

Array = NDArray[np.float64]
_PILOT_LEVELS = 24
_GEOMETRIC_SHARE = 0.25  # of the levels, wherever the others are


@dataclass(frozen=True)
class PathBatch:
    """One task: some paths of one direction, and the file that keeps their works."""

    direction: str
    number: int
    starts: Array | None = field(repr=False)  # frames that forward paths start from
    n_paths: int
    levels: Array = field(repr=False)
    reverse_variances: Array = field(repr=False)
    model: NoisedFluid = field(repr=False)
    state: StatePoint = field(repr=False)
    seed: int = field(repr=False)
    path: Path = field(repr=False)


def schedule(
    model: NoisedFluid,
    state: StatePoint,
    n_steps: int,
    first_noise_sigma: float,
    frames: Array,
    generator: torch.Generator,
) -> tuple[Array, Array]:
    """Levels v_0 = 0 to (L / 2)^2, (n_steps + 1,), and reverse variances r_k, (n_steps,), both in
    sigma^2.
    """
    first, last = math.log(first_noise_sigma), math.log(0.5 * state.box_length_sigma)
    pilot = np.linspace(first, last, _PILOT_LEVELS)
    information, loss = _pilot(model, state, np.exp(2.0 * pilot), frames, generator)
    # Steps of equal loss: as dense in ln s as the square root of what a step of unit length would
    # lose.
    fine = np.linspace(first, last, 1000)
    density = np.interp(fine, pilot, np.sqrt(loss))
    density = density / density.mean() * (1.0 - _GEOMETRIC_SHARE) + _GEOMETRIC_SHARE
    steps_so_far = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    log_s = np.interp(np.linspace(0.0, steps_so_far[-1], n_steps), steps_so_far, fine)
    levels = np.concatenate([[0.0], np.exp(2.0 * log_s)])
    steps = np.diff(levels)
    at_levels = np.exp(np.interp(log_s, pilot, np.log(np.maximum(information, 1e-12))))
    return levels, steps * np.maximum(1.0 - steps * at_levels, 0.05)


def _pilot(
    model: NoisedFluid,
    state: StatePoint,
    variances: Array,
    frames: Array,
    generator: torch.Generator,
) -> tuple[Array, Array]:
    """I = E|grad U|^2 / 3N in 1 / sigma^2 and v^2 tr (H - I)^2 at each of `variances` v, (levels,)
    each.

    H z for a random z has the square norm tr H^2 on average. It is the difference of gradients as
    far apart as a step is long: a score may have small jumps, which are no matter there.
    """
    box = cubic_box(state.box_length_sigma)
    clean = torch.as_tensor(frames, dtype=torch.float64)
    information, loss = [], []
    for v in variances:
        z, direction = torch.randn((2, *clean.shape), generator=generator, dtype=torch.float64)
        log_s, reach = _log_s(v, len(clean)), 0.2 * math.sqrt(v)
        noised = clean + math.sqrt(v) * z
        gradient = model.gradient(noised, box, log_s)
        bent = (model.gradient(noised + reach * direction, box, log_s) - gradient) / reach
        information.append(float(gradient.square().mean()))
        loss.append(
            v * v * max(float(bent.square().mean()) - information[-1] ** 2, 0.0) * clean[0].numel()
        )
    return np.array(information), np.array(loss)


def run_batch(task: PathBatch) -> Array:
    """Omega of the paths of `task`, (n_paths,), kT; from its file if that is there."""
    if not task.path.is_file():
        seed = derive_seed(task.seed, task.direction, task.number)
        works = (
            _forward_works(task, seed) if task.starts is not None else _reverse_works(task, seed)
        )
        with atomic_path(task.path) as temporary:
            np.savez(temporary, allow_pickle=False, omega=works)
    return np.asarray(read_arrays(task.path, ("omega",))["omega"])


def _forward_works(task: PathBatch, seed: int) -> Array:
    generator = torch.Generator().manual_seed(seed)
    box = cubic_box(task.state.box_length_sigma)
    positions = torch.as_tensor(task.starts, dtype=torch.float64)
    omega = task.model.end.energy(positions, box)
    for step, reverse_variance in zip(
        range(len(task.levels) - 1), task.reverse_variances, strict=True
    ):
        delta = task.levels[step + 1] - task.levels[step]
        increment = math.sqrt(delta) * torch.randn(
            positions.shape, generator=generator, dtype=torch.float64
        )
        positions = positions + increment
        gradient = task.model.gradient(positions, box, _log_s(task.levels[step + 1], task.n_paths))
        omega = omega + _log_ratio(increment, gradient, delta, reverse_variance)
    return omega.numpy()


def _reverse_works(task: PathBatch, seed: int) -> Array:
    generator = torch.Generator().manual_seed(seed)
    box = cubic_box(task.state.box_length_sigma)
    shape = (task.n_paths, task.state.n_particles, 3)
    positions = task.model.reference.sample(*shape[:2], box, generator)
    omega = torch.zeros(task.n_paths, dtype=torch.float64)
    for step in reversed(range(len(task.levels) - 1)):
        delta, reverse_variance = (
            task.levels[step + 1] - task.levels[step],
            task.reverse_variances[step],
        )
        gradient = task.model.gradient(positions, box, _log_s(task.levels[step + 1], task.n_paths))
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        increment = delta * gradient - math.sqrt(reverse_variance) * noise
        positions = positions - increment
        omega = omega + _log_ratio(increment, gradient, delta, reverse_variance)
    return (omega + task.model.end.energy(positions, box)).numpy()


def _log_ratio(
    increment: Tensor, gradient: Tensor, delta: float, reverse_variance: float
) -> Tensor:
    """Ln of the reverse kernel's density over the forward kernel's, at forward increments (B, N,
    3); (B,).
    """
    forward = increment.square() / delta
    reverse = (increment - delta * gradient).square() / reverse_variance
    per_coordinate = 0.5 * (forward - reverse) + 0.5 * math.log(delta / reverse_variance)
    return per_coordinate.sum((1, 2))


def _log_s(variance: float, n_configurations: int) -> Tensor:
    """Ln s with s_eff^2 = `variance`, (n_configurations,)."""
    log_s = 0.5 * math.log(variance + NOISE_MIN_SIGMA**2)
    return torch.full((n_configurations,), log_s, dtype=torch.float64)
