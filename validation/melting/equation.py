r"""`Equation`: the free energy of one phase by density, at one temperature.

a = beta A / N, with the thermal wavelength sigma, is a polynomial of the density, and

.. math:: \frac{\beta p}{\rho^2} = \frac{da}{d\rho}, \qquad \beta \mu = a + \rho \frac{da}{d\rho} .

`surface` fits it to free energies and pressures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Equation:
    """A polynomial for a of one phase about a density.

    Attributes
    ----------
    middle
        The density about which it is, sigma^-3.
    coefficients, covariance
        Of the powers of (rho - middle), (K,) and (K, K).
    reduced
        chi^2 for each degree of freedom; 1 where there is none.
    lowest, highest
        Densities between which it is known, sigma^-3.
    """

    middle: float
    coefficients: Array
    covariance: Array
    reduced: float
    lowest: float
    highest: float

    def free_energy(self, density: ArrayLike) -> Array:
        """Return a at densities of any shape, kT."""
        return np.asarray(polynomial.polyval(np.asarray(density) - self.middle, self.coefficients))

    def slope(self, density: ArrayLike, order: int = 1) -> Array:
        """Return the derivatives of a by the density, of any shape."""
        terms = polynomial.polyder(self.coefficients, order)
        return np.asarray(polynomial.polyval(np.asarray(density) - self.middle, terms))

    def beta_pressure(self, density: ArrayLike) -> Array:
        """Return beta p, sigma^-3."""
        return np.asarray(density) ** 2 * self.slope(density)

    def beta_mu(self, density: ArrayLike) -> Array:
        """Return beta mu, kT, with the thermal wavelength sigma."""
        return self.free_energy(density) + np.asarray(density) * self.slope(density)

    def drawn(self, rng: np.random.Generator) -> Self:
        """Return another polynomial within the errors, raised where the fit misses the data."""
        scale = math.sqrt(max(1.0, self.reduced))
        values, vectors = np.linalg.eigh(self.covariance)
        noise = vectors @ (np.sqrt(np.maximum(values, 0)) * rng.standard_normal(len(values)))
        return replace(self, coefficients=self.coefficients + scale * noise)
