"""`Phase`: one peak of p(N); and `Window`: which N the peaks of vapour and liquid cover."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp

from openmm_nti.validation.phases.branch import Branch

_WIDTH = 4.0  # standard deviations of N that belong to a peak
_DENSER = 6.0  # the same, where the liquid ends
_LARGEST_BETA_MU = 50.0


@dataclass(frozen=True, eq=False)
class Phase:
    """One phase: N in its box (M,), and their ln p(N) up to a constant that both phases share."""

    numbers: np.ndarray
    log_p: np.ndarray

    @property
    def log_weight(self) -> float:
        """ln of the sum of p(N)."""
        return float(logsumexp(self.log_p))

    @property
    def mean(self) -> float:
        """Mean N."""
        return float(np.exp(self.log_p - self.log_weight) @ self.numbers)

    @property
    def spread(self) -> float:
        """Standard deviation of N."""
        share = np.exp(self.log_p - self.log_weight)
        return math.sqrt(float(share @ (self.numbers - self.mean) ** 2))

    @property
    def valley(self) -> int:
        """N of the least p(N) below the peak, where p(N) rises again towards fewer N; else 0."""
        least = int(np.argmin(self.log_p[: int(np.argmax(self.log_p)) + 1]))
        return int(self.numbers[least]) if least > 0 else 0

    @property
    def edges(self) -> tuple[float, float]:
        """p(N) at the least and the largest N over that of the peak."""
        first, last = np.exp(self.log_p[[0, -1]] - self.log_p.max())
        return float(first), float(last)


@dataclass(frozen=True)
class Window:
    """The largest N of the vapour, and the least and largest N of the liquid."""

    vapour: int
    liquid: int
    densest: int

    @classmethod
    def around(cls, vapour: Phase, liquid: Phase, between: tuple[int, int]) -> Window:
        """Return the window of two peaks: the vapour up to one N, the liquid from another."""
        return cls(
            min(math.ceil(vapour.mean + _WIDTH * vapour.spread), between[0]),
            max(math.floor(liquid.mean - _WIDTH * liquid.spread), between[1], liquid.valley),
            math.ceil(liquid.mean + _DENSER * liquid.spread),
        )

    @classmethod
    def first(cls, fit: Branch, last: int) -> Window | None:
        """Return the window by one fit for both phases; None where p(N) has a single peak."""
        numbers = np.arange(last + 1)
        base = log_weights(numbers, fit)
        middle = _middle_of_the_loop(-np.diff(base))
        if middle is None:
            return None
        parts = [Phase(numbers[part], base[part]) for part in (slice(middle), slice(middle, None))]
        found = at_equal_weight(parts[0], parts[1])
        return None if found is None else cls.around(found[1], found[2], (middle - 1, middle))

    @property
    def words(self) -> tuple[str, str]:
        """Where values of either phase are looked for."""
        return f"from 2 to {self.vapour}", f"from {self.liquid} to {self.densest}"


def log_weights(numbers: np.ndarray, fit: Branch) -> np.ndarray:
    """Return ln of V^N / N! exp(-beta F_ex(N)) at each N, (M,)."""
    log_volume = math.log(fit.volume)
    return np.asarray(numbers * log_volume - gammaln(numbers + 1) - fit.values(numbers))


def at_equal_weight(vapour: Phase, liquid: Phase) -> tuple[float, Phase, Phase] | None:
    """Return beta mu at which two phases weigh the same, and both there.

    `log_p` of the arguments is at beta mu = 0. None where there is no such potential.
    """

    def at(beta_mu: float) -> tuple[Phase, Phase]:
        few, many = (one.log_p + one.numbers * beta_mu for one in (vapour, liquid))
        return Phase(vapour.numbers, few), Phase(liquid.numbers, many)

    def excess(beta_mu: float) -> float:
        few, many = at(beta_mu)
        return many.log_weight - few.log_weight

    if not excess(-_LARGEST_BETA_MU) < 0 < excess(_LARGEST_BETA_MU):
        return None
    beta_mu = float(brentq(excess, -_LARGEST_BETA_MU, _LARGEST_BETA_MU, xtol=1e-12))
    return beta_mu, *at(beta_mu)


def _middle_of_the_loop(potential: np.ndarray) -> int | None:
    """Return the N in the middle of where the potential of the next particle falls, if it does.

    Of several falls it is the longest: a fit may ripple elsewhere.
    """
    falls = np.flatnonzero(np.diff(potential) < 0)
    if not len(falls):
        return None
    runs = np.split(falls, np.flatnonzero(np.diff(falls) > 1) + 1)
    longest = max(runs, key=len)
    return (int(longest[0]) + int(longest[-1]) + 1) // 2
