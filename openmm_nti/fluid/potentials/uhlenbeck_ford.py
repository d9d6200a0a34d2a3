"""The Uhlenbeck-Ford potential: a soft fluid whose virial coefficients are known."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from pydantic import Field

from openmm_nti.fluid.potentials.base import PairPotential


class UhlenbeckFord(PairPotential):
    """The potential -epsilon ln(1 - exp(-(r / sigma)^2)) of Uhlenbeck and Ford.

    In the reference system of Paula Leite et al. (J. Chem. Phys. 145, 194101 (2016)) epsilon is
    p kT, with a number p: give the temperature as T* = 1 / p.
    """

    type: Literal["uhlenbeck_ford"] = "uhlenbeck_ford"
    sigma_nm: float = Field(gt=0, description="Range of the repulsion, in nm.")
    epsilon_kj_mol: float = Field(gt=0, description="The energy p kT, in kJ/mol.")

    def energy(self, r_squared: Any) -> Any:
        """Return u(r) from squared distances; see `PairPotential.energy`."""
        x = r_squared / self.sigma_nm**2
        boltzmann = -(math.e ** (-x))
        # numpy's arrays have no method for it, and torch's tensors have.
        logarithm = boltzmann.log1p() if hasattr(boltzmann, "log1p") else np.log1p(boltzmann)
        return -self.epsilon_kj_mol * logarithm

    def openmm_expression(self, r: str = "r") -> str:
        """Return u(r) in kJ/mol for OpenMM's custom forces."""
        # Lepton has no log1p: far out, ln(1 - y) = -y - y^2 / 2 to rounding.
        return (
            f"{self.epsilon_kj_mol!r}*select(step(x-18), y+y*y/2, -log(1-y+1e-300)); "
            f"y = exp(-x); x = ({r}/{self.sigma_nm!r})^2"
        )
