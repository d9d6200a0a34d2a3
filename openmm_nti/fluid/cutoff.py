"""`Cutoff`: where a pair potential ends, and how."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from openmm_nti.fluid.potentials.base import PairPotential
from openmm_nti.fluid.potentials.shifted import ShiftedPotential
from openmm_nti.settings import Settings

Convention = Literal["switched", "truncated", "shifted", "force_shifted"]


class Cutoff(Settings):
    """A spherical cutoff, with or without OpenMM's switching function.

    With x = (r - r_s) / (r_c - r_s) between the switching distance r_s and the cutoff r_c, a
    `switched` potential is multiplied by S = 1 - 6 x^5 + 15 x^4 - 10 x^3. A `truncated` potential
    stops at r_c. A `shifted` one has its value at r_c subtracted. A `force_shifted` one has its
    slope there times r - r_c subtracted as well, so that neither energy nor force has a jump.
    """

    cutoff_nm: float = Field(gt=0, description="Spherical cutoff, in nm.")
    switch_nm: float = Field(gt=0, description="Where the switching function starts, in nm.")
    convention: Convention = Field(
        default="switched",
        description="`switched` (default), `truncated`, `shifted` or `force_shifted`.",
    )

    @model_validator(mode="after")
    def _switch_below_cutoff(self) -> Cutoff:
        if self.convention == "switched" and not self.switch_nm < self.cutoff_nm:
            raise ValueError(
                f"switch_nm = {self.switch_nm:g} must be below cutoff_nm = {self.cutoff_nm:g}: "
                "lower switch_nm or choose convention: truncated"
            )
        return self

    def in_units(self, length_nm: float) -> Self:
        """Return the same cutoff with lengths counted in `length_nm`."""
        return self.model_copy(
            update={
                "cutoff_nm": self.cutoff_nm / length_nm,
                "switch_nm": self.switch_nm / length_nm,
            }
        )

    def openmm_factor(self, r: str = "r") -> str:
        """Return S(r) for OpenMM's custom forces, zero from the cutoff on."""
        within = f"step({self.cutoff_nm!r}-{r})"
        if self.convention != "switched":
            return within
        x = f"max(0, ({r}-{self.switch_nm!r})/{self.cutoff_nm - self.switch_nm!r})"
        return f"{within}*(1 + x^3*(-10 + x*(15 - 6*x))); x = {x}"

    def ended(self, pair: PairPotential) -> PairPotential:
        """Return a potential as it is within the cutoff: shifted, where the convention says so.

        The switching function is not part of it; see `factor`.
        """
        if self.convention in ("switched", "truncated"):
            return pair
        with_force = self.convention == "force_shifted"
        return ShiftedPotential.of(pair, self.cutoff_nm, with_force=with_force)

    def factor(self, r_squared: np.ndarray) -> np.ndarray:
        """Return S(r), zero from the cutoff on; any shape, from squared distances."""
        r_squared = np.asarray(r_squared)
        factor = np.asarray((r_squared < self.cutoff_nm**2).astype(np.float64))
        if self.convention != "switched":
            return factor
        switching = (r_squared > self.switch_nm**2) & (r_squared < self.cutoff_nm**2)
        width = self.cutoff_nm - self.switch_nm
        x = (np.sqrt(r_squared[switching]) - self.switch_nm) / width
        factor[switching] = 1 + x * x * x * (-10 + x * (15 - 6 * x))
        return factor

    def factor_slope(self, r_squared: np.ndarray) -> np.ndarray:
        """Return dS/d(r^2), without the jump of a plain cutoff; any shape."""
        slope = np.zeros_like(np.asarray(r_squared, dtype=np.float64))
        if self.convention != "switched":
            return slope
        switching = (r_squared > self.switch_nm**2) & (r_squared < self.cutoff_nm**2)
        r, width = np.sqrt(r_squared[switching]), self.cutoff_nm - self.switch_nm
        x = (r - self.switch_nm) / width
        slope[switching] = -30 * (x * (1 - x)) ** 2 / (2 * r * width)
        return slope
