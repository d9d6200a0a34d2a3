"""Equilibration, decorrelation and error bars of correlated series: the project's one place for them.

The statistical inefficiency is g = 1 + 2 sum_t (1 - t/n) C(t), with C the normalised autocorrelation function: n
correlated samples are worth n / g independent ones. Equilibration ends where the number n / g of what is left is
largest (Chodera, J. Chem. Theory Comput. 12, 1799 (2016)).

Where chains start independently, a series has the shape (chains, n): C is then taken around the mean of all chains, so
that chains which disagree with each other show as a large g.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator

import numpy as np

with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    logging.disable(logging.WARNING)  # pymbar greets with two banners, as warnings of its loggers
    from pymbar import timeseries

    logging.disable(logging.NOTSET)

MIN_CHAINS = 8  # fewer chains than this say too little about the error of their mean
_EQUILIBRATION_TRIALS = 50


def equilibration(series: np.ndarray) -> int:
    """Number of samples to discard at the beginning of each chain; 0 for a constant series.

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
    """Return g >= 1 of a stationary series; 1 for a constant one.

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
    """Choose `kept` of n samples at equal distances in accumulated weight.

    With equal weights that is thinning; with others the chosen samples, each counted once, represent the weighted
    ensemble (systematic resampling: a sample is repeated only where its weight exceeds the distance).

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
    return np.asarray(np.searchsorted(accumulated, (np.arange(kept) + 0.5) / kept * accumulated[-1]))


def mean_and_error(series: np.ndarray, chain: np.ndarray | None = None) -> tuple[float, float]:
    """The mean of correlated samples and its standard error.

    With `MIN_CHAINS` independent chains or more, the error is that of the chains' means; with fewer, it is
    std sqrt(g / n).

    Parameters
    ----------
    series
        Samples in the order of time. Shape (n,).
    chain
        Which chain each sample belongs to; one chain when not given. Shape (n,).

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
        return mean, float(np.sqrt((weights**2 * deviations**2).sum() * len(chains) / (len(chains) - 1)))
    g = 1.0 if _is_constant(series) else float(timeseries.statistical_inefficiency_multiple(chains))
    return mean, float(series.std(ddof=1) * np.sqrt(min(g, len(series)) / len(series)))


def bootstrap_chains(
    chain: np.ndarray, *, rng: np.random.Generator, n_bootstraps: int, block_length: int = 1
) -> Iterator[np.ndarray]:
    """Indices of bootstrap samples that respect correlation in time.

    With `MIN_CHAINS` chains or more, whole chains are drawn; with fewer, blocks of `block_length` consecutive samples
    of one chain.

    Parameters
    ----------
    chain
        Which chain each sample belongs to, in the order of time. Shape (n,).
    rng
        Source of randomness.
    n_bootstraps
        Number of bootstrap samples.
    block_length
        At least the statistical inefficiency, when there are few chains.

    Yields
    ------
    np.ndarray
        Indices of samples, some repeated. Shape (about n,), int.
    """
    members = [np.flatnonzero(chain == label) for label in np.unique(chain)]
    if len(members) < MIN_CHAINS:
        members = [block for one in members for block in _blocks(one, block_length)]
    for _ in range(n_bootstraps):
        yield np.concatenate([members[unit] for unit in rng.integers(len(members), size=len(members))])


def _blocks(members: np.ndarray, length: int) -> list[np.ndarray]:
    return np.array_split(members, max(1, len(members) // max(1, length)))


def _is_constant(series: np.ndarray) -> bool:
    return bool(np.ptp(series) <= 1e-12 * max(1.0, float(np.abs(series).max())))


def _finite(series: np.ndarray) -> np.ndarray:
    series = np.asarray(series, dtype=np.float64)
    if not series.size or not np.isfinite(series).all():
        raise ValueError("a series for statistics must be finite and not empty: remove NaN and infinite samples first")
    return series
