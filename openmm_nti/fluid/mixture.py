"""`Mixture`: what the plain keys of a state point cannot say about several species."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from openmm_nti.fluid.fluid import Fluid
from openmm_nti.settings import Settings

Number = Annotated[int, Field(ge=1)]


class Mixture(Settings):
    """Several species with their pair potentials, and the number of particles of each."""

    fluid: Fluid = Field(description="Species and their pair potentials.")
    composition: tuple[Number, ...] = Field(
        description="Number of particles of each species, in the fluid's order."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Mixture:
        if len(self.composition) != len(self.fluid.species):
            raise ValueError(
                f"composition = {self.composition} for {len(self.fluid.species)} species: give one "
                "number for each"
            )
        return self
