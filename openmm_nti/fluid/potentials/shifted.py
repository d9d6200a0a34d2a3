"""`ShiftedPotential`: a pair potential moved to end at zero at its cutoff."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from pydantic import Field, SerializeAsAny

from openmm_nti.fluid.potentials.base import PairPotential


class ShiftedPotential(PairPotential):
    """Another potential minus a straight line, and zero beyond the cutoff.

    The line is u(r_c), or u(r_c) + (r - r_c) u'(r_c) so that the force has no jump either. It is
    made by the conventions `shifted` and `force_shifted`, and is no potential of its own.
    """

    type: str = Field(description="The type of the potential that is shifted.")
    base: SerializeAsAny[PairPotential] = Field(description="The potential that is shifted.")
    cutoff_nm: float = Field(gt=0, description="Where it ends, in nm.")
    height_kj_mol: float = Field(description="The line's height at the cutoff, in kJ/mol.")
    slope_kj_mol_nm: float = Field(description="The line's slope, in kJ/mol/nm.")

    @classmethod
    def of(cls, base: PairPotential, cutoff_nm: float, *, with_force: bool) -> Self:
        """Return `base` shifted at a cutoff, its force as well or not."""
        square = np.array(cutoff_nm * cutoff_nm)
        slope = 2.0 * cutoff_nm * float(base.slope(square)) if with_force else 0.0
        return cls(
            type=base.type,
            base=base,
            cutoff_nm=cutoff_nm,
            height_kj_mol=float(base.energy_numpy(square)),
            slope_kj_mol_nm=slope,
        )

    def energy(self, r_squared: Any) -> Any:
        """Return u(r) from squared distances; see `PairPotential.energy`."""
        return self._shifted(self.base.energy(r_squared), r_squared)

    def energy_numpy(self, r_squared: np.ndarray) -> np.ndarray:
        """Return u(r) of an array."""
        return np.asarray(self._shifted(self.base.energy_numpy(r_squared), r_squared))

    def slope(self, r_squared: np.ndarray) -> np.ndarray:
        """Return du/d(r^2)."""
        r_squared = np.asarray(r_squared)
        slope = self.base.slope(r_squared)
        if self.slope_kj_mol_nm:
            slope = slope - 0.5 * self.slope_kj_mol_nm / np.sqrt(r_squared)
        return np.asarray(slope * (r_squared < self.cutoff_nm**2))

    def _shifted(self, energy: Any, r_squared: Any) -> Any:
        shifted = energy - self.height_kj_mol
        if self.slope_kj_mol_nm:
            shifted = shifted - self.slope_kj_mol_nm * (r_squared**0.5 - self.cutoff_nm)
        return shifted * (r_squared < self.cutoff_nm**2)

    def openmm_expression(self, r: str = "r") -> str:
        """Return u(r) in kJ/mol for OpenMM's custom forces."""
        line = f"{self.height_kj_mol!r} + {self.slope_kj_mol_nm!r}*({r}-{self.cutoff_nm!r})"
        return (
            f"step({self.cutoff_nm!r}-{r})*(unshifted - ({line})); "
            f"unshifted = {self.base.openmm_expression(r)}"
        )

    def openmm_functions(self) -> dict[str, tuple[list[float], float, float]]:
        """Return the tables of the potential that is shifted."""
        return self.base.openmm_functions()

    @property
    def size(self) -> float:
        """About the size of an atom, as of the potential that is shifted."""
        return self.base.size

    def in_units(self, length_nm: float, energy_kj_mol: float) -> Self:
        """Return the same potential with lengths counted in `length_nm`, energies in the other."""
        return self.model_copy(
            update={
                "base": self.base.in_units(length_nm, energy_kj_mol),
                "cutoff_nm": self.cutoff_nm / length_nm,
                "height_kj_mol": self.height_kj_mol / energy_kj_mol,
                "slope_kj_mol_nm": self.slope_kj_mol_nm / energy_kj_mol * length_nm,
            }
        )
