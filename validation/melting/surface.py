r"""`Surface`: the free energy of a phase by density and temperature, of which `Equation` is a cut.

a = beta A / N, with a thermal wavelength of sigma at any temperature, has the slopes

.. math:: \frac{\partial a}{\partial \rho} = \frac{\beta p}{\rho^2}, \qquad
          \frac{\partial a}{\partial \beta} = \frac{\langle U \rangle}{N} .

Wherever there is MD both are known, from the same frames, so their errors are correlated. One free
energy is enough for all. a is a polynomial of rho and beta, by least squares with these errors. At
one temperature it is a polynomial of rho.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import comb

from openmm_nti.validation.melting.equation import Equation

Array = NDArray[np.float64]
_LARGEST_DEGREE = 4
_LEAST_ERROR = 1e-9  # of a value that has none, which tests have


class Known(NamedTuple):
    """A free energy: where, a = beta A / N, and its standard error, kT."""

    density: float
    temperature_star: float
    a: float
    std_err: float


class Slopes(NamedTuple):
    """What MD says at a state point.

    `pressure` is p sigma^3 / epsilon and `energy` is U / N in epsilon, each with its standard
    error. `correlation` is that of their errors.
    """

    density: float
    temperature_star: float
    pressure: float
    pressure_err: float
    energy: float = np.nan
    energy_err: float = np.inf
    correlation: float = 0.0

    @property
    def by_density(self) -> tuple[float, float]:
        """The derivative of a by the density, and its error, sigma^3."""
        factor = 1 / (self.temperature_star * self.density**2)
        return self.pressure * factor, self.pressure_err * factor


@dataclass(frozen=True, eq=False)
class Surface:
    """A polynomial for a of one phase.

    Attributes
    ----------
    about
        The density, sigma^-3, and beta = 1 / T* about which it is.
    powers
        Of the density and of beta in each term, (K, 2).
    coefficients, covariance
        Of the terms, (K,) and (K, K).
    reduced
        chi^2 for each degree of freedom; 1 where there is none.
    bands
        Rows of beta and of the lowest, the mean and the highest density there, ascending, (T, 4).
    """

    about: tuple[float, float]
    powers: NDArray[np.int64]
    coefficients: Array
    covariance: Array
    reduced: float
    bands: Array

    @classmethod
    def fit(cls, known: Sequence[Known], slopes: Sequence[Slopes]) -> Self:
        """Return the polynomial of some data.

        Parameters
        ----------
        known
            Free energies, one or more.
        slopes
            Pressures and energies, at two densities or more of each temperature. Energies do not
            matter where there is one temperature.

        Raises
        ------
        ValueError
            If there is too little of either, or a number is not finite.
        """
        if not (len(known) and np.isfinite(np.array(known)).all()):
            raise ValueError("no free energy with an error, and one is needed")
        bands = _bands(slopes)
        several = len(bands) > 1
        kept = np.array([one if several else one[:4] for one in slopes])
        if not np.isfinite(kept).all():
            raise ValueError("a pressure or an energy is not finite")
        about = float(kept[:, 0].mean()), float(np.mean(1 / kept[:, 1]))
        powers = _powers(slopes, bands)
        rows, values = _equations(known, slopes, about, powers, several=several)
        sizes = np.linalg.norm(rows, axis=0)
        sizes[sizes == 0] = 1.0
        inverse = np.linalg.pinv(rows / sizes) / sizes[:, None]
        coefficients = inverse @ values
        left, freedom = float(((rows @ coefficients - values) ** 2).sum()), len(rows) - len(powers)
        reduced = left / freedom if freedom > 0 else 1.0
        return cls(about, powers, coefficients, inverse @ inverse.T, reduced, bands)

    def at(self, temperature_star: float) -> Equation:
        """Return the polynomial of the density at one temperature."""
        beta = 1 / temperature_star
        lowest, middle, highest = (
            float(np.interp(beta, self.bands[:, 0], column)) for column in self.bands.T[1:]
        )
        shift, (of_density, of_beta) = middle - self.about[0], self.powers.T
        order = np.arange(of_density.max() + 1)[:, None]
        # (x + shift)^i by powers of x, which is the distance from the middle.
        cut = comb(of_density, order) * shift ** np.maximum(of_density - order, 0)
        cut = cut * (beta - self.about[1]) ** of_beta
        covariance = cut @ self.covariance @ cut.T
        return Equation(middle, cut @ self.coefficients, covariance, self.reduced, lowest, highest)


def _bands(slopes: Sequence[Slopes]) -> Array:
    """Return the rows of `Surface.bands`; ValueError where a temperature has too few densities."""
    bands = []
    for temperature in sorted({one.temperature_star for one in slopes}, reverse=True):
        here = np.unique([one.density for one in slopes if one.temperature_star == temperature])
        if len(here) < 2:
            raise ValueError(
                f"{len(here)} densities with a pressure at T* = {temperature:g} are too few, and "
                "two are needed"
            )
        bands.append((1 / temperature, here[0], here.mean(), here[-1]))
    if not bands:
        raise ValueError("0 densities with a pressure are too few, and two are needed")
    return np.array(bands)


def _powers(slopes: Sequence[Slopes], bands: Array) -> NDArray[np.int64]:
    """Return the powers of density and beta of the terms, (K, 2): as many as data can tell."""
    densities = min(
        len({one.density for one in slopes if np.isclose(1 / one.temperature_star, beta)})
        for beta in bands[:, 0]
    )
    degree = min(_LARGEST_DEGREE, densities)
    of_beta = 0 if len(bands) == 1 else min(degree, len(bands))
    return np.array(
        [(i, j) for i in range(degree + 1) for j in range(min(of_beta, degree - i) + 1)]
    )


def _equations(
    known: Sequence[Known],
    slopes: Sequence[Slopes],
    about: tuple[float, float],
    powers: NDArray[np.int64],
    *,
    several: bool,
) -> tuple[Array, Array]:
    """Return rows (R, K) and values (R,) of the linear equations, in units of their errors."""
    (of_density, of_beta), rows, values = powers.T, [], []

    def terms(density: float, temperature_star: float, by: int = -1) -> Array:
        """Return all terms, (K,), or their derivatives by density (0) or beta (1)."""
        x, y = density - about[0], 1 / temperature_star - about[1]
        if by == 0:
            return of_density * x ** np.maximum(of_density - 1, 0) * y**of_beta
        if by == 1:
            return of_beta * x**of_density * y ** np.maximum(of_beta - 1, 0)
        return np.asarray(x**of_density * y**of_beta)

    for one in known:
        error = max(one.std_err, _LEAST_ERROR)
        rows.append(terms(one.density, one.temperature_star) / error)
        values.append(one.a / error)
    for md in slopes:
        place = md.density, md.temperature_star
        slope, error = md.by_density
        error = max(error, _LEAST_ERROR)
        rows.append(terms(*place, by=0) / error)
        values.append(slope / error)
        if several:  # what the energy says beyond the pressure, whose error is in part its own
            own = max(md.energy_err, _LEAST_ERROR)
            scale = np.sqrt(max(1 - md.correlation**2, _LEAST_ERROR))
            rows.append((terms(*place, by=1) / own - md.correlation * rows[-1]) / scale)
            values.append((md.energy / own - md.correlation * values[-1]) / scale)
    return np.array(rows), np.array(values)
