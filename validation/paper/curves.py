"""The curves of Figs 4 and 5: one smooth F(N) for each method, mu_ex(rho), p(N) and <rho>(mu).

The reference is the insertion chain, which shares nothing with the model, up to where insertions
fail. Beyond it, at each N, it is the best exact estimate (see `report.judge`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag

from openmm_nti.free_energy import FreeEnergy
from openmm_nti.validation.analysis.observables import (
    PAPER_OFFSET,
    CurveFit,
    FreeEnergyCurve,
    fit_curve,
    mean_density,
    number_distribution,
)
from openmm_nti.validation.estimators.registry import sections
from openmm_nti.validation.report.judge import best_exact, is_usable

Estimates = Mapping[int, Mapping[str, FreeEnergy]]  # of beta F_ex, by N and method
REFERENCE = "reference"
_DENSITIES = (0.1, 0.9)  # rho*: where mu_ex of a method is held against the reference
_FEWEST = 4  # estimates that a fit needs to say something


@dataclass(frozen=True, eq=False)
class MethodCurve:
    """The fit to one method's beta F_ex(N), and beta F_ex and its covariance at N = 0, ..., M."""

    fit: CurveFit
    n: np.ndarray
    beta_f_ex: np.ndarray
    covariance: np.ndarray

    @property
    def density(self) -> np.ndarray:
        """rho* of `n`."""
        return np.asarray(self.n / self.fit.box_length_sigma**3)

    def chemical_potential(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return N, beta mu_ex(N) and its standard error for N = 1, ..., M - 1."""
        numbers = self.n[1:-1]
        return numbers, *self.fit.chemical_potential(numbers)


def curve_methods() -> list[str]:
    """Return the methods of beta F_ex that have a curve: the first of each section with a model."""
    leading = [of_section[0] for of_section in sections().values()]
    return [known.name for known in leading if known.needs_model and known.quantity == "beta_f_ex"]


def reference_curve(
    estimates: Estimates, chain: FreeEnergy | None, box_length_sigma: float
) -> FreeEnergyCurve | None:
    """Return the insertion chain and the best exact estimates beyond it; None without any."""
    parts = [FreeEnergyCurve.from_chain(chain, box_length_sigma)] if chain is not None else []
    last = chain.n_particles if chain is not None else 1
    beyond = [
        best
        for n, found in estimates.items()
        if n > last and (best := best_exact(found)) is not None
    ]
    if beyond:
        parts.append(FreeEnergyCurve.from_estimates(beyond, box_length_sigma))
    if not parts:
        return None
    return FreeEnergyCurve(
        np.concatenate([part.n_particles for part in parts]),
        np.concatenate([part.beta_f_ex for part in parts]),
        block_diag(*[part.covariance for part in parts]),
        box_length_sigma,
    )


def fitted_curves(
    estimates: Estimates, chain: FreeEnergy | None, box_length_sigma: float
) -> dict[str, MethodCurve]:
    """Return fits by the name of the method, `reference` first, from enough estimates."""
    curves = {REFERENCE: reference_curve(estimates, chain, box_length_sigma)}
    for method in curve_methods():
        found = [by_method[method] for by_method in estimates.values() if method in by_method]
        found = [one for one in found if is_usable(one)]
        curves[method] = FreeEnergyCurve.from_estimates(found, box_length_sigma) if found else None
    fitted = {}
    for name, curve in curves.items():
        if curve is not None and len(curve.n_particles) >= _FEWEST:
            fit, numbers = fit_curve(curve), np.arange(int(curve.n_particles[-1]) + 1)
            fitted[name] = MethodCurve(fit, numbers, *fit.beta_f_ex(numbers))
    return fitted


def p_of_n(curve: MethodCurve, beta_mu_paper: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Return p(N) and its error; None where the box would hold more than the curve knows."""
    box = curve.fit.box_length_sigma
    try:
        return number_distribution(
            curve.beta_f_ex, curve.covariance, box, beta_mu_paper + PAPER_OFFSET
        )
    except ValueError:
        return None


def mean_number(curve: MethodCurve, beta_mu_paper: float) -> tuple[float, float] | None:
    """Return <N> and its error; None as in `p_of_n`."""
    density = densities(curve, [beta_mu_paper])
    volume = curve.fit.box_length_sigma**3
    return (
        None
        if math.isnan(density[0][0])
        else (float(density[0][0]) * volume, float(density[1][0]) * volume)
    )


def densities(
    curve: MethodCurve, beta_mu_paper: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return <rho> sigma^3 and its error at chemical potentials of the paper's axis.

    They are NaN where `p_of_n` is None.
    """
    found = []
    for value in beta_mu_paper:
        try:
            density, error = mean_density(
                curve.beta_f_ex,
                curve.covariance,
                curve.fit.box_length_sigma,
                [float(value) + PAPER_OFFSET],
            )
            found.append((float(density[0]), float(error[0])))
        except ValueError:
            found.append((math.nan, math.nan))
    means, errors = np.array(found).reshape(-1, 2).T
    return means, errors


def rms_deviation(curve: MethodCurve, reference: MethodCurve) -> tuple[float, float, float] | None:
    """Return how far beta mu_ex is from the reference's over 0.1 <= rho* <= 0.9, in kT.

    First the RMS difference, then what the errors of both would make of it, then the last rho* of
    the comparison, which is less than 0.9 where the reference does not reach so far. None where
    there is nothing to compare.
    """
    n, value, error = curve.chemical_potential()
    other, other_value, other_error = reference.chemical_potential()
    shared = min(len(n), len(other))
    density = n[:shared] / curve.fit.box_length_sigma**3
    inside = (density >= _DENSITIES[0]) & (density <= _DENSITIES[1])
    if not inside.any():
        return None
    difference = (value[:shared] - other_value[:shared])[inside]
    variance = (error[:shared] ** 2 + other_error[:shared] ** 2)[inside]
    last = float(density[inside][-1])
    return float(np.sqrt((difference**2).mean())), float(np.sqrt(variance.mean())), last


def density_of_minimum(
    curve: MethodCurve, rng: np.random.Generator, n_draws: int = 400
) -> tuple[float, float]:
    """Return rho* at which beta mu_ex is smallest, and its standard error.

    The error is the spread over coefficients drawn from their covariance.
    """
    fit, box = curve.fit, curve.fit.box_length_sigma
    numbers = np.linspace(1, curve.n[-1] - 1, 1001)
    powers = np.arange(1, fit.degree + 1)
    after, before = (
        (numbers + more)[:, None] * ((numbers + more - 1)[:, None] / box**3) ** powers
        for more in (1, 0)
    )
    drawn = rng.multivariate_normal(fit.coefficients, fit.covariance, size=n_draws, method="eigh")
    places = numbers[((after - before) @ drawn.T).argmin(axis=0)] / box**3
    best = numbers[((after - before) @ fit.coefficients).argmin()] / box**3
    return float(best), float(places.std(ddof=1))
