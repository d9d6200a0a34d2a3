r"""`Branch`: beta F_ex(N) of one phase, a polynomial through its free energies and pressures.

Free energies are noisy, and their slope is what decides on densities. The same frames have a
pressure, which is the slope by the volume. Both are linear in the coefficients of

.. math:: \beta F_{ex}(N, V) = N a(x), \qquad \beta p_{ex} = \frac{N x}{V} a'(x), \qquad
          x = \frac{(N - 1) \sigma^3}{V},

exact for two particles. The vapour has a virial series, a = \sum_{k \ge 1} c_k x^k, as in
`observables`. The liquid has a polynomial around the middle of its values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from openmm_nti.validation.analysis.observables import least_squares
from openmm_nti.validation.phases.isotherm import Isotherm

Functions = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
FEWEST = 4  # values of a phase
_VAPOUR_TERMS = range(1, 6)
_TERMS_OF_BOTH = range(3, 9)
_LIQUID_TERMS = range(3, 6)  # second to fourth degree


@dataclass(frozen=True, eq=False)
class Branch:
    """A fit of one phase.

    Attributes
    ----------
    functions
        Returns the first d functions of which a(x) is made, and their slopes, at x (M,): two arrays
        (M, d).
    coefficients
        Of these functions, (d,).
    volume
        Of the box, sigma^3.
    chi_squared, n_degrees_of_freedom
        Weighted sum of squared residuals, and values less coefficients.
    """

    functions: Functions
    coefficients: np.ndarray
    volume: float
    chi_squared: float
    n_degrees_of_freedom: int

    @classmethod
    def vapour(cls, isotherm: Isotherm) -> Branch:
        """Return the virial series through an isotherm."""
        return cls._virial(isotherm, _VAPOUR_TERMS)

    @classmethod
    def of_both(cls, isotherm: Isotherm) -> Branch:
        """Return one longer series for vapour and liquid, which shows about where they are."""
        return cls._virial(isotherm, _TERMS_OF_BOTH)

    @classmethod
    def _virial(cls, isotherm: Isotherm, numbers: range) -> Branch:

        def functions(x: np.ndarray, n_terms: int) -> tuple[np.ndarray, np.ndarray]:
            k = np.arange(1, n_terms + 1)
            return x[:, None] ** k, k * x[:, None] ** (k - 1)

        return cls._best(isotherm, functions, numbers)

    @classmethod
    def liquid(cls, isotherm: Isotherm) -> Branch:
        """Return the polynomial around the middle of an isotherm."""
        low, high = _x(isotherm.n_particles[[0, -1]], isotherm.box_length_sigma**3)
        middle, width = 0.5 * (low + high), 0.5 * (high - low)

        def functions(x: np.ndarray, n_terms: int) -> tuple[np.ndarray, np.ndarray]:
            k = np.arange(n_terms)
            t = ((x - middle) / width)[:, None]
            return t**k, k * t ** np.maximum(k - 1, 0) / width

        return cls._best(isotherm, functions, _LIQUID_TERMS)

    @classmethod
    def _best(cls, isotherm: Isotherm, functions: Functions, numbers: range) -> Branch:
        """Return the fit with the least chi^2 + 2 d, Akaike's criterion where errors are known."""
        n, volume = isotherm.n_particles, isotherm.box_length_sigma**3
        known = isotherm.has_pressure
        x = _x(n, volume)
        target = np.concatenate([isotherm.curve.beta_f_ex, isotherm.beta_p_ex[known]])
        covariance = np.diag(np.concatenate([np.ones(len(n)), isotherm.p_errors[known] ** 2]))
        covariance[: len(n), : len(n)] = isotherm.curve.covariance
        fits = []
        for n_terms in numbers:
            dof = len(target) - n_terms
            if dof < 1:
                break
            values, slopes = functions(x, n_terms)
            pressures = (n * x)[known, None] / volume * slopes[known]
            design = np.concatenate([n[:, None] * values, pressures])
            coefficients, _, chi_squared = least_squares(design, target, covariance)
            fits.append(cls(functions, coefficients, volume, chi_squared, dof))
        return min(fits, key=lambda fit: fit.chi_squared + 2 * len(fit.coefficients))

    @property
    def reduced(self) -> float:
        """chi^2 for each degree of freedom."""
        return self.chi_squared / self.n_degrees_of_freedom

    def values(self, n_particles: np.ndarray) -> np.ndarray:
        """Return beta F_ex at any N, both (M,), kT."""
        x = _x(n_particles, self.volume)
        a = self.functions(x, len(self.coefficients))[0] @ self.coefficients
        return np.asarray(n_particles * a)


def _x(n_particles: np.ndarray, volume: float) -> np.ndarray:
    """Return the density of the others, sigma^-3."""
    return (np.asarray(n_particles, dtype=np.float64) - 1.0) / volume
