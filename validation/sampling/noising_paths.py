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

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.settings import Settings
from openmm_nti.validation.analysis.regression import require_frames
from openmm_nti.validation.analysis.works import Works
from openmm_nti.validation.sampling.paths.steps import PathSteps, denoise, log_s_of, noise

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
    frames, levels = planned(model, ensemble, config, execution)
    batches = _batches(frames, config.n_paths)
    found = execution.map_stored(
        partial(path_works, PathSteps(model, state, **levels), execution),
        batches,
        name="path_weights",
        inputs=[model, ensemble, config, levels],
        description="path weights",
        labels=[f"{batch.direction} paths {batch.number}" for batch in batches],
    )
    pairs = list(zip(batches, found, strict=True))
    forward, reverse = (
        np.concatenate([part["omega"] for batch, part in pairs if batch.direction == direction])
        for direction in ("forward", "reverse")
    )
    return Works(state, forward, reverse)


@takes_execution
def planned(
    model: NoisedFluid, ensemble: Ensemble, config: PathConfig, execution: Execution
) -> tuple[Array, dict[str, Array]]:
    """Return the frames that noising paths start from, and the `schedule`, which is kept.

    Arguments are those of `sample`. A frame starts no more than one path, or works would be
    correlated. The frames are (n, N, 3), sigma.
    """
    require_frames("path weights", ensemble.positions_sigma, _FEWEST_FRAMES)
    n_pilot = min(_PILOT_FRAMES, ensemble.n_frames // 4)
    n_forward = min(config.n_paths, ensemble.n_frames - n_pilot)
    generator = execution.torch_random("paths", ensemble.state.label)
    order = torch.randperm(ensemble.n_frames, generator=generator).numpy()
    frames = ensemble.positions_sigma[order[: n_forward + n_pilot]]
    levels = execution.folder("path_weights").stored(
        "schedule",
        [model, ensemble, config],
        lambda: schedule(
            execution.place(model),
            ensemble.state,
            config.n_steps,
            config.first_noise_sigma,
            frames[n_forward:],
            generator,
        ),
    )
    return frames[:n_forward], levels


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
        log_s = log_s_of(v, len(clean))
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
    box = box_of(steps.state)
    end, n_steps = steps.model.end, len(steps.reverse_variances)
    if batch.starts is None:
        shape = (batch.n_paths, steps.state.n_particles)
        positions = steps.model.reference.sample(*shape, box, generator)
        positions, omega = denoise(steps, range(n_steps), positions, generator)
        return {"omega": (omega + end.energy(positions, box)).numpy()}
    positions = torch.as_tensor(batch.starts, dtype=torch.float64)
    energy = end.energy(positions, box)
    return {"omega": noise(steps, range(n_steps), positions, generator, energy)[1].numpy()}
