"""`TrainingConfig`: the settings of a training."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from openmm_nti.runtime.devices import DeviceName
from openmm_nti.settings import Settings

_WIDEST_SIGMA = 1000.0


class TrainingConfig(Settings):
    """Settings of score matching on reference ensembles."""

    n_steps: int = Field(
        default=2000,
        ge=1,
        le=1_000_000_000,
        description="Optimiser steps; the learning rate falls to zero over them.",
    )
    max_minutes: float | None = Field(
        default=None,
        gt=0,
        le=1_000_000,
        description="Wall-time budget: the schedule is shortened to end in time. Leave empty for a "
        "result that repeats.",
    )
    atoms_per_step: int = Field(
        default=640,
        ge=2,
        le=10_000_000,
        description="Noised atoms in a step, divided into configurations of one N and over "
        "processes.",
    )
    learning_rate: float = Field(
        default=3e-3, gt=0, le=1, description="Adam's largest learning rate."
    )
    warmup_steps: int = Field(
        default=50, ge=0, le=1_000_000_000, description="Steps over which the learning rate rises."
    )
    gradient_clip: float = Field(
        default=1.0, gt=0, le=1_000_000_000, description="Largest norm of the gradient of the loss."
    )
    ema_decay: float = Field(
        default=0.995,
        ge=0,
        lt=1,
        description="Decay of the running average of the weights; the average is kept.",
    )
    noise_min_sigma: float = Field(
        default=0.01,
        gt=0.006,
        le=1,
        description="Smallest noise in training, in sigma; below it the known terms suffice.",
    )
    focus_sigma: tuple[float, float] = Field(
        default=(0.03, 0.5),
        description="Range of noise, in sigma, in which dense fluids are hard to learn.",
    )
    focus_share: float = Field(
        default=0.73,
        ge=0,
        le=1,
        description="Share of the noise levels that are drawn from focus_sigma.",
    )
    start_from: str | None = Field(
        default=None,
        min_length=1,
        description="Model to start from instead of random weights: a directory or a shipped name. "
        "Its network must be the same, or have fewer refinements; its fluid may be another.",
    )
    validation_fraction: float = Field(
        default=0.1, gt=0, lt=0.5, description="Share of frames held out."
    )
    validate_every: int = Field(
        default=250,
        ge=1,
        le=1_000_000_000,
        description="Steps between validations and checkpoints.",
    )
    device: DeviceName = Field(
        default="auto", description="Device of the training alone; `auto`: that of the run."
    )

    @model_validator(mode="after")
    def _range_of_noise(self) -> TrainingConfig:
        low, high = self.focus_sigma
        if not 0.0 < low < high <= _WIDEST_SIGMA:
            raise ValueError(
                f"focus_sigma = [{low:g}, {high:g}] must rise, between 0 and {_WIDEST_SIGMA:g}"
            )
        return self

    def learning_rate_at(self, step: int, share: float) -> float:
        """Return a rate that rises over the warm-up and falls as half a cosine.

        A `lr_scheduler` of PyTorch counts steps. Here the spent `share` of the budget decides,
        which may be a budget of time.
        """
        rate = self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * share))
        return rate * min(1.0, (step + 1) / max(1, self.warmup_steps))
