"""What all networks have in common: how they are configured, their range, and how they are told the
noise.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from openmm_nti.hamiltonian.conditioning import NoiseFeatures


class NetworkConfig(BaseModel):
    """Architecture of the learned part of the path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["density", "painn", "denoiser"] = Field(
        default="density",
        description="`density`: invariants at refined positions (the default, and the more "
        "accurate by far); "
        "`painn`: equivariant message passing with n_refinements layers of n_channels features, "
        "for comparison; "
        "`denoiser`: a score without an energy, for neural_ti_bound alone.",
    )
    cutoff_sigma: float = Field(
        default=2.0, gt=1.2, description="Range of the network's neighbourhoods, in sigma."
    )
    n_radial: int = Field(default=8, ge=4, le=64, description="Radial basis functions.")
    n_channels: int = Field(
        default=8, ge=2, le=128, description="Radial mixtures of the l = 1 and l = 2 moments."
    )
    width: int = Field(default=64, ge=8, le=1024, description="Hidden width of the atomic energy.")
    n_refinements: int = Field(
        default=1, ge=0, le=8, description="How often descriptors are taken at moved atoms."
    )
    n_moves: int = Field(
        default=2, ge=1, le=8, description="Moves of the atoms in each refinement."
    )
    n_relaxations: int = Field(
        default=0,
        ge=0,
        le=16,
        description="Steps of relaxation by two-body forces that a `denoiser` is shown.",
    )
    dtype: str = Field(
        default="float32", pattern="^float(32|64)$", description="Precision of the network."
    )

    @model_validator(mode="after")
    def _relaxations_are_for_denoisers(self) -> Self:
        if self.n_relaxations and self.kind != "denoiser":
            raise ValueError(
                f"n_relaxations = {self.n_relaxations} needs kind: denoiser, not {self.kind}"
            )
        return self


class LearnedPart(nn.Module):
    """A network for what is not known of a noised fluid.

    Attributes
    ----------
    cutoff
        Range of its neighbourhoods, sigma.
    noise
        Features of ln s, in the precision of the network.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.cutoff = config.cutoff_sigma
        self.noise = NoiseFeatures()

    def normalise(self, vectors: Tensor, index: Tensor, mask: Tensor, log_s: Tensor) -> None:
        """Set scales on a batch of typical configurations, arguments as for `forward`; here there
        are none to set.
        """
