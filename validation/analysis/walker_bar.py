"""Bennett's acceptance ratio from the works of independent walkers, with its bootstrap.

The formula holds at any constant C, so the bootstrap leaves C as found: all that a walker adds to
the two averages is a weight each. `bar_chain` has the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp

from openmm_nti.validation.analysis.regression import require_finite

HIGHEST = 1e6  # kT; beyond any that counts, and finite in float32
_N_BOOTSTRAP = 400


@dataclass(frozen=True, eq=False)
class Step:
    """The chemical potential of one step, and what each walker adds to the two averages.

    Attributes
    ----------
    value
        beta mu_ex, kT.
    insertion_weights, removal_weights
        What each walker adds to the averages at the constant C, up to common factors. Shape
        (walkers,).
    overlap
        Of the works of insertions and removals: 0 for none, 1 for the same.
    """

    value: float
    insertion_weights: np.ndarray
    removal_weights: np.ndarray
    overlap: float


def solve(insertions: np.ndarray, removals: np.ndarray) -> Step:
    """Return the solution of Bennett's equation for works of shape (walkers, works), kT.

    Raises
    ------
    ValueError
        If a work is not finite, no insertion fits, all removals have the same work, or there are
        fewer than two walkers.
    """
    advice = "look for overlapping particles in the Monte Carlo"
    require_finite("insertion chain", advice, insertion_works=insertions, removal_works=removals)
    if min(len(insertions), len(removals)) < 2:
        raise ValueError("insertion chain: one walker gives no error: take n_walkers of 8 or more")
    if not insertions.min() < HIGHEST:
        raise ValueError(
            f"all {insertions.size} insertions coincide with a particle: raise n_insertions"
        )
    if np.ptp(removals) == 0 and removals.flat[0] != 0:  # zero: no two particles were near
        raise ValueError(
            f"insertion chain: all {removals.size} removals have the work {removals.flat[0]:g} kT, "
            "so nothing was sampled: raise sweeps_between"
        )
    log_ratio = math.log(insertions.size / removals.size)

    def imbalance(constant: float) -> float:
        return _log_mean(insertions - constant) - _log_mean(constant - removals) + log_ratio

    constant = _root(imbalance)
    value = constant + log_ratio
    return Step(
        value=value,
        insertion_weights=_walker_weights(insertions - constant),
        removal_weights=_walker_weights(constant - removals),
        overlap=2 * math.exp(min(_log_mean(insertions - value), _log_mean(value - removals))),
    )


def _root(rising: Callable[[float], float]) -> float:
    low, high = -1.0, 1.0
    while rising(low) > 0:
        low *= 2
    while rising(high) < 0:
        high *= 2
    return float(brentq(rising, low, high, xtol=1e-10))


def _log_fermi(x: np.ndarray) -> np.ndarray:
    """Return ln f(x) = -ln(1 + exp(x)), which stays finite where no insertion fits."""
    return -np.logaddexp(0.0, x)


def _log_mean(x: np.ndarray) -> float:
    """Return ln <f(x)> over all works."""
    return float(logsumexp(_log_fermi(x))) - math.log(x.size)


def _walker_weights(x: np.ndarray) -> np.ndarray:
    """Return <f(x)> of each walker, the largest as 1. Shape (walkers,)."""
    logs = logsumexp(_log_fermi(x), axis=1)
    return np.maximum(np.exp(logs - logs.max()), np.finfo(float).tiny)


def bootstrap(steps: Sequence[Step], rng: np.random.Generator) -> np.ndarray:
    """Return beta mu_ex of each step for walkers drawn anew, up to a constant, (draws, N - 1)."""
    n_walkers = len(steps[0].insertion_weights)
    even = np.full(n_walkers, 1 / n_walkers)
    resampled = np.empty((_N_BOOTSTRAP, len(steps)))
    drawn = rng.multinomial(n_walkers, even, size=_N_BOOTSTRAP)
    for index, step in enumerate(steps):
        following = rng.multinomial(n_walkers, even, size=_N_BOOTSTRAP)
        resampled[:, index] = np.log(following @ step.removal_weights) - np.log(
            drawn @ step.insertion_weights
        )
        drawn = following
    return resampled


def neighbour_correlation(resampled: np.ndarray) -> np.ndarray:
    """Return the correlation of each step with the next, 0 where one never changes, (N - 2,)."""
    deviations = resampled - resampled.mean(axis=0)
    size = np.sqrt((deviations**2).sum(axis=0))
    deviations /= np.where(size > 0, size, 1.0)
    return np.asarray((deviations[:, 1:] * deviations[:, :-1]).sum(axis=0))


def effective_number(weights: np.ndarray) -> float:
    """Return how many samples, yes or no, would have the relative error of the mean weight."""
    variance = float(weights.var(ddof=1))
    return math.inf if variance == 0 else len(weights) * float(weights.mean()) ** 2 / variance
