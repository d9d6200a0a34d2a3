"""`Cutoff`: where a pair potential ends, and how."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from openmm_nti.settings import Settings

Convention = Literal["switched", "truncated"]


class Cutoff(Settings):
    """A spherical cutoff, with or without OpenMM's switching function.

    With x = (r - r_s) / (r_c - r_s) between the switching distance r_s and the cutoff r_c, a
    `switched` potential is multiplied by S = 1 - 6 x^5 + 15 x^4 - 10 x^3. A `truncated` potential
    stops at r_c.
    """

    cutoff_nm: float = Field(gt=0, description="Spherical cutoff, in nm.")
    switch_nm: float = Field(gt=0, description="Where the switching function starts, in nm.")
    convention: Convention = Field(
        default="switched", description="`switched` (default) or `truncated`."
    )

    @model_validator(mode="after")
    def _switch_below_cutoff(self) -> Cutoff:
        if self.convention == "switched" and not self.switch_nm < self.cutoff_nm:
            raise ValueError(
                f"switch_nm = {self.switch_nm:g} must be below cutoff_nm = {self.cutoff_nm:g}: "
                "lower switch_nm or choose convention: truncated"
            )
        return self

    def factor(self, r_squared: np.ndarray) -> np.ndarray:
        """Return S(r), zero from the cutoff on; any shape, from squared distances."""
        r_squared = np.asarray(r_squared)
        factor = np.asarray((r_squared < self.cutoff_nm**2).astype(np.float64))
        if self.convention == "truncated":
            return factor
        switching = (r_squared > self.switch_nm**2) & (r_squared < self.cutoff_nm**2)
        width = self.cutoff_nm - self.switch_nm
        x = (np.sqrt(r_squared[switching]) - self.switch_nm) / width
        factor[switching] = 1 + x * x * x * (-10 + x * (15 - 6 * x))
        return factor
