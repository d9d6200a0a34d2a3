r"""`Branch`: beta F_ex(N) of one phase, a polynomial through the values of its N.

That of the vapour is the virial series of `observables`, exactly zero for one particle,

.. math:: \beta F_{ex}(N) = N \sum_{k=1}^{d} c_k x^k, \qquad x = (N - 1) \sigma^3 / V .

That of the liquid is a polynomial in N around the middle of its values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from openmm_nti.validation.analysis.free_energy_curve import FreeEnergyCurve
from openmm_nti.validation.analysis.observables import least_squares, virial_powers

Basis = Callable[[np.ndarray, int], np.ndarray]
FEWEST = 4  # values of a phase
_VAPOUR_TERMS = 5
_LIQUID_TERMS = 3, 5  # second to fourth degree


@dataclass(frozen=True, eq=False)
class Branch:
    """A fit of one phase.

    Attributes
    ----------
    basis
        Returns the first d functions at any N (M,), (M, d).
    coefficients
        Of these functions, (d,).
    chi_squared, n_degrees_of_freedom
        Weighted sum of squared residuals, and values less coefficients.
    """

    basis: Basis
    coefficients: np.ndarray
    chi_squared: float
    n_degrees_of_freedom: int

    @classmethod
    def vapour(cls, curve: FreeEnergyCurve) -> Branch:
        """Return the virial series through `curve`."""

        def basis(numbers: np.ndarray, n_terms: int) -> np.ndarray:
            return virial_powers(numbers, curve.box_length_sigma, n_terms)

        return cls._best(curve, basis, range(1, _VAPOUR_TERMS + 1))

    @classmethod
    def liquid(cls, curve: FreeEnergyCurve) -> Branch:
        """Return the polynomial in N through `curve`."""
        ends = curve.n_particles[[0, -1]].astype(float)
        middle, width = ends.mean(), 0.5 * (ends[1] - ends[0])

        def basis(numbers: np.ndarray, n_terms: int) -> np.ndarray:
            return np.vander((numbers - middle) / width, n_terms, increasing=True)

        return cls._best(curve, basis, range(_LIQUID_TERMS[0], _LIQUID_TERMS[1] + 1))

    @classmethod
    def _best(cls, curve: FreeEnergyCurve, basis: Basis, numbers: range) -> Branch:
        """Return the fit with the least chi^2 + 2 d, Akaike's criterion where errors are known."""
        fits = []
        for n_terms in numbers:
            dof = len(curve.n_particles) - n_terms
            if dof < 1:
                break
            coefficients, _, chi_squared = least_squares(basis(curve.n_particles, n_terms), curve)
            fits.append(cls(basis, coefficients, chi_squared, dof))
        return min(fits, key=lambda fit: fit.chi_squared + 2 * len(fit.coefficients))

    @property
    def reduced(self) -> float:
        """chi^2 for each degree of freedom."""
        return self.chi_squared / self.n_degrees_of_freedom

    def values(self, n_particles: np.ndarray) -> np.ndarray:
        """Return beta F_ex at any N, both (M,), kT."""
        return np.asarray(self.basis(n_particles, len(self.coefficients)) @ self.coefficients)
