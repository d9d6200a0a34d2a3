"""The Yukawa potential: a screened charge."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field

from openmm_nti.fluid.potentials.base import PairPotential


class Yukawa(PairPotential):
    """The repulsive potential epsilon exp(-kappa (r / sigma - 1)) / (r / sigma), without a core.

    H. Yukawa, Proc. Phys.-Math. Soc. Jpn. 17, 48 (1935); for charged colloids as in Robbins, Kremer
    and Grest, J. Chem. Phys. 88, 3286 (1988).
    """

    type: Literal["yukawa"] = "yukawa"
    sigma_nm: float = Field(gt=0, description="Distance at which the energy is epsilon, in nm.")
    epsilon_kj_mol: float = Field(gt=0, description="Energy at the distance sigma, in kJ/mol.")
    kappa: float = Field(ge=0, le=100, description="Sigma divided by the length of screening.")

    def energy(self, r_squared: Any) -> Any:
        """Return u(r) from squared distances; see `PairPotential.energy`."""
        x = r_squared**0.5 / self.sigma_nm
        return self.epsilon_kj_mol * math.e ** (self.kappa * (1.0 - x)) / x

    def openmm_expression(self, r: str = "r") -> str:
        """Return u(r) in kJ/mol for OpenMM's custom forces."""
        return f"{self.epsilon_kj_mol!r}*exp({self.kappa!r}*(1-x))/x; x = {r}/{self.sigma_nm!r}"
