"""Equilibration, decorrelation and error bars of correlated series.

The statistical inefficiency is g = 1 + 2 sum_t (1 - t/n) C(t), with C the normalised
autocorrelation function: n correlated samples are worth n / g independent ones. Equilibration ends
where n / g of what is left is largest (Chodera, J. Chem. Theory Comput. 12, 1799 (2016)).

Where chains start independently, a series has the shape (chains, n). C is then taken around the
mean of all chains, so chains that disagree give a large g.

A remaining transient is looked for in many series at once (`drift`). It may lie far below the noise
of each series and still show in their sum, when all of them change the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtr

from openmm_nti.runtime.quiet import dropped_messages

with dropped_messages({"pymbar.timeseries": "", "pymbar.mbar_solvers": ""}):  # two banners
    from pymbar import timeseries

MIN_CHAINS = 8  # fewer chains than this say too little about the error of their mean
_EQUILIBRATION_TRIALS = 50


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


def equilibration(series: np.ndarray) -> int:
    """Return how many samples to discard from the start of each chain; 0 for a constant series.

    Parameters
    ----------
    series
        Samples in the order of time. Shape (n,) or (chains, n).
    """
    chains = np.atleast_2d(_finite(series))
    n = chains.shape[1]
    trials = np.arange(0, max(1, n - 1), max(1, n // _EQUILIBRATION_TRIALS))
    n_eff = [(n - t0) / statistical_inefficiency(chains[:, t0:]) for t0 in trials]
    return int(trials[np.argmax(n_eff)])


def statistical_inefficiency(series: np.ndarray) -> float:
    """Return the statistical inefficiency g >= 1 of a stationary series; 1 for a constant one.

    Parameters
    ----------
    series
        Samples in the order of time. Shape (n,) or (chains, n).
    """
    chains = np.atleast_2d(_finite(series))
    if _is_constant(chains):
        return 1.0
    return float(timeseries.statistical_inefficiency_multiple(chains))


def evenly_spaced(log_weights: np.ndarray, kept: int) -> np.ndarray:
    """Return the indices of `kept` of n samples, evenly spaced in accumulated weight.

    With equal weights this is thinning. With other weights it is systematic resampling: the chosen
    samples, each counted once, represent the weighted ensemble. A sample is repeated only where its
    weight exceeds the spacing.

    Parameters
    ----------
    log_weights
        Logarithms of unnormalised weights. Shape (n,).
    kept
        Number of samples to choose.

    Returns
    -------
    np.ndarray
        Indices in ascending order. Shape (kept,), int.
    """
    accumulated = np.cumsum(np.exp(log_weights - log_weights.max()))
    return np.asarray(
        np.searchsorted(accumulated, (np.arange(kept) + 0.5) / kept * accumulated[-1])
    )


def mean_and_error(series: np.ndarray, chain: np.ndarray | None = None) -> tuple[float, float]:
    """Return the mean of correlated samples and its standard error.

    With `MIN_CHAINS` independent chains or more, the error comes from the spread of the chains'
    means. With fewer, it is std sqrt(g / n).

    Parameters
    ----------
    series
        Samples in the order of time. Shape (n,).
    chain
        Chain to which each sample belongs; None for a single chain. Shape (n,).

    Returns
    -------
    tuple[float, float]
        Mean and standard error; the error is infinite for one sample.
    """
    series = _finite(series)
    labels = np.zeros(len(series), dtype=int) if chain is None else np.asarray(chain)
    chains = [series[labels == label] for label in np.unique(labels)]
    mean = float(series.mean())
    if len(series) < 2:
        return mean, float("inf")
    if len(chains) >= MIN_CHAINS:
        weights = np.array([len(values) for values in chains]) / len(series)
        deviations = np.array([values.mean() for values in chains]) - mean
        return mean, float(
            np.sqrt((weights**2 * deviations**2).sum() * len(chains) / (len(chains) - 1))
        )
    g = 1.0 if _is_constant(series) else float(timeseries.statistical_inefficiency_multiple(chains))
    return mean, float(series.std(ddof=1) * np.sqrt(min(g, len(series)) / len(series)))


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
    first, third, last = _quarters(_within_fences(_finite(series)), chain)
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


def _within_fences(series: np.ndarray) -> np.ndarray:
    """Return values beyond 1.5 interquartile ranges from the quartiles moved to that distance."""
    low, high = np.quantile(series, (0.25, 0.75), axis=1, keepdims=True)
    reach = np.where(high > low, 1.5 * (high - low), np.inf)
    return np.clip(series, low - reach, high + reach)


def _quarters(series: np.ndarray, chain: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the means of the first, third and last quarter of each chain. Shapes (K, chains)."""
    means = []
    for label in np.unique(chain):
        samples = series[:, chain == label]
        size = max(1, samples.shape[1] // 4)
        parts = samples[:, :size], samples[:, -2 * size : -size], samples[:, -size:]
        means.append([part.mean(axis=1) for part in parts])
    # The means of a constant series differ by rounding alone.
    constant = np.array([_is_constant(values) for values in series])
    first, third, last = np.where(constant, 0.0, np.array(means)).transpose(1, 2, 0)
    return first, third, last


def _two_sided(changes: np.ndarray, errors: np.ndarray, freedom: float) -> np.ndarray:
    """Return the probability of so large changes by Student's t; 1 for no change at all."""
    t = np.divide(np.abs(changes), errors, out=np.full(len(changes), np.inf), where=errors > 0)
    return np.where(changes == 0, 1.0, 2 * stdtr(freedom, -t))


def _deviate(chance: float, sign: float) -> float:
    """Return the normal deviate of a two-sided probability, with the sign of `sign`."""
    return float(np.copysign(ndtri(max(chance, 1e-300) / 2), sign)) if chance < 1 else 0.0


def bootstrap_chains(
    chain: np.ndarray, *, rng: np.random.Generator, n_bootstraps: int, block_length: int = 1
) -> Iterator[np.ndarray]:
    """Yield the indices of bootstrap samples that respect correlation in time.

    With `MIN_CHAINS` chains or more, whole chains are drawn. With fewer, blocks of `block_length`
    consecutive samples of one chain are drawn.

    Parameters
    ----------
    chain
        Chain to which each sample belongs, in the order of time. Shape (n,).
    rng
        Generator of the random numbers.
    n_bootstraps
        Number of bootstrap samples.
    block_length
        Length of the blocks, used when there are few chains: at least the statistical inefficiency.

    Yields
    ------
    np.ndarray
        Indices of samples, some repeated. Shape (about n,), int.
    """
    members = [np.flatnonzero(chain == label) for label in np.unique(chain)]
    if len(members) < MIN_CHAINS:
        members = [block for samples in members for block in _blocks(samples, block_length)]
    for _ in range(n_bootstraps):
        yield np.concatenate(
            [members[unit] for unit in rng.integers(len(members), size=len(members))]
        )


def _blocks(members: np.ndarray, length: int) -> list[np.ndarray]:
    return np.array_split(members, max(1, len(members) // max(1, length)))


def _is_constant(series: np.ndarray) -> bool:
    return bool(np.ptp(series) <= 1e-12 * max(1.0, float(np.abs(series).max())))


def _finite(series: np.ndarray) -> np.ndarray:
    series = np.asarray(series, dtype=np.float64)
    if not series.size or not np.isfinite(series).all():
        raise ValueError(
            "a series must be finite and not empty: remove NaN and infinite samples first"
        )
    return series
