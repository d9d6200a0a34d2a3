"""`ReferenceConfig`: settings of the simulations of reference ensembles."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ReferenceConfig(BaseModel):
    """Settings of the reference simulations.

    Times are in steps, or in Lennard-Jones units sigma sqrt(m / epsilon).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_frames: int = Field(
        default=2000, ge=1, description="Decorrelated frames wanted from all chains together."
    )
    n_replicas: int = Field(
        default=8, ge=1, description="Number of independent chains, each from its own start."
    )
    timestep_star: float = Field(
        default=0.004, gt=0, le=0.02, description="Time step, in Lennard-Jones time units."
    )
    friction_star: float = Field(
        default=1.0, gt=0, description="Langevin friction, per Lennard-Jones time unit."
    )
    equilibration_steps: int = Field(
        default=5000,
        ge=0,
        description="Steps of each chain before its first frame; more is detected and discarded.",
    )
    frame_interval: int = Field(default=100, ge=1, description="Steps between recorded frames.")
    segment_frames: int = Field(
        default=100,
        ge=10,
        description="Recorded frames of a segment, which are lost at most by an interruption.",
    )
    max_steps: int = Field(
        default=1_000_000,
        ge=1,
        description="Recorded steps after which a chain ends, enough frames or not.",
    )
    platform: str | None = Field(
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
