"""Equilibration, decorrelation and error bars of correlated series.

The statistical inefficiency is g = 1 + 2 sum_t (1 - t/n) C(t), with C the normalised
autocorrelation function: n correlated samples are worth n / g independent ones.

pymbar's estimators are not enough here. Its g is too small for a few tens of samples, because their
mean follows them. Its search for equilibration takes the start with the largest (n - t0) / g, which
in a short stationary series is the start of a tail whose g came out small by chance.

Where chains start independently, a series has the shape (chains, n). C is then taken around the
mean of all chains, so chains that disagree give a large g.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

MIN_CHAINS = 8  # fewer chains than this say too little about the error of their mean
_EQUILIBRATION_TRIALS = 50
_TRANSIENT = 3.0  # standard errors by which a start must differ to be discarded
_FAR = 5.0  # interquartile ranges; how far a start is from the rest beyond that does not matter
_WINDOW = 5.0  # correlation times over which the autocorrelation is summed
_CAUTION = 0.75  # standard errors that are added to the first autocorrelation
_LEAST_SAMPLES = 100.0  # fewer samples than this cannot show that they are independent
_LEAST_FREEDOM = 2.5  # degrees of freedom; an error from fewer says nothing


def equilibration(series: np.ndarray) -> int:
    """Return how many samples to discard from the start of each chain; 0 for a constant series.

    The candidate is the start that gives the rest the smallest standard error, as if samples were
    independent (the marginal standard error rule: K. P. White, Simulation 69, 323 (1997)). It is
    taken only if what it discards differs from the rest by more than chance makes it. Then as
    much again is discarded, for the rule stops where the transient sinks into the noise of a single
    sample, and its tail is larger than the error of the mean.

    Parameters
    ----------
    series
        Samples in the order of time. Shape (n,) or (chains, n).
    """
    chains = np.atleast_2d(finite(series))
    n = chains.shape[1]
    if n < 4 or is_constant(chains):
        return 0
    starts = np.arange(0, n // 2 + 1, max(1, n // _EQUILIBRATION_TRIALS))
    later = chains[:, starts[-1] :]
    low, middle, high = np.quantile(later, (0.25, 0.5, 0.75))
    # A few enormous values at the start would hide where the transient ends.
    reach = _FAR * (high - low) if high > low else np.inf
    near = np.clip(chains, middle - reach, middle + reach)
    t0 = int(min(starts, key=lambda start: near[:, start:].var() / (n - start)))
    if not t0 or not _is_transient(near[:, :t0], near[:, t0:]):
        return 0
    return min(2 * t0, n // 2)


def _is_transient(start: np.ndarray, rest: np.ndarray) -> bool:
    """Return whether the means of start and rest differ by more than chance makes them."""
    g = statistical_inefficiency(rest)
    shares = [1 / max(1.0, part.size / g) for part in (start, rest)]
    chance = rest.std() * np.sqrt(sum(shares))
    return bool(abs(start.mean() - rest.mean()) > _TRANSIENT * chance)


def statistical_inefficiency(series: np.ndarray) -> float:
    """Return the statistical inefficiency g >= 1 of a stationary series; 1 for a constant one.

    It is the largest of three estimates, for in a few tens of samples each may be too small:

    - the sum over the autocorrelation, up to five correlation times (U. Wolff, Computer
      Physics Communications 156, 143 (2004)), corrected for the mean, which follows the samples;
    - (1 + C) / (1 - C) for the autocorrelation C of neighbours, with Kendall's correction for the
      mean (Biometrika 41, 403 (1954)) and three quarters of a standard error of caution;
    - 100 / n: so few samples cannot show that they are independent.

    Parameters
    ----------
    series
        Samples in the order of time. Shape (n,) or (chains, n).
    """
    return _inefficiency(list(np.atleast_2d(finite(series))))


def _inefficiency(chains: list[np.ndarray]) -> float:
    """Return g of chains, which may be of unequal lengths."""
    together = np.concatenate(chains)
    if is_constant(together):
        return 1.0
    center = together.mean()
    # One wild value would make all others look alike, and so independent.
    low, high = _fences(together[np.newaxis])
    deviations = [np.clip(chain, low[0], high[0]) for chain in chains]
    center = np.concatenate(deviations).mean()
    covariance = sum(_products(chain - center, len(max(chains, key=len))) for chain in deviations)
    lengths = np.array([len(chain) for chain in chains])
    return max(
        1.0,
        _LEAST_SAMPLES / lengths.sum(),
        _summed(np.asarray(covariance), lengths),
        _of_neighbours(np.asarray(covariance), lengths),
    )


def _products(deviations: np.ndarray, n: int) -> np.ndarray:
    """Return the sums of products of samples at the lags 0 to n - 1. Shape (n,)."""
    spectrum = np.abs(np.fft.rfft(deviations, 2 * n)) ** 2
    return np.asarray(np.fft.irfft(spectrum)[:n])


def _summed(covariance: np.ndarray, lengths: np.ndarray) -> float:
    """Return g from the sum over the autocorrelation."""
    size, g = lengths.sum(), 1.0
    total, lacking = covariance[0] / size, 1 / size
    for lag in range(1, len(covariance)):
        total += 2 * covariance[lag] / size
        # Each product lacks the variance of the mean, which is that of a sample times g / size.
        lacking += 2 * np.maximum(lengths - lag, 0).sum() / size**2
        if lacking >= 1:
            break
        summed = max(0.0, total / (1 - lacking))
        g = summed / (covariance[0] / size + summed / size)
        if lag >= _WINDOW * g / 2:
            break
    return float(g)


def _of_neighbours(covariance: np.ndarray, lengths: np.ndarray) -> float:
    """Return g of a process without memory beyond its neighbour, from the first autocorrelation."""
    size = lengths.sum()
    if len(covariance) < 2:
        return 1.0
    first = covariance[1] / covariance[0]
    first += (1 + 4 * first) / size + _CAUTION * np.sqrt(max(0.0, 1 - first**2) / size)
    first = min(first, 1 - 1 / size)
    return float((1 + first) / (1 - first))


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
    """
    accumulated = np.cumsum(np.exp(log_weights - log_weights.max()))
    return np.asarray(
        np.searchsorted(accumulated, (np.arange(kept) + 0.5) / kept * accumulated[-1])
    )


