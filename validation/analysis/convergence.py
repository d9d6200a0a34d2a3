"""The convergence series: MBAR from the first and from the last part of every chain."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from openmm_nti.fluid.state import StatePoint
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.validation.analysis import mbar_equations
from openmm_nti.validation.analysis.window_bootstrap import followed_part
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_estimates import estimate_mbar

_N_POINTS = 5
_N_BOOTSTRAPS = 25  # an error to judge by, known to 15 %


class Convergence(NamedTuple):
    """Estimates against the share of samples, for `plots.convergence`.

    All are of shape (M,); all but the first are in kT.
    """

    fractions: np.ndarray
    forward: np.ndarray
    forward_err: np.ndarray
    backward: np.ndarray
    backward_err: np.ndarray


@takes_execution
def convergence(
    data: WindowData, state: StatePoint, *, method: str, execution: Execution
) -> Convergence:
    """Return the forward and the backward series of estimates.

    See W. Yang, R. Bitetti-Putzer and M. Karplus, J. Chem. Phys. 120, 2618 (2004).

    Parameters
    ----------
    data
        Samples of all windows; chains of 2 frames or more.
    state, method, execution
        As in `window_estimates.estimate_mbar`, which makes each estimate of both series from its
        part of the samples as they are: a drift shows as a distance between the series. All take
        the control variates' coefficients from all samples, so both series end in the estimate
        itself where nothing drifts. Where MBAR has no solution, NaN with an infinite error.

    Raises
    ------
    ValueError
        If the chains have a single frame, of which there is no part.
    """
    members = [np.flatnonzero(data.chain == label) for label in np.unique(data.chain)]
    longest = max(map(len, members))
    if longest < 2:
        raise ValueError("chains of one frame show no convergence: raise n_frames")
    fewest = 1 if len(members) > 1 else 2  # a window has two samples or more
    counts = np.unique(
        np.rint(np.linspace(longest / _N_POINTS, longest, _N_POINTS)).astype(int).clip(fewest)
    )

    followed = _followed(data)

    def from_part(samples: np.ndarray) -> tuple[float, float]:
        try:
            found = estimate_mbar(
                data.select(samples),
                state,
                method=method,
                n_bootstraps=_N_BOOTSTRAPS,
                test_drift=False,
                followed=None if followed is None else followed[:, samples],
                execution=execution,
            )
        except RuntimeError:  # so few samples need not overlap
            return math.nan, math.inf
        return found.value, found.std_err

    def series(part: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
        parts = [np.concatenate([part(chain, count) for chain in members]) for count in counts]
        return np.array([from_part(samples) for samples in parts]).T

    forward = series(lambda chain, count: chain[:count])
    backward = series(lambda chain, count: chain[-count:])
    return Convergence(counts / longest, *forward, *backward)


def _followed(data: WindowData) -> np.ndarray | None:
    """Return what control variates follow in MBAR of all samples, (K, n); None without any."""
    if data.control_variates is None:
        return None
    try:
        f_k, _ = mbar_equations.solve(data)
    except RuntimeError:
        return None
    p_kn = mbar_equations.assignments(mbar_equations.sample_potentials(data), f_k)
    contributions = mbar_equations.contributions(p_kn)
    return followed_part(contributions, data.control_variates, data.chain)
