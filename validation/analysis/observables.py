r"""From beta F_ex(N) in one box to what experiments and other simulations report: mu(rho), p(N),
<rho>(mu).

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

from openmm_nti.free_energy import FreeEnergy

# Mate, Fleuret and Bereau count mu in units of their own; ln(rho sigma^3) + beta mu_ex = beta
# mu_paper + this.
PAPER_OFFSET = 25.013
_LARGEST_DEGREE = 8
_CUT_OFF = 1e-3  # of the largest p(N): what the last N may hold


@dataclass(frozen=True, eq=False)
class FreeEnergyCurve:
    """beta F_ex at several N in one box.

    Attributes
    ----------
    n_particles
        N >= 2, ascending. Shape (K,), integer.
    beta_f_ex
        Shape (K,), kT.
    covariance
        Of `beta_f_ex`. Shape (K, K), kT^2.
    box_length_sigma
        Edge of the box, sigma.

    Raises
    ------
    ValueError
        If shapes disagree, N does not ascend from 2 or more, or the covariance is not positive
        definite.
    """

    n_particles: np.ndarray
    beta_f_ex: np.ndarray
    covariance: np.ndarray
    box_length_sigma: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_particles", np.asarray(self.n_particles, dtype=np.int64))
        for name in ("beta_f_ex", "covariance"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        k = self.n_particles.size
        if not k or self.beta_f_ex.shape != (k,) or self.covariance.shape != (k, k):
            raise ValueError(
                f"{k} numbers of particles, beta_f_ex of shape {self.beta_f_ex.shape} and "
                "covariance of shape "
                f"{self.covariance.shape}: expected (K,), (K,) and (K, K), K at least 1"
            )
        if self.n_particles[0] < 2 or not (np.diff(self.n_particles) > 0).all():
            raise ValueError(
                f"n_particles = {self.n_particles.tolist()} must ascend from 2 or more"
            )
        try:
            np.linalg.cholesky(self.covariance)
        except np.linalg.LinAlgError as error:
            raise ValueError(
                "the covariance is not positive definite: each value needs an error above 0"
            ) from error

    @classmethod
    def from_estimates(
        cls, estimates: Sequence[FreeEnergy], box_length_sigma: float
    ) -> FreeEnergyCurve:
        """The curve of independent estimates of beta F_ex in one box, in any order.

        Raises
        ------
        ValueError
            If one is of another quantity, has no error bar, or conventions differ.
        """
        ordered = sorted(estimates, key=lambda estimate: estimate.n_particles)
        if len({estimate.convention for estimate in ordered}) > 1:
            raise ValueError(
                "the estimates differ in convention: their free energies are of different fluids"
            )
        for estimate in ordered:
            if estimate.quantity != "beta_f_ex" or not math.isfinite(estimate.std_err):
                raise ValueError(
                    f"{estimate} at N = {estimate.n_particles}: beta_f_ex with an error bar is "
                    "needed"
                )
        numbers = np.array([estimate.n_particles for estimate in ordered])
        values = np.array([estimate.value for estimate in ordered])
        variances = np.array([estimate.std_err**2 for estimate in ordered])
        return cls(numbers, values, np.diag(variances), box_length_sigma)

    @classmethod
    def from_chain(cls, estimate: FreeEnergy, box_length_sigma: float) -> FreeEnergyCurve:
        """The curve at every n = 2, ..., N of a `bar_chain` estimate, with the covariance of its
        sums.

        Raises
        ------
        ValueError
            For another method, or a chain in which insertions failed.
        """
        if estimate.method != "bar_chain" or not math.isfinite(estimate.std_err):
            raise ValueError(f"{estimate}: a bar_chain estimate with an error bar is needed")
        facts = estimate.diagnostics
        values, errors = np.array(facts["beta_mu_ex"]), np.array(facts["beta_mu_ex_std_err"])
        neighbours = np.array(facts["neighbour_correlation"]) * errors[1:] * errors[:-1]
        steps = np.diag(errors**2) + np.diag(neighbours, 1) + np.diag(neighbours, -1)
        covariance = steps.cumsum(axis=0).cumsum(axis=1)
        return cls(np.arange(2, len(values) + 2), values.cumsum(), covariance, box_length_sigma)

    def at_every_n(self) -> tuple[np.ndarray, np.ndarray]:
        """Beta F_ex (M + 1,) and covariance (M + 1, M + 1) at N = 0, ..., M.

        Raises
        ------
        ValueError
            If an N between 2 and M is missing: `fit_curve` fills gaps.
        """
        last = int(self.n_particles[-1])
        if len(self.n_particles) != last - 1:
            raise ValueError(
                f"{len(self.n_particles)} of N = 2 to {last} are there: take "
                "fit_curve(...).beta_f_ex(N)"
            )
        values, covariance = np.zeros(last + 1), np.zeros((last + 1, last + 1))
        values[2:], covariance[2:, 2:] = self.beta_f_ex, self.covariance
        return values, covariance


@dataclass(frozen=True, eq=False)
class CurveFit:
    """The polynomial of the module docstring.

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
        """Beta F_ex (M,) and its covariance (M, M) at any N (M,), whole or not."""
        design = _powers(np.asarray(n_particles), self.box_length_sigma, self.degree)
        return design @ self.coefficients, design @ self.covariance @ design.T

    def chemical_potential(
        self, n_particles: np.ndarray | Sequence[float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Beta mu_ex = beta F_ex(N + 1) - beta F_ex(N) and its standard error at any N. All of
        shape (M,), kT.
        """
        numbers = np.asarray(n_particles, dtype=np.float64)
        after, before = (
            _powers(numbers + more, self.box_length_sigma, self.degree) for more in (1, 0)
        )
        design = after - before
        return design @ self.coefficients, _errors(design, self.covariance)


def fit_curve(curve: FreeEnergyCurve, *, largest_degree: int = _LARGEST_DEGREE) -> CurveFit:
    """Fit the polynomial by generalised least squares, of the degree with the smallest corrected
    Akaike criterion,

    chi^2 + 2 d + 2 d (d + 1) / (K - d - 1) for K values.

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
    """Beta mu_ex from neighbouring values of the curve.

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
    """p(N) and its standard error, both of shape (M + 1,), in a box open to a reservoir.

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
        If p(M) is not small: the box would hold more than M particles.
    """
    numbers = np.arange(len(beta_f_ex))
    log_volume = 3 * math.log(box_length_sigma)
    log_p = numbers * (beta_mu + log_volume) - gammaln(numbers + 1) - beta_f_ex
    p = np.exp(log_p - logsumexp(log_p))
    if p[-1] > _CUT_OFF * p.max():
        raise ValueError(
            f"beta_mu = {beta_mu:g}: p(N) at the last N = {numbers[-1]} is {p[-1] / p.max():.2g} "
            "of the largest; "
            "lower beta_mu, or give beta F_ex at larger N"
        )
    slopes = p[None, :] - np.eye(len(p))  # of ln p(N) by beta F_ex
    return p, p * _errors(slopes, covariance)


def mean_density(
    beta_f_ex: np.ndarray,
    covariance: np.ndarray,
    box_length_sigma: float,
    beta_mu: np.ndarray | Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    """<rho> sigma^3 and its standard error at each beta_mu (J,), both of shape (J,); else as
    `number_distribution`.
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
    """Beta mu as the paper counts it, from ln(rho sigma^3) + beta mu_ex; any shape."""
    return np.asarray(beta_mu) - PAPER_OFFSET


def _powers(numbers: np.ndarray, box_length_sigma: float, degree: int) -> np.ndarray:
    """N x^k for k = 1, ..., degree. Shape (M, degree), sigma^(-3 k)."""
    numbers = np.asarray(numbers, dtype=np.float64)
    density = (numbers - 1) / box_length_sigma**3
    return np.asarray(numbers[:, None] * density[:, None] ** np.arange(1, degree + 1))


def _fit(curve: FreeEnergyCurve, degree: int) -> CurveFit:
    design = _powers(curve.n_particles, curve.box_length_sigma, degree)
    root = np.linalg.cholesky(curve.covariance)
    white, target = (
        solve_triangular(root, matrix, lower=True) for matrix in (design, curve.beta_f_ex)
    )
    scales = np.linalg.norm(
        white, axis=0
    )  # powers of a density under 1 differ by orders of magnitude
    u, s, vt = np.linalg.svd(white / scales, full_matrices=False)
    back = (vt.T / s) / scales[:, None]
    coefficients = back @ (u.T @ target)
    chi_squared = float(((target - white @ coefficients) ** 2).sum())
    dof = len(target) - degree
    covariance = back @ back.T * max(1.0, chi_squared / dof)
    return CurveFit(coefficients, covariance, curve.box_length_sigma, chi_squared, dof)


def _errors(design: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Standard errors of design @ values; the largest of rounding and 0. Shape (M,)."""
    return np.asarray(
        np.sqrt(np.maximum(np.einsum("mi,ij,mj->m", design, covariance, design), 0.0))
    )
