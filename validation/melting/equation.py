r"""`Equation`: the free energy of one phase by density, from free energies and pressures.

a = beta A / N, with the thermal wavelength sigma, is a polynomial of the density. Its values are
known where free energies are, and its slopes everywhere there is MD:

.. math:: \frac{\beta p}{\rho^2} = \frac{da}{d\rho}, \qquad \beta \mu = a + \rho \frac{da}{d\rho} .

Least squares by the errors join both. The degree is that of three pressures or more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
_MOST_TERMS = 5
_LEAST_ERROR = 1e-9  # of a value that has none, which tests have


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

    @classmethod
    def fit(
        cls,
        free_energies: ArrayLike,
        pressures: ArrayLike,
        temperature_star: float,
    ) -> Self:
        """Return the polynomial of some data.

        Parameters
        ----------
        free_energies
            Rows of density, a and its error, (A, 3), one or more.
        pressures
            Rows of density, p sigma^3 / epsilon and its error, (P, 3), of two densities or more.
        temperature_star
            T*.

        Raises
        ------
        ValueError
            If there is too little of either, or a number is not finite.
        """
        values, slopes = (np.atleast_2d(np.asarray(x, float)) for x in (free_energies, pressures))
        if not (values.size and np.isfinite(values).all()):
            raise ValueError("no free energy with an error, and one is needed")
        if slopes.shape[1] < 3 or len(np.unique(slopes[:, 0])) < 2 or not np.isfinite(slopes).all():
            raise ValueError(
                f"{len(slopes)} densities with a pressure are too few, and two are needed"
            )
        middle = float(slopes[:, 0].mean())
        n_terms = min(_MOST_TERMS, 1 + len(np.unique(slopes[:, 0])))
        powers = np.arange(n_terms)
        x, y = values[:, :1] - middle, slopes[:, :1] - middle
        slope_rows = powers * y ** np.maximum(powers - 1, 0)
        factor = 1 / (temperature_star * slopes[:, 0] ** 2)
        rows = np.concatenate([x**powers, slope_rows])
        known = np.concatenate([values[:, 1], slopes[:, 1] * factor])
        errors = np.maximum(np.concatenate([values[:, 2], slopes[:, 2] * factor]), _LEAST_ERROR)
        weighted = rows / errors[:, None]
        covariance = np.linalg.pinv(weighted.T @ weighted, hermitian=True)
        coefficients = covariance @ weighted.T @ (known / errors)
        left = float((((rows @ coefficients - known) / errors) ** 2).sum())
        freedom = len(known) - n_terms
        return cls(
            middle,
            coefficients,
            covariance,
            left / freedom if freedom else 1.0,
            float(slopes[:, 0].min()),
            float(slopes[:, 0].max()),
        )

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
