"""Bennett's acceptance ratio from the works of independent walkers, and its error by drawing the
walkers anew.

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

HIGHEST = 1e6  # kT; beyond any that counts, and finite in float32
_N_BOOTSTRAP = 400


@dataclass(frozen=True, eq=False)
class Step:
    """beta mu_ex of one step, and what each walker adds to the two averages at its C, up to common
    factors.
    """

    value: float
    insertion_weights: np.ndarray
    removal_weights: np.ndarray
    overlap: float


def solve(insertions: np.ndarray, removals: np.ndarray) -> Step:
    """Solve Bennett's equation for one step. Shapes (walkers, works), kT."""
    if insertions.min() >= HIGHEST:
        raise ValueError(
            f"all {insertions.size} insertions coincide with a particle: raise n_insertions"
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
    """Ln f(x) = -ln(1 + exp(x)), which stays finite where no insertion fits."""
    return -np.logaddexp(0.0, x)


def _log_mean(x: np.ndarray) -> float:
    """Ln <f(x)> over all works."""
    return float(logsumexp(_log_fermi(x))) - math.log(x.size)


def _walker_weights(x: np.ndarray) -> np.ndarray:
    """<f(x)> of each walker, the largest as 1. Shape (walkers,)."""
    logs = logsumexp(_log_fermi(x), axis=1)
    return np.maximum(np.exp(logs - logs.max()), np.finfo(float).tiny)


def bootstrap(steps: Sequence[Step], seed: int) -> np.ndarray:
    """Beta mu_ex of each step for ensembles of walkers drawn anew, up to a constant. Shape (draws,
    N - 1), kT.
    """
    rng = np.random.default_rng(seed)
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
    """Correlation of each step with the next. Shape (N - 2,)."""
    deviations = resampled - resampled.mean(axis=0)
    deviations /= np.sqrt((deviations**2).sum(axis=0))
    return np.asarray((deviations[:, 1:] * deviations[:, :-1]).sum(axis=0))


def effective_number(weights: np.ndarray) -> float:
    """Independent samples, yes or no, that would give the mean of the walkers' weights its relative
    error.
    """
    variance = float(weights.var(ddof=1))
    return len(weights) * float(weights.mean()) ** 2 / variance if variance > 0 else math.inf
