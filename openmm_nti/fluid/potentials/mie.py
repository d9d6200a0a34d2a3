"""The Mie potential, which is Lennard-Jones with any two exponents."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from openmm_nti.fluid.potentials.base import PairPotential


class Mie(PairPotential):
    """The potential of Mie (Ann. Phys. 316, 657 (1903)), C epsilon [(sigma / r)^n - (sigma / r)^m].

    C = n / (n - m) (n / m)^(m / (n - m)) makes epsilon the depth of the well. The exponents 12 and
    6 give Lennard-Jones.
    """

    type: Literal["mie"] = "mie"
    sigma_nm: float = Field(gt=0, description="Distance of zero energy, in nm.")
    epsilon_kj_mol: float = Field(gt=0, description="Depth of the well, in kJ/mol.")
    repulsive: float = Field(gt=3, le=200, description="Exponent n of the repulsion.")
    attractive: float = Field(
        default=6.0, gt=3, le=200, description="Exponent m of the attraction, below the other."
    )

    @model_validator(mode="after")
    def _repulsion_is_steeper(self) -> Mie:
        if not self.attractive < self.repulsive:
            raise ValueError(
                f"attractive = {self.attractive:g} must be below repulsive = {self.repulsive:g}"
            )
        return self

    @property
    def prefactor(self) -> float:
        """The factor C epsilon in front of both powers, in kJ/mol."""
        n, m = self.repulsive, self.attractive
        return self.epsilon_kj_mol * n / (n - m) * (n / m) ** (m / (n - m))

    def energy(self, r_squared: Any) -> Any:
        """Return u(r) from squared distances; see `PairPotential.energy`."""
        y = self.sigma_nm**2 / r_squared
        # At r = 0 the difference of two infinities would be no number.
        attraction = y ** (0.5 * self.attractive)
        return self.prefactor * attraction * (y ** (0.5 * (self.repulsive - self.attractive)) - 1.0)

    def openmm_expression(self, r: str = "r") -> str:
        """Return u(r) in kJ/mol for OpenMM's custom forces."""
        return (
            f"{self.prefactor!r}*(y^{self.repulsive!r} - y^{self.attractive!r}); "
            f"y = {self.sigma_nm!r}/{r}"
        )
