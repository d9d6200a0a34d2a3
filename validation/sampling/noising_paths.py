r"""Noising and denoising paths: where their noise levels lie, and the work of each path.

The noise levels are 0 = v_0 < v_1 < ... < v_K. A forward path adds Gaussian increments of variance
delta_k = v_{k+1} - v_k. A reverse path follows the model back, with the variance that matches the
forward kernel best,

.. math:: r_k = \delta_k (1 - \delta_k I_k), \qquad
          I_k = E|\nabla U|^2 / 3N \text{ at level } k + 1.

I_k is the mean eigenvalue of the Hessian H. Even with an exact score, a step loses
tr (H - I_k)^2 delta_k^2 / 4 by what the Hessian is beyond that. Levels are spaced so that all steps
lose about the same. Levels and variances follow from gradients on a few frames that no path starts
from. Poor ones cost overlap, not exactness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.references.noise import NOISE_MIN_SIGMA
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.settings import Settings
from openmm_nti.validation.analysis.regression import require_frames
from openmm_nti.validation.analysis.works import Works

Array = NDArray[np.float64]
_ATOMS_PER_BATCH = 1280
_PILOT_FRAMES = 16
_FEWEST_FRAMES = 12
_PILOT_LEVELS = 24
_GEOMETRIC_SHARE = 0.25  # of the levels, wherever the others are


class PathConfig(Settings):
    """Effort spent on path weights."""

    n_paths: int = Field(default=64, ge=8, le=1_000_000, description="Paths in each direction.")
    n_steps: int = Field(
        default=300,
        ge=10,
        le=1_000_000,
        description="Steps of a path, where denoising loses most the closest.",
    )
    first_noise_sigma: float = Field(
        default=0.004, gt=0, lt=0.1, description="Noise of the first level, in sigma."
    )


@dataclass(frozen=True)
class PathSteps:
    """The steps that all paths share.

    Attributes
    ----------
    model
        Gives the gradients.
    state
        The fluid.
    levels
        Variances v_0 = 0 to v_K, (K + 1,), sigma^2.
    reverse_variances
        r_k of the reverse steps, (K,), sigma^2.
    """

    model: NoisedFluid
    state: StatePoint
    levels: Array
    reverse_variances: Array


@dataclass(frozen=True)
class PathBatch:
    """Some paths of one direction, `forward` or `reverse`.

    `starts` (n_paths, N, 3) in sigma are the frames that forward paths start from.
    """

    direction: str
    number: int
    n_paths: int
    starts: Array | None = None


@takes_execution
def sample(
    model: NoisedFluid, ensemble: Ensemble, config: PathConfig, execution: Execution
) -> Works:
    """Return the works of `n_paths` reverse paths, and of as many forward paths or one per frame.

    Finished batches are kept below `path_weights` in the folder of `execution`.

    Raises
    ------
    ValueError
        If there are too few frames, or a work
        is not finite.
    """
    state = ensemble.state
    model = fit_model(model, state)
    require_frames("path weights", ensemble.positions_sigma, _FEWEST_FRAMES)
    n_pilot = min(_PILOT_FRAMES, ensemble.n_frames // 4)
    # a frame starts no more than one path, or works would be correlated
    n_forward = min(config.n_paths, ensemble.n_frames - n_pilot)
    generator = execution.torch_random("paths", state.label)
    order = torch.randperm(ensemble.n_frames, generator=generator).numpy()
    frames = ensemble.positions_sigma[order[: n_forward + n_pilot]]
    inputs = [model, ensemble, config]
    levels = execution.folder("path_weights").stored(
        "schedule",
        inputs,
        lambda: schedule(
            execution.place(model),
            state,
            config.n_steps,
            config.first_noise_sigma,
            frames[n_forward:],
            generator,
        ),
    )
    batches = _batches(frames[:n_forward], config.n_paths)
    found = execution.map_stored(
        partial(path_works, PathSteps(model, state, **levels), execution),
        batches,
        name="path_weights",
        inputs=[*inputs, levels],
        description="path weights",
        labels=[f"{batch.direction} paths {batch.number}" for batch in batches],
    )
    pairs = list(zip(batches, found, strict=True))
    forward, reverse = (
        np.concatenate([part["omega"] for batch, part in pairs if batch.direction == direction])
        for direction in ("forward", "reverse")
    )
    return Works(state, forward, reverse)


def _batches(starts: Array, n_reverse: int) -> list[PathBatch]:
    """Return all paths in batches: forward ones from `starts` (n, N, 3), and `n_reverse` others."""
    size = max(1, _ATOMS_PER_BATCH // starts.shape[1])
    forward = [starts[first : first + size] for first in range(0, len(starts), size)]
    reverse = [min(size, n_reverse - first) for first in range(0, n_reverse, size)]
    return [
        *(PathBatch("forward", k, len(part), part) for k, part in enumerate(forward)),
        *(PathBatch("reverse", k, count) for k, count in enumerate(reverse)),
    ]


def schedule(
    model: NoisedFluid,
    state: StatePoint,
    n_steps: int,
    first_noise_sigma: float,
    frames: Array,
    generator: torch.Generator,
) -> dict[str, Array]:
    """Return where the noise levels lie, and the variances of the reverse steps.

    Parameters
    ----------
    model
        Gives the gradients.
    state
        The fluid.
    n_steps
        Number of steps.
    first_noise_sigma
        Noise of the first level above 0; the last one is half the box.
    frames
        Configurations (F, N, 3), sigma, that no path starts from.
    generator
        Random numbers.

    Returns
    -------
    dict
        `levels` (n_steps + 1,) and `reverse_variances` (n_steps,), both in sigma^2.
    """
    first = math.log(first_noise_sigma)
    last = math.log(0.5 * state.box_length_sigma)
    pilot = np.linspace(first, last, _PILOT_LEVELS)
    information, loss = _pilot(model, state, np.exp(2.0 * pilot), frames, generator)
    log_s = equal_losses(pilot, loss, n_steps)
    levels = np.concatenate([[0.0], np.exp(2.0 * log_s)])
    steps = np.diff(levels)
    at_levels = np.exp(np.interp(log_s, pilot, np.log(np.maximum(information, 1e-12))))
    variances = steps * np.maximum(1.0 - steps * at_levels, 0.05)
    return {"levels": levels, "reverse_variances": variances}


def equal_losses(pilot: Array, loss: Array, n_levels: int) -> Array:
    """Return ln s of noise levels between which steps lose about the same, (n_levels,).

    `pilot` are equidistant ln s, ascending, (P,), and `loss` is v^2 tr (H - I)^2 there, (P,).
    """
    # Steps of equal loss: as dense in ln s as the square root of what a step of unit length would
    # lose.
    fine = np.linspace(pilot[0], pilot[-1], 1000)
    density = np.interp(fine, pilot, np.sqrt(loss))
    density = density / (density.mean() or 1.0) * (1.0 - _GEOMETRIC_SHARE) + _GEOMETRIC_SHARE
    steps_so_far = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    return np.interp(np.linspace(0.0, steps_so_far[-1], n_levels), steps_so_far, fine)


def _pilot(
    model: NoisedFluid,
    state: StatePoint,
    variances: Array,
    frames: Array,
    generator: torch.Generator,
) -> tuple[Array, Array]:
    """Return I = E|grad U|^2 / 3N and v^2 tr (H - I)^2 at each of `variances` v, (levels,) each.

    H z for a random z has the square norm tr H^2 on average. It is taken from the difference of
    gradients that are as far apart as a step is long, where small jumps of a score do not matter.
    """
    box = box_of(state)
    clean = torch.as_tensor(frames, dtype=torch.float64)
    information = []
    loss = []
    for v in variances:
        z, direction = torch.randn((2, *clean.shape), generator=generator, dtype=torch.float64)
        log_s = _log_s(v, len(clean))
        reach = 0.2 * math.sqrt(v)
        noised = clean + math.sqrt(v) * z
        gradient = model.gradient(noised, box, log_s)
        bent = (model.gradient(noised + reach * direction, box, log_s) - gradient) / reach
        information.append(float(gradient.square().mean()))
        loss.append(
            v * v * max(float(bent.square().mean()) - information[-1] ** 2, 0.0) * clean[0].numel()
        )
    return np.array(information), np.array(loss)


def path_works(steps: PathSteps, execution: Execution, batch: PathBatch) -> dict[str, Array]:
    """Return `omega`, the works of the paths of `batch`, (n_paths,), kT."""
    generator = execution.torch_random(batch.direction, batch.number)
    steps = replace(steps, model=execution.place(steps.model))
    if batch.starts is None:
        return {"omega": _reverse_works(steps, batch.n_paths, generator)}
    return {"omega": _forward_works(steps, batch.starts, generator)}


def _forward_works(steps: PathSteps, starts: Array, generator: torch.Generator) -> Array:
    box = box_of(steps.state)
    positions = torch.as_tensor(starts, dtype=torch.float64)
    omega = steps.model.end.energy(positions, box)
    for step, reverse_variance in enumerate(steps.reverse_variances):
        delta = steps.levels[step + 1] - steps.levels[step]
        noise = torch.randn(positions.shape, generator=generator, dtype=torch.float64)
        increment = math.sqrt(delta) * noise
        positions = positions + increment
        log_s = _log_s(steps.levels[step + 1], len(starts))
        gradient = steps.model.gradient(positions, box, log_s)
        omega = omega + _log_ratio(increment, gradient, delta, reverse_variance)
    return omega.numpy()


def _reverse_works(steps: PathSteps, n_paths: int, generator: torch.Generator) -> Array:
    box = box_of(steps.state)
    shape = (n_paths, steps.state.n_particles, 3)
    positions = steps.model.reference.sample(*shape[:2], box, generator)
    omega = torch.zeros(n_paths, dtype=torch.float64)
    for step in reversed(range(len(steps.reverse_variances))):
        delta = steps.levels[step + 1] - steps.levels[step]
        reverse_variance = steps.reverse_variances[step]
        gradient = steps.model.gradient(positions, box, _log_s(steps.levels[step + 1], n_paths))
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        increment = delta * gradient - math.sqrt(reverse_variance) * noise
        positions = positions - increment
        omega = omega + _log_ratio(increment, gradient, delta, reverse_variance)
    return (omega + steps.model.end.energy(positions, box)).numpy()


def _log_ratio(
    increment: Tensor, gradient: Tensor, delta: float, reverse_variance: float
) -> Tensor:
    """Return ln(reverse density / forward density) of forward increments (B, N, 3), as (B,)."""
    forward = increment.square() / delta
    reverse = (increment - delta * gradient).square() / reverse_variance
    per_coordinate = 0.5 * (forward - reverse) + 0.5 * math.log(delta / reverse_variance)
    return per_coordinate.sum((1, 2))


def _log_s(variance: float, n_configurations: int) -> Tensor:
    """Return ln s of the noise with s_eff^2 = `variance`, (n_configurations,)."""
    log_s = 0.5 * math.log(variance + NOISE_MIN_SIGMA**2)
    return torch.full((n_configurations,), log_s, dtype=torch.float64)
