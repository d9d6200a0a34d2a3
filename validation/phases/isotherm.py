"""`Isotherm`: beta F_ex and the pressure at several N in one box at one temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openmm_nti.validation.analysis.free_energy_curve import FreeEnergyCurve


@dataclass(frozen=True, eq=False)
class Isotherm:
    """What is known at K numbers of particles.

    Attributes
    ----------
    curve
        beta F_ex with its covariance.
    beta_p_ex, p_errors
        Excess pressure beta p - N / V and its error, sigma^-3, (K,); NaN where it is not known.
    """

    curve: FreeEnergyCurve
    beta_p_ex: np.ndarray
    p_errors: np.ndarray

    @classmethod
    def without_pressure(cls, curve: FreeEnergyCurve) -> Isotherm:
        """Return an isotherm of which the free energies alone are known."""
        none = np.full(len(curve.n_particles), np.nan)
        return cls(curve, none, none)

    @property
    def n_particles(self) -> np.ndarray:
        """N, ascending, (K,)."""
        return self.curve.n_particles

    @property
    def box_length_sigma(self) -> float:
        """Edge of the box, sigma."""
        return self.curve.box_length_sigma

    @property
    def has_pressure(self) -> np.ndarray:
        """Where the pressure is known, (K,)."""
        return np.isfinite(self.beta_p_ex) & np.isfinite(self.p_errors) & (self.p_errors > 0)

    def between(self, low: float, high: float) -> np.ndarray:
        """Return which values lie between two N."""
        return np.flatnonzero((self.n_particles >= low) & (self.n_particles <= high))

    def some(self, part: np.ndarray) -> Isotherm:
        """Return some of the values."""
        curve = FreeEnergyCurve(
            self.n_particles[part],
            self.curve.beta_f_ex[part],
            self.curve.covariance[np.ix_(part, part)],
            self.box_length_sigma,
        )
        return Isotherm(curve, self.beta_p_ex[part], self.p_errors[part])

    def drawn(self, scale: float, rng: np.random.Generator) -> Isotherm:
        """Return values that are drawn anew within their errors, times the root of `scale`."""
        covariance = scale * self.curve.covariance
        values = rng.multivariate_normal(self.curve.beta_f_ex, covariance, method="cholesky")
        curve = FreeEnergyCurve(
            self.n_particles, values, self.curve.covariance, self.box_length_sigma
        )
        noise = rng.normal(size=len(values)) * scale**0.5
        pressures = np.where(self.has_pressure, self.beta_p_ex + noise * self.p_errors, np.nan)
        return Isotherm(curve, pressures, self.p_errors)
