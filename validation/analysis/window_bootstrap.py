"""The bootstrap of window samples: standard errors from units that are independent of each other.

Whole chains are drawn where there are at least `MIN_CHAINS`, otherwise blocks two statistical
inefficiencies long, in each window for itself. Windows that exchange configurations are not
independent of each other: chain c of all of them is then one unit, and one draw serves every
window.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from openmm_nti.reference_md.statistics import (
    MIN_CHAINS,
    bootstrap_chains,
    statistical_inefficiency,
)
from openmm_nti.validation.analysis import control_variates
from openmm_nti.validation.analysis.window_data import WindowData


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Draws from the samples of all windows.

    Attributes
    ----------
    data
        The samples.
    weights
        Of each sample in each draw, (K, n) each; they average 1 in each window.
    n_eff
        Number of independent samples in each window, (K,).
    n_units
        Number of units that are drawn from, in the window with the fewest.
    """

    data: WindowData
    weights: list[np.ndarray]
    n_eff: np.ndarray
    n_units: int

    @property
    def counts(self) -> dict[str, Any]:
        """How many windows, samples and units there are, for the diagnostics."""
        return {
            "n_windows": self.data.n_windows,
            "n_samples": self.data.n_windows * self.data.n_samples,
            "n_eff": float(self.n_eff.sum()),
            "n_chains": self.data.n_chains,
            "n_bootstrap_units": self.n_units,
        }

    def means(self, values_kn: np.ndarray) -> np.ndarray:
        """Return the mean of `values_kn` (K, n) in each window, of each draw. Shape (B, K)."""
        return np.stack([(w * values_kn).mean(axis=1) for w in self.weights])

    def standard_error(self, resampled: np.ndarray) -> float:
        """Return the spread of the values of all draws, corrected for few units.

        It is infinite where they do not determine one, as where all samples are equal.
        """
        if self.n_units < 2 or not np.isfinite(resampled).all():
            return math.inf
        error = math.sqrt(self.n_units / (self.n_units - 1)) * float(resampled.std(ddof=1))
        return error if error > 0 else math.inf

    def controlled(
        self,
        value: float,
        resampled: np.ndarray,
        contributions: np.ndarray,
        followed: np.ndarray | None = None,
    ) -> tuple[float, float, dict[str, Any] | None]:
        """Return value and standard error with control variates, and what they are without them.

        The third is None where there are no control variates.

        Parameters
        ----------
        value, resampled
            The estimate from the data and from each draw, (B,).
        contributions
            How `value` moves, to first order, with the weight of each sample of a window's mean,
            (K, n).
        followed
            What control variates follow of these, where it is known from more samples, (K, n).
        """
        functions, std_err = self.data.control_variates, self.standard_error(resampled)
        if functions is None:
            return value, std_err, None
        if followed is None:
            followed = followed_part(contributions, functions, self.data.chain)
        # The full bootstrap less the linear one of what is followed: what is beyond the first order
        # stays.
        known = np.array([float(((w - 1) * followed).mean(axis=1).sum()) for w in self.weights])
        better = value - float(followed.mean(axis=1).sum())
        return (
            better,
            self.standard_error(resampled - known),
            control_facts(functions, value, std_err),
        )


def followed_part(
    contributions: np.ndarray, functions_kn: np.ndarray, chain: np.ndarray
) -> np.ndarray:
    """Return the part of `contributions` that control variates follow, (K, n).

    Arguments are those of `control_variates.subtract`.
    """
    return contributions - control_variates.subtract(contributions, functions_kn, chain)


def control_facts(functions_kn: np.ndarray, value: float, std_err: float) -> dict[str, Any]:
    """Return what the estimate would be without control variates, for the diagnostics."""
    return {
        "n_functions": functions_kn.shape[2],
        "value_without": value,
        "std_err_without": std_err if math.isfinite(std_err) else None,
    }


def draw(data: WindowData, n_bootstraps: int, rng: np.random.Generator) -> Bootstrap:
    """Return `n_bootstraps` draws from `data`."""
    block_lengths, n_eff = _block_lengths(data)
    return Bootstrap(
        data,
        list(_weights(data, block_lengths, n_bootstraps, rng)),
        n_eff,
        _n_units(data, block_lengths),
    )


def _block_lengths(data: WindowData) -> tuple[np.ndarray, np.ndarray]:
    """Return the length of blocks and the number of independent samples of each window, (K,)."""
    chains = [data.chain == label for label in np.unique(data.chain)]
    g = np.array(
        [_shared_inefficiency([dudl[members] for members in chains]) for dudl in data.dudl]
    )
    return np.ceil(2 * g).astype(int), data.n_samples / g


def _shared_inefficiency(chains: list[np.ndarray]) -> float:
    shortest = min(len(chain) for chain in chains)
    return statistical_inefficiency(np.stack([chain[:shortest] for chain in chains]))


def _weights(
    data: WindowData, block_lengths: np.ndarray, n_bootstraps: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    lengths = block_lengths if data.exchange is None else [block_lengths.max()]
    windows = [
        bootstrap_chains(data.chain, rng=rng, n_bootstraps=n_bootstraps, block_length=int(length))
        for length in lengths
    ]
    for drawn in zip(*windows, strict=True):
        weights = np.stack([np.bincount(indices, minlength=data.n_samples) for indices in drawn])
        yield np.broadcast_to(weights / weights.mean(axis=1, keepdims=True), data.dudl.shape)


def _n_units(data: WindowData, block_lengths: np.ndarray) -> int:
    if data.n_chains >= MIN_CHAINS:
        return data.n_chains
    sizes = np.unique(data.chain, return_counts=True)[1]
    return int(np.maximum(1, sizes // block_lengths.max()).sum())
