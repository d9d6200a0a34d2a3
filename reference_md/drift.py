"""The test for a transient that remains in many series at once.

A transient may lie far below the noise of each series and still show in their sum, when all of them
change the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtr

from openmm_nti.reference_md.statistics import finite, is_constant, within_fences


@dataclass(frozen=True)
class Drift:
    """The change of the means of several series from the first to the last quarter of their chains.

    Attributes
    ----------
    change, std_err
        Change of the weighted sum of means, last quarter minus first, and its standard error from
        the spread of the chains.
    z
        `change` as a standard normal deviate, converted from Student's t.
    worst
        Index of the series whose change is largest in units of its own error.
    worst_z
        Deviate of that series, corrected for the number of series: 0 where the largest change of
        so many is nothing unusual.
    chance
        Probability that stationary data have a sum, or a series, with so large a deviate.
    """

    change: float
    std_err: float
    z: float
    worst: int
    worst_z: float
    chance: float


def drift(series: np.ndarray, chain: np.ndarray, weights: np.ndarray) -> Drift | None:
    """Compare the last quarter of every chain with its first, for all series together and singly.

    Values outside Tukey's fences are moved onto them: a transient that begins with a few enormous
    values would hide in their scatter. For the same reason the error comes from the scatter of the
    chains in their later half, when a transient is over. A single chain has no scatter. Then the
    error of the sum comes from the changes of the series, and no series is judged alone.

    Parameters
    ----------
    series
        Samples in the order of time, of K independent series. Shape (K, n).
    chain
        Independent chain of each sample, the same in every series. Shape (n,).
    weights
        Weight of each series' mean in the sum. Shape (K,).

    Returns
    -------
    Drift or None
        None where a chain has only one sample.
    """
    if np.unique(chain, return_counts=True)[1].min() < 2:
        return None
    first, third, last = _quarters(within_fences(finite(series)), chain)
    changes = (last - first).mean(axis=1)
    n_chains = last.shape[1]
    variances = changes**2
    if n_chains > 1:
        variances = (third.var(axis=1, ddof=1) + last.var(axis=1, ddof=1)) / n_chains
    freedom = max(1, n_chains - 1)
    shares = weights**2 * variances
    total = float(weights @ changes)
    total_error = float(np.sqrt(shares.sum()))
    # Welch and Satterthwaite: series of unequal scatter have fewer degrees of freedom together than
    # their number.
    pooled = freedom * shares.sum() ** 2 / (shares**2).sum() if total_error > 0 else freedom
    chance_of_sum = float(_two_sided(np.array([total]), np.array([total_error]), pooled)[0])
    chances = _two_sided(changes, np.sqrt(variances), freedom)
    worst = int(chances.argmin())
    chance_of_worst = min(1.0, float(chances[worst]) * len(changes))
    return Drift(
        change=total,
        std_err=total_error,
        z=_deviate(chance_of_sum, total),
        worst=worst,
        worst_z=_deviate(chance_of_worst, float(changes[worst])),
        chance=min(1.0, 2 * min(chance_of_sum, chance_of_worst)),
    )


def later_half(chain: np.ndarray) -> np.ndarray:
    """Return which samples belong to the later half of their chain: (n,) as `chain`, bool."""
    chosen = np.zeros(len(chain), dtype=bool)
    for label in np.unique(chain):
        members = np.flatnonzero(chain == label)
        chosen[members[len(members) // 2 :]] = True
    return chosen


def _quarters(series: np.ndarray, chain: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the means of the first, third and last quarter of each chain. Shapes (K, chains)."""
    means = []
    for label in np.unique(chain):
        samples = series[:, chain == label]
        size = max(1, samples.shape[1] // 4)
        parts = samples[:, :size], samples[:, -2 * size : -size], samples[:, -size:]
        means.append([part.mean(axis=1) for part in parts])
    # The means of a constant series differ by rounding alone.
    constant = np.array([is_constant(values) for values in series])
    first, third, last = np.where(constant, 0.0, np.array(means)).transpose(1, 2, 0)
    return first, third, last


def _two_sided(changes: np.ndarray, errors: np.ndarray, freedom: float) -> np.ndarray:
    """Return the probability of so large changes by Student's t; 1 for no change at all."""
    t = np.divide(np.abs(changes), errors, out=np.full(len(changes), np.inf), where=errors > 0)
    return np.where(changes == 0, 1.0, 2 * stdtr(freedom, -t))


def _deviate(chance: float, sign: float) -> float:
    """Return the normal deviate of a two-sided probability, with the sign of `sign`."""
    return float(np.copysign(ndtri(max(chance, 1e-300) / 2), sign)) if chance < 1 else 0.0