def mean_and_error(series: np.ndarray, chain: np.ndarray | None = None) -> tuple[float, float]:
    """Return the mean of correlated samples and its standard error.

    With `MIN_CHAINS` independent chains or more, the error comes from the spread of the chains'
    means. With fewer, it is that of n / g independent samples, see `error_of_mean`.

    Parameters
    ----------
    series
        Samples in the order of time. Shape (n,).
    chain
        Chain to which each sample belongs; None for a single chain. Shape (n,).

    Returns
    -------
    tuple[float, float]
        Mean and standard error; the error is infinite where samples are too few to tell.
    """
    series = finite(series)
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
    return mean, error_of_mean(float(series.std()), len(series) / _inefficiency(chains))


def mean_of_frames(
    values: np.ndarray, n_independent: float, energies: np.ndarray | None = None
) -> tuple[float, float]:
    """Return the mean of a quantity of thinned frames and its standard error.

    Parameters
    ----------
    values
        The quantity in each frame, in the order of time. Shape (n,).
    n_independent
        For how many independent frames they count, as `Ensemble.n_independent`. Frames that are
        still correlated in this quantity count for fewer.
    energies
        Energy of each frame, if that is another quantity. What thinning by the energy leaves of
        correlation, it leaves in that share of the values' variance which the energy explains.
    """
    values = finite(values)
    mean, spread = float(values.mean()), float(values.std())
    if is_constant(values):
        return mean, error_of_mean(0.0, n_independent)
    n = len(values)
    if energies is not None and not is_constant(energies):
        left = (n - n_independent) / (n + n_independent)
        left *= float(np.corrcoef(values, energies)[0, 1]) ** 2
        n_independent = n * (1 - left) / (1 + left)
    g = _summed(_products(values - mean, n), np.array([n]))
    return mean, error_of_mean(spread, min(n_independent, n / max(1.0, g)))


def error_of_mean(spread: float, n_independent: float) -> float:
    """Return the standard error of the mean of some independent samples.

    It is the standard deviation of Student's t with n - 1 degrees of freedom, in units of the
    usual error: few samples know their own spread badly. Infinite below 3.5 samples.

    Parameters
    ----------
    spread
        Root of the mean squared deviation from the samples' own mean.
    n_independent
        Number of independent samples; it need not be whole.
    """
    freedom = n_independent - 1
    if not freedom > _LEAST_FREEDOM:
        return float("inf")
    return float(spread / np.sqrt(freedom) * np.sqrt(freedom / (freedom - 2)))


def within_fences(series: np.ndarray) -> np.ndarray:
    """Return values beyond the fences moved onto them. Shape (K, n)."""
    low, high = _fences(series)
    return np.clip(series, low[:, np.newaxis], high[:, np.newaxis])


def _fences(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return 1.5 interquartile ranges beyond the quartiles of each series. Shapes (K,)."""
    low, high = np.quantile(series, (0.25, 0.75), axis=1)
    reach = np.where(high > low, 1.5 * (high - low), np.inf)
    return low - reach, high + reach


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


def is_constant(series: np.ndarray) -> bool:
    """Return whether values differ by rounding alone."""
    return bool(np.ptp(series) <= 1e-12 * max(1.0, float(np.abs(series).max())))


def finite(series: np.ndarray) -> np.ndarray:
    """Return a series as float64; ValueError if it is empty or holds NaN or infinity."""
    series = np.asarray(series, dtype=np.float64)
    if not series.size or not np.isfinite(series).all():
        raise ValueError(
            "a series must be finite and not empty: remove NaN and infinite samples first"
        )
    return series
