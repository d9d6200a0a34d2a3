"""The batch of a training step: the choice of its ensemble, frames and noise levels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from openmm_nti.training.config import TrainingConfig
from openmm_nti.training.targets import (
    CleanData,
    NoisedBatch,
    antithetic_batch,
    stratified_log_noise,
)

_GOLDEN = 0.5 * (math.sqrt(5.0) - 1.0)


def ensemble_of_step(step: int, ensembles: Sequence[CleanData]) -> int:
    """Return the index of the ensemble that step number `step` trains on.

    An ensemble's turns are proportional to its number of particles, and evenly spread.
    """
    sizes = torch.tensor([data.positions.shape[1] for data in ensembles], dtype=torch.float64)
    place = (step + 0.5) * _GOLDEN % 1.0
    return int(torch.searchsorted(sizes.cumsum(0) / sizes.sum(), place).clamp(max=len(sizes) - 1))


def noise_range(data: CleanData, config: TrainingConfig) -> tuple[float, float]:
    """Return ln s of the smallest and the largest noise level."""
    return math.log(config.noise_min_sigma), data.log_noise_max


def random_batch(
    data: CleanData, config: TrainingConfig, n_atoms: int, generator: torch.Generator
) -> NoisedBatch:
    """Return random frames under noise: about `n_atoms` atoms together, at least two frames.

    Noise levels are stratified, and noise comes in antithetic pairs.
    """
    half = max(1, n_atoms // data.positions.shape[1] // 2)
    frames = torch.randint(len(data.positions), (half,), generator=generator)
    focus = math.log(config.focus_sigma[0]), math.log(config.focus_sigma[1])
    low, high = noise_range(data, config)
    levels = stratified_log_noise(
        half, low, high, generator, focus=focus, focus_share=config.focus_share
    )
    return antithetic_batch(data, frames, levels, generator)
