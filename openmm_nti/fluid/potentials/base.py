"""`PairPotential`: what a pair potential must say of itself.

A new potential is one file in this folder: a subclass with a `type`, its parameters, `energy` and
`openmm_expression`. Everything else follows from these: tables, forces, Monte Carlo, soft cores.
`openmm_nti.testing.check_potential` tells whether the parts agree.
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

from openmm_nti.fluid.units import in_units
from openmm_nti.settings import Settings

_OLD_KEYS = {"temperature_star", "cutoff_sigma", "switch_sigma", "convention"}
_COMPLEX_STEP = 1e-30


class PairPotential(Settings):
    """The energy of two atoms by their distance, without a cutoff and without a temperature.

    The name of a parameter ends with its unit: `_nm` for lengths, `_kj_mol` for energies. Pure
    numbers have neither ending. `sigma_nm` and `epsilon_kj_mol` have a meaning for the package: the
    size of an atom, and the unit of energy.
    """

    type: str

    def __init__(self, **parameters: Any) -> None:
        if type(self) is PairPotential:
            old = _OLD_KEYS & set(parameters)
            raise TypeError(
                "PairPotential is the base of all pair potentials and knows no temperature: "
                + (
                    "for what a model is made of take StatePoint(...).pair_potential or "
                    "openmm_nti.fluid.reduced.ReducedPotential(temperature_star=...)"
                    if old
                    else "construct one of its kinds, such as LennardJones(sigma_nm=..., "
                    "epsilon_kj_mol=...)"
                )
            )
        super().__init__(**parameters)

    def energy(self, r_squared: Any) -> Any:
        """Return u(r), in the unit of the energies, from squared distances.

        Written in plain operators, so that it serves numpy arrays and torch tensors alike:
        `+ - * / **`, comparisons as factors, and `math.e ** x` for an exponential.
        """
        raise NotImplementedError

    def openmm_expression(self, r: str = "r") -> str:
        """Return u(r) in kJ/mol as OpenMM's custom forces read it; `r` names the distance in nm."""
        raise NotImplementedError

    def openmm_functions(self) -> dict[str, tuple[list[float], float, float]]:
        """Return the tables that `openmm_expression` names: values, and first and last distance.

        OpenMM lays a natural cubic spline through each.
        """
        return {}

    def natural_units(self) -> dict[str, float]:
        """Return `sigma_nm` and `epsilon_kj_mol` for counting, where they are no parameters."""
        return {}

    def check_end(self, cutoff_nm: float, kt_kj_mol: float, convention: str) -> None:
        """Raise ValueError if the potential cannot be used with this cutoff and temperature."""

    def energy_numpy(self, r_squared: np.ndarray) -> np.ndarray:
        """Return `energy` of an array; a potential may have a quicker way for numpy."""
        return np.asarray(self.energy(r_squared))

    def slope(self, r_squared: np.ndarray) -> np.ndarray:
        """Return du/d(r^2) by a complex step, exact to rounding."""
        shifted = np.asarray(r_squared) + _COMPLEX_STEP * 1j
        return np.asarray(self.energy(shifted).imag / _COMPLEX_STEP)

    def core(self, energy: float) -> tuple[float, float]:
        """Return the distance below which u(r) is above `energy`, and du/dr there.

        Both are zero for a potential that never rises as high.
        """
        size = self.size
        grid = size * np.geomspace(1e-3, 10.0, 2000)
        above = np.flatnonzero(self.energy_numpy(grid * grid) >= energy)
        if not above.size:
            return 0.0, 0.0
        low, high = float(grid[above[-1]]), float(grid[min(above[-1] + 1, grid.size - 1)])
        for _ in range(60):
            middle = 0.5 * (low + high)
            if float(self.energy_numpy(np.array(middle * middle))) >= energy:
                low = middle
            else:
                high = middle
        return low, 2.0 * low * float(self.slope(np.array(low * low)))

    def soft_core(
        self, r_squared: np.ndarray, coupling: np.ndarray, alpha: float, factor: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the soft-core energy coupling * u(r_soft) * factor, and its coupling derivative.

        Two atoms are held apart by r_soft^6 = alpha (1 - coupling) size^6 + r^6.

        Parameters
        ----------
        r_squared
            Squared distances.
        coupling
            Lambda, 0 without the interaction, 1 with all of it; broadcasts with `r_squared`.
        alpha
            How soft the core is.
        factor
            The switching function at the same distances.
        """
        sixth = self.size**6
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            cubed = alpha * (1 - coupling) * sixth + r_squared**3
            soft = np.cbrt(cubed)
            energy = self.energy_numpy(soft)
            # d r_soft^2 / d coupling = -alpha size^6 / (3 r_soft^4)
            change = self.slope(soft) * (-alpha * sixth / (3.0 * soft * soft))
            inside = factor != 0
            return (
                np.where(inside, factor * coupling * energy, 0.0),
                np.where(inside, factor * (energy + coupling * change), 0.0),
            )

    def soft_core_expression(self, alpha: float, parameter: str) -> str:
        """Return the energy of `soft_core` in kJ/mol for OpenMM; `parameter` names the coupling."""
        return (
            f"{parameter}*soft_energy; soft_energy = {self.openmm_expression('soft_r')}; "
            f"soft_r = ({alpha!r}*(1-{parameter})*{self.size!r}^6 + r^6)^(1/6)"
        )

    @property
    def size(self) -> float:
        """About the size of an atom: `sigma_nm`, or 1 where there is none."""
        return float(getattr(self, "sigma_nm", 1.0))

    def in_units(self, length_nm: float, energy_kj_mol: float) -> Self:
        """Return the same potential with lengths counted in `length_nm`, energies in the other.

        The numbers of the copy are in these units, whatever the parameters' names say.
        """
        values = {
            name: in_units(name, value, length_nm, energy_kj_mol)
            for name, value in self.parameters().items()
        }
        return self.model_copy(update=values)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters by name."""
        return {name: getattr(self, name) for name in self.parameter_names()}

    @classmethod
    def parameter_names(cls) -> list[str]:
        """Return the names of the parameters."""
        return [name for name in cls.model_fields if name != "type"]

    def mixed(self, other: Self) -> Self:
        """Return the potential between two species by the rule of Lorentz and Berthelot.

        Lengths are arithmetic means and energies geometric ones; pure numbers must be equal.
        """
        values = {
            name: _mean(name, mine, theirs)
            for (name, mine), theirs in zip(
                self.parameters().items(), other.parameters().values(), strict=True
            )
        }
        return self.model_copy(update=values)


def _mean(name: str, mine: float, theirs: float) -> float:
    if name.endswith("_nm"):
        return 0.5 * (mine + theirs)
    if name.endswith("_kj_mol"):
        return math.sqrt(mine * theirs)
    if mine != theirs:
        raise ValueError(
            f"{name} = {mine:g} and {theirs:g}: no mixing rule knows the pair's; give it in pairs"
        )
    return mine
