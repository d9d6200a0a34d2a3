"""`GeneralState`: several species, or a box of unequal edges; read, checked, and not yet run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from openmm_nti.fluid.fluid import Fluid
from openmm_nti.settings import Settings

Edge = Annotated[float, Field(gt=0)]
Number = Annotated[int, Field(ge=1)]


class GeneralState(Settings):
    """What the plain keys of a state point cannot say: all species and all edges of the box."""

    fluid: Fluid = Field(description="Species and their pair potentials.")
    composition: tuple[Number, ...] = Field(
        description="Number of particles of each species, in the fluid's order."
    )
    edges_nm: tuple[Edge, Edge, Edge] = Field(description="Edges of the box, in nm.")

    @model_validator(mode="after")
    def _fits_together(self) -> GeneralState:
        if len(self.composition) != len(self.fluid.species):
            raise ValueError(
                f"composition = {self.composition} for {len(self.fluid.species)} species: give one "
                "number for each"
            )
        shortest, cutoff = min(self.edges_nm), self.fluid.cutoff.cutoff_nm
        if not cutoff <= 0.5 * shortest * (1 + 1e-9):
            raise ValueError(
                f"the box's shortest edge, {shortest:g} nm, is under two cutoffs "
                f"({2 * cutoff:g} nm): enlarge the box, or set cutoff_nm to at most "
                f"{shortest / 2:g}"
            )
        return self
