"""Where stages begin and end: so that an error costs least, by what a pilot says they dissipate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Of Gaussian works whose directions dissipate D together, exp(-D / 5.3) overlap. Guesses of D may
# be short by half, and errors of few works are rough, so less is hoped for.
_OVERLAP_KT = 3.0
_FLAT = 0.1  # of all losses, spread over all steps: guesses may be zero
_MOST = 20.0  # of these units: beyond this, more is not worse
_CANDIDATES = 240
_LARGEST = 64  # stages, unless more are asked for


def cuts(
    losses: Array, ends: Array, n_stages: int | None, of_paths: float, of_cut: float
) -> list[int]:
    """Return the numbers of the levels at which stages begin and end, (S + 1,).

    A stage from level a to b dissipates the sum of its losses, and what `ends` has for a and b. The
    variance of n Gaussian works is 2 (1 / overlap - 1) / n. Cuts make the sum of all variances
    least, and the number of stages makes variance times cost least.

    Parameters
    ----------
    losses, ends
        From `schedule`, (n_steps,) and (n_steps + 1,), kT.
    n_stages
        Number of stages; None for the best.
    of_paths, of_cut
        What all paths cost, and what a cut costs more.
    """
    n_steps = len(losses)
    if not np.isfinite(losses.sum() + ends.sum()):
        losses, ends = np.zeros_like(losses), np.zeros_like(ends)  # works will say what is wrong
    all_losses = float(losses.sum())
    losses = losses + (_FLAT * all_losses or 1.0) / n_steps
    so_far = np.concatenate([[0.0], np.cumsum(losses)])
    levels = _candidates(so_far, max(_CANDIDATES, 2 * (n_stages or 0) + 2))
    total = so_far[levels] + ends[levels]
    dissipated = total - (so_far[levels] - ends[levels])[:, None]
    # Where little is lost in all, stages are still to lose the same.
    variance = np.expm1(np.minimum(dissipated / min(_OVERLAP_KT, so_far[-1]), _MOST))
    variance[np.tril_indices(len(levels))] = np.inf  # a stage has one step at least
    least, before, prices = variance[0], [], []
    for number in range(2, min(n_stages or _LARGEST, n_steps) + 1):
        through = least[:, None] + variance
        before.append(through.argmin(0))
        least = np.take_along_axis(through, before[-1][None], 0)[0]
        prices.append(least[-1] * (of_paths + (number - 1) * of_cut))
    n_cuts = len(prices) if n_stages else int(np.argmin(prices)) + 1
    at = [len(levels) - 1]
    for step in reversed(before[:n_cuts]):
        at.append(int(step[at[-1]]))
    return [0, *(int(levels[k]) for k in reversed(at))]


def _candidates(so_far: Array, n: int) -> NDArray[np.int64]:
    """Return up to about `n` levels, half of them by losses and half by number."""
    last = len(so_far) - 1
    if last <= n:
        return np.arange(last + 1)
    by_number = np.linspace(0, last, n // 2)
    by_loss = np.interp(np.linspace(0, so_far[-1], n // 2), so_far, np.arange(last + 1))
    return np.unique(np.concatenate([by_number, by_loss]).round().astype(int))
