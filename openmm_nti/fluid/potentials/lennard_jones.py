"""The Lennard-Jones potential, 4 epsilon [(sigma / r)^12 - (sigma / r)^6]."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from pydantic import Field

from openmm_nti.fluid.potentials.base import PairPotential


class LennardJones(PairPotential):
    """The Lennard-Jones potential with diameter sigma and depth epsilon."""

    type: Literal["lennard_jones"] = "lennard_jones"
    sigma_nm: float = Field(gt=0, description="Distance of zero energy, in nm.")
    epsilon_kj_mol: float = Field(gt=0, description="Depth of the well, in kJ/mol.")

    def energy(self, r_squared: Any) -> Any:
        """Return u(r) from squared distances; see `PairPotential.energy`."""
        y = (r_squared / self.sigma_nm**2) ** -3
        return 4.0 * self.epsilon_kj_mol * (y * y - y)

    def openmm_expression(self, r: str = "r") -> str:
        """Return u(r) in kJ/mol for OpenMM's custom forces."""
        return f"4*{self.epsilon_kj_mol!r}*y*(y-1); y = ({self.sigma_nm!r}/{r})^6"

    def energy_numpy(self, r_squared: np.ndarray) -> np.ndarray:
        """Return u(r) of an array: products are many times quicker than a power."""
        y = self.sigma_nm**6 / (r_squared * r_squared * r_squared)
        return np.asarray(4 * self.epsilon_kj_mol * y * (y - 1))

    def slope(self, r_squared: np.ndarray) -> np.ndarray:
        """Return du/d(r^2)."""
        y = self.sigma_nm**6 / (r_squared * r_squared * r_squared)
        return np.asarray(12 * self.epsilon_kj_mol * y * (1 - 2 * y) / r_squared)

    def core(self, energy: float) -> tuple[float, float]:
        """Return the distance at which u has this energy, and du/dr there; u = 4 eps (y^2 - y)."""
        prefactor = 4.0 * self.epsilon_kj_mol
        y = 0.5 + math.sqrt(0.25 + energy / prefactor)
        core = self.sigma_nm * y ** (-1.0 / 6.0)
        return core, prefactor * (-12.0 * y * y + 6.0 * y) / core

    def soft_core(
        self, r_squared: np.ndarray, coupling: np.ndarray, alpha: float, factor: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the soft-core energy and its derivative in closed form: y = sigma^6 / r_soft^6."""
        prefactor = 4 * self.epsilon_kj_mol * factor
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            y = 1 / (alpha * (1 - coupling) + r_squared**3 / self.sigma_nm**6)
            energy = np.where(prefactor != 0, prefactor * coupling * y * (y - 1), 0.0)
            slope = np.where(
                prefactor != 0, prefactor * y * ((y - 1) + coupling * alpha * y * (2 * y - 1)), 0.0
            )
        return energy, slope

    def soft_core_expression(self, alpha: float, parameter: str) -> str:
        """Return the soft-core energy in kJ/mol for OpenMM."""
        return (
            f"4*{self.epsilon_kj_mol!r}*{parameter}*y*(y-1);y = 1/({alpha!r}*(1-{parameter}) + "
            f"(r/{self.sigma_nm!r})^6)"
        )
