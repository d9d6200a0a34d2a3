r"""Chemical potential, p(N) and mean density, from beta F_ex(N) in one box.

The chemical potential is counted from the ideal gas at one particle per sigma^3,

.. math:: \beta\mu = \ln(\rho \sigma^3) + \beta\mu_{ex}, \qquad
          \beta\mu_{ex}(N) = \beta F_{ex}(N + 1) - \beta F_{ex}(N),

and a box that exchanges particles with a reservoir at mu holds N of them with the probability

.. math:: p(N) \propto \frac{(V / \sigma^3)^N}{N!} \exp(N \beta\mu - \beta F_{ex}(N)), \qquad
          F_{ex}(0) = F_{ex}(1) = 0 .

Between the N that were computed, a polynomial

.. math:: \beta F_{ex}(N) = N \sum_{k=1}^{d} c_k x^k, \qquad x = (N - 1) \sigma^3 / V

interpolates: a virial series in the density of the others, for N particles have N (N - 1) / 2
pairs. It is exactly zero for one particle. Standard errors are propagated from the covariance of
the computed values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import gammaln, logsumexp

from openmm_nti.validation.analysis.free_energy_curve import FreeEnergyCurve

__all__ = [
    "PAPER_OFFSET",
    "CurveFit",
    "FreeEnergyCurve",
    "chemical_potential_by_differences",
    "fit_curve",
    "mean_density",
    "number_distribution",
    "to_paper_axis",
]

# Mate, Fleuret and Bereau count mu in their own units: ln(rho sigma^3) + beta mu_ex = beta mu_paper
# + this number.
PAPER_OFFSET = 25.013
_LARGEST_DEGREE = 8
_CUT_OFF = 1e-3  # of the largest p(N): what the last N may hold


@dataclass(frozen=True, eq=False)
class CurveFit:
    """A polynomial for beta F_ex(N), as in the module docstring.

    Attributes
    ----------
    coefficients
        c_k for k = 1, ..., d. Shape (d,), sigma^(3 k).
    covariance
        Of the coefficients; scaled by chi^2 / dof where that is above 1. Shape (d, d).
    box_length_sigma
        Edge of the box, sigma.
    chi_squared
        Weighted sum of squared residuals.
    n_degrees_of_freedom
        Computed values less coefficients.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    box_length_sigma: float
    chi_squared: float
    n_degrees_of_freedom: int

    @property
    def degree(self) -> int:
        """Highest power of the density, d."""
        return len(self.coefficients)

    def beta_f_ex(self, n_particles: np.ndarray | Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Return beta F_ex (M,) and its covariance (M, M) at any N (M,), whole or not."""
        design = _powers(np.asarray(n_particles), self.box_length_sigma, self.degree)
        return design @ self.coefficients, design @ self.covariance @ design.T

    def chemical_potential(
        self, n_particles: np.ndarray | Sequence[float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return beta mu_ex = beta F_ex(N + 1) - beta F_ex(N) and its error at any N, (M,), kT."""
        numbers = np.asarray(n_particles, dtype=np.float64)
        after, before = (
            _powers(numbers + more, self.box_length_sigma, self.degree) for more in (1, 0)
        )
        design = after - before
        return design @ self.coefficients, _errors(design, self.covariance)


def fit_curve(curve: FreeEnergyCurve, *, largest_degree: int = _LARGEST_DEGREE) -> CurveFit:
    """Return the polynomial of the best degree, fitted by generalised least squares.

    It has the smallest corrected Akaike criterion, chi^2 + 2 d + 2 d (d + 1) / (K - d - 1) for K
    values.

    Raises
    ------
    ValueError
        If there are fewer than 3 values, or `largest_degree` is below 1.
    """
    k = len(curve.n_particles)
    if k < 3 or largest_degree < 1:
        raise ValueError(
            f"{k} values and largest_degree = {largest_degree}: at least 3 and 1 are needed for a "
            "fit"
        )
    fits = [_fit(curve, degree) for degree in range(1, min(largest_degree, k - 2) + 1)]
    return min(
        fits,
        key=lambda fit: (
            fit.chi_squared + 2 * fit.degree * (1 + (fit.degree + 1) / (k - fit.degree - 1))
        ),
    )


def chemical_potential_by_differences(
    curve: FreeEnergyCurve,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return beta mu_ex from neighbouring values of the curve.

    Between N and N' it is the mean of beta mu_ex(n) over n = N, ..., N' - 1, and so that at the
    middle of those n up to the curvature, beta mu_ex'' (N' - N)^2 / 24.

    Returns
    -------
    n_middle, value, std_err
        (N + N' - 1) / 2, beta mu_ex and its standard error. All of shape (K - 1,); kT.
    """
    n, steps = curve.n_particles, np.diff(curve.n_particles)
    design = np.diff(np.eye(len(n)), axis=0) / steps[:, None]
    return 0.5 * (n[1:] + n[:-1] - 1), design @ curve.beta_f_ex, _errors(design, curve.covariance)


def number_distribution(
    beta_f_ex: np.ndarray, covariance: np.ndarray, box_length_sigma: float, beta_mu: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return p(N) and its standard error, both (M + 1,), in a box open to a reservoir.

    Parameters
    ----------
    beta_f_ex, covariance
        beta F_ex at N = 0, ..., M and its covariance: `FreeEnergyCurve.at_every_n`, or a fit at
        those N. Shapes (M + 1,), kT, and (M + 1, M + 1), kT^2.
    box_length_sigma
        Edge of the box, sigma.
    beta_mu
        ln(rho sigma^3) + beta mu_ex of the reservoir.

    Raises
    ------
    ValueError
        If a number is not finite, or p(M) is not small: the box would hold more than M particles.
    """
    if not (np.size(beta_f_ex) and np.isfinite(beta_f_ex).all() and np.isfinite(covariance).all()):
        raise ValueError("beta_f_ex or its covariance is empty, NaN or infinite: leave those N out")
    numbers = np.arange(len(beta_f_ex))
    log_volume = 3 * math.log(box_length_sigma)
    log_p = numbers * (beta_mu + log_volume) - gammaln(numbers + 1) - beta_f_ex
    p = np.exp(log_p - logsumexp(log_p))
    if not p[-1] <= _CUT_OFF * p.max():
        raise ValueError(
            f"beta_mu = {beta_mu:g}: p(N) at the last N = {numbers[-1]} is {p[-1] / p.max():.2g} "
            "of the largest; lower beta_mu, or give beta F_ex at larger N"
        )
    slopes = p[None, :] - np.eye(len(p))  # of ln p(N) by beta F_ex
    return p, p * _errors(slopes, covariance)


def mean_density(
    beta_f_ex: np.ndarray,
    covariance: np.ndarray,
    box_length_sigma: float,
    beta_mu: np.ndarray | Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    """Return <rho> sigma^3 and its standard error at each beta_mu, all of shape (J,).

    Other parameters are those of `number_distribution`.
    """
    numbers = np.arange(len(beta_f_ex))
    means, slopes = [], []
    for value in np.asarray(beta_mu, dtype=np.float64):
        p = number_distribution(beta_f_ex, covariance, box_length_sigma, float(value))[0]
        means.append(p @ numbers)
        slopes.append(p * (means[-1] - numbers))
    volume = box_length_sigma**3
    return np.array(means) / volume, _errors(np.array(slopes) / volume, covariance)


def to_paper_axis(beta_mu: np.ndarray) -> np.ndarray:
    """Return beta mu as the paper counts it, from ln(rho sigma^3) + beta mu_ex; any shape."""
    return np.asarray(beta_mu) - PAPER_OFFSET


def _powers(numbers: np.ndarray, box_length_sigma: float, degree: int) -> np.ndarray:
    """Return N x^k for k = 1, ..., degree. Shape (M, degree), sigma^(-3 k)."""
    numbers = np.asarray(numbers, dtype=np.float64)
    density = (numbers - 1) / box_length_sigma**3
    return np.asarray(numbers[:, None] * density[:, None] ** np.arange(1, degree + 1))


def _fit(curve: FreeEnergyCurve, degree: int) -> CurveFit:
    design = _powers(curve.n_particles, curve.box_length_sigma, degree)
    coefficients, covariance, chi_squared = least_squares(design, curve.beta_f_ex, curve.covariance)
    dof = len(design) - degree
    covariance = covariance * max(1.0, chi_squared / dof)
    return CurveFit(coefficients, covariance, curve.box_length_sigma, chi_squared, dof)


def least_squares(
    design: np.ndarray, values: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return coefficients (d,), their covariance (d, d) and chi^2, by generalised least squares.

    `design` (K, d) is what the d functions are where the values (K,) are, of covariance (K, K).
    """
    root = np.linalg.cholesky(covariance)
    white, target = (solve_triangular(root, matrix, lower=True) for matrix in (design, values))
    scales = np.linalg.norm(
        white, axis=0
    )  # powers of a density under 1 differ by orders of magnitude
    u, s, vt = np.linalg.svd(white / scales, full_matrices=False)
    back = (vt.T / s) / scales[:, None]
    coefficients = back @ (u.T @ target)
    return coefficients, back @ back.T, float(((target - white @ coefficients) ** 2).sum())


def _errors(design: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return standard errors of design @ values, (M,); rounding below 0 counts as 0."""
    return np.asarray(
        np.sqrt(np.maximum(np.einsum("mi,ij,mj->m", design, covariance, design), 0.0))
    )
