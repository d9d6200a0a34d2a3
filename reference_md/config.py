"""`ReferenceConfig`: settings of the simulations of reference ensembles."""

from __future__ import annotations

from pydantic import Field, model_validator

from openmm_nti.md.platforms import PlatformName
from openmm_nti.settings import Settings


class ReferenceConfig(Settings):
    """Settings of the reference simulations.

    Times are in steps, or in Lennard-Jones units sigma sqrt(m / epsilon).
    """

    n_frames: int = Field(
        default=2000,
        ge=1,
        le=100_000_000,
        description="Decorrelated frames wanted from all chains together.",
    )
    n_replicas: int = Field(
        default=8,
        ge=1,
        le=100_000,
        description="Number of independent chains, each from its own start.",
    )
    timestep_star: float = Field(
        default=0.004, gt=0, le=0.02, description="Time step, in Lennard-Jones time units."
    )
    friction_star: float = Field(
        default=1.0, gt=0, le=1000, description="Langevin friction, per Lennard-Jones time unit."
    )
    equilibration_steps: int = Field(
        default=5000,
        ge=0,
        le=1_000_000_000,
        description="Steps of each chain before its first frame; more is detected and discarded.",
    )
    frame_interval: int = Field(
        default=100, ge=1, le=10_000_000, description="Steps between recorded frames."
    )
    segment_frames: int = Field(
        default=100,
        ge=10,
        le=1_000_000,
        description="Recorded frames of a segment, which are lost at most by an interruption.",
    )
    max_steps: int = Field(
        default=1_000_000,
        ge=1,
        le=1_000_000_000_000,
        description="Recorded steps after which a chain ends, enough frames or not.",
    )
    platform: PlatformName | None = Field(
        default=None, description="OpenMM platform; null takes the fastest that works."
    )

    @model_validator(mode="after")
    def _one_segment_fits(self) -> ReferenceConfig:
        if self.max_steps < self.segment_steps:
            raise ValueError(
                f"max_steps = {self.max_steps} is below one segment of {self.segment_steps} steps "
                "(segment_frames x frame_interval): raise max_steps or lower segment_frames"
            )
        return self

    @property
    def segment_steps(self) -> int:
        """Return the recorded steps of one segment."""
        return self.segment_frames * self.frame_interval

    @property
    def max_segments(self) -> int:
        """Return the number of segments after which a chain ends."""
        return self.max_steps // self.segment_steps
