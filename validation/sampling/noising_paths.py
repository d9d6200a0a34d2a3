"""Noising and denoising paths, and the work of each path.

A forward path adds Gaussian increments to a frame, from level to level of the noise. A reverse path
follows the model back from uniform positions. `paths.schedule` says where the levels lie, and
`paths.steps` what a step is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from openmm_nti.ensemble import Ensemble
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.settings import Settings
from openmm_nti.validation.analysis.regression import require_frames
from openmm_nti.validation.analysis.works import Works
from openmm_nti.validation.sampling.paths.schedule import path_steps, schedule
from openmm_nti.validation.sampling.paths.steps import PathSteps, denoise, noise

Array = NDArray[np.float64]
_ATOMS_PER_BATCH = 1280
_PILOT_FRAMES = 16
_FEWEST_FRAMES = 12


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
        partial(path_works, path_steps(model, state, levels), execution),
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
    model: NoisedFluid,
    ensemble: Ensemble,
    config: PathConfig,
    execution: Execution,
    energies: NoisedFluid | None = None,
) -> tuple[Array, dict[str, Array]]:
    """Return the frames that noising paths start from, and the `schedule`, which is kept.

    Arguments are those of `sample`, and the model of the `energies` at the ends of stages. A frame
    starts no more than one path, or works would be correlated. The frames are (n, N, 3), sigma.
    """
    require_frames("path weights", ensemble.positions_sigma, _FEWEST_FRAMES)
    n_pilot = min(_PILOT_FRAMES, ensemble.n_frames // 4)
    n_forward = min(config.n_paths, ensemble.n_frames - n_pilot)
    generator = execution.torch_random("paths", ensemble.state.label)
    order = torch.randperm(ensemble.n_frames, generator=generator).numpy()
    frames = ensemble.positions_sigma[order[: n_forward + n_pilot]]
    levels = execution.folder("path_weights").stored(
        "schedule",
        [model, ensemble, config, energies],
        lambda: schedule(
            execution.place(model),
            ensemble.state,
            config.n_steps,
            config.first_noise_sigma,
            frames[n_forward:],
            generator,
            None if energies is None else execution.place(energies),
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
