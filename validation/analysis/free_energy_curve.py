"""`FreeEnergyCurve`: beta F_ex at several N in one box, with the covariance of the values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openmm_nti.free_energy import FreeEnergy


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
        If shapes disagree, N does not ascend from 2 or more, the covariance is not symmetric and
        positive definite, or the box has no length.
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
                f"covariance of shape {self.covariance.shape}: expected (K,), (K,) and (K, K), "
                "K at least 1"
            )
        if self.n_particles[0] < 2 or not (np.diff(self.n_particles) > 0).all():
            raise ValueError(
                f"n_particles = {self.n_particles.tolist()} must ascend from 2 or more"
            )
        if not np.isfinite(self.beta_f_ex).all():
            raise ValueError("beta_f_ex holds NaN or infinity: leave those N out")
        if not 0 < self.box_length_sigma < math.inf:
            raise ValueError(f"box_length_sigma = {self.box_length_sigma} must be a length above 0")
        finite = np.isfinite(self.covariance).all()
        if not (finite and np.allclose(self.covariance, self.covariance.T)):
            raise ValueError("the covariance is not symmetric, or holds NaN: leave those N out")
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
        """Return the curve of independent estimates of beta F_ex in one box, in any order.

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
        """Return the curve at n = 2, ..., N of a `bar_chain` estimate, with its covariance.

        Raises
        ------
        ValueError
            For another method, or a chain in which insertions failed.
        """
        is_chain = "neighbour_correlation" in estimate.diagnostics
        if not is_chain or not math.isfinite(estimate.std_err):
            raise ValueError(f"{estimate}: a bar_chain estimate with an error bar is needed")
        facts = estimate.diagnostics
        values, errors = np.array(facts["beta_mu_ex"]), np.array(facts["beta_mu_ex_std_err"])
        neighbours = np.array(facts["neighbour_correlation"]) * errors[1:] * errors[:-1]
        steps = np.diag(errors**2) + np.diag(neighbours, 1) + np.diag(neighbours, -1)
        covariance = steps.cumsum(axis=0).cumsum(axis=1)
        return cls(np.arange(2, len(values) + 2), values.cumsum(), covariance, box_length_sigma)

    def at_every_n(self) -> tuple[np.ndarray, np.ndarray]:
        """Return beta F_ex (M + 1,) and covariance (M + 1, M + 1) at N = 0, ..., M.

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
