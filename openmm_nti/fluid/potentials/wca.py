"""The WCA potential: the repulsive part of Lennard-Jones, raised to end at zero."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from openmm_nti.fluid.potentials.base import PairPotential


class WCA(PairPotential):
    """The potential of Weeks, Chandler and Andersen (J. Chem. Phys. 54, 5237 (1971)).

    It is 4 epsilon [(sigma / r)^12 - (sigma / r)^6] + epsilon up to the minimum of Lennard-Jones at
    2^(1/6) sigma, and zero beyond. Energy and force have no jump there.
    """

    type: Literal["wca"] = "wca"
    sigma_nm: float = Field(gt=0, description="Diameter, in nm.")
    epsilon_kj_mol: float = Field(gt=0, description="Energy at the diameter, in kJ/mol.")

    def energy(self, r_squared: Any) -> Any:
        """Return u(r) from squared distances; see `PairPotential.energy`."""
        y = (r_squared / self.sigma_nm**2) ** -3
        repulsive = 4.0 * self.epsilon_kj_mol * y * (y - 1.0) + self.epsilon_kj_mol
        return repulsive * (r_squared < 2.0 ** (1.0 / 3.0) * self.sigma_nm**2)

    def openmm_expression(self, r: str = "r") -> str:
        """Return u(r) in kJ/mol for OpenMM's custom forces."""
        epsilon, sigma = self.epsilon_kj_mol, self.sigma_nm
        return (
            f"step({2.0 ** (1.0 / 6.0) * sigma!r}-{r})*(4*{epsilon!r}*y*(y-1) + {epsilon!r}); "
            f"y = ({sigma!r}/{r})^6"
        )
