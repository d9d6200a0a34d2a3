r"""The MBAR equations: solved by pymbar, checked, solved again for resampled data, and linearised.

Shirts and Chodera, J. Chem. Phys. 129, 124105 (2008): for the reduced free energies f_k of K
windows,

    sum_n P_nk(f) = N_k,    P_nk = N_k exp(f_k - u_k(x_n)) / sum_l N_l exp(f_l - u_l(x_n)).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from scipy.integrate import cumulative_trapezoid
from scipy.special import expit, logsumexp

from openmm_nti.runtime.quiet import pymbar
from openmm_nti.validation.analysis.window_data import WindowData

_FORBIDDEN = 600.0  # kT; exp of it is still finite


def solve(data: WindowData) -> tuple[np.ndarray, np.ndarray]:
    """Return reduced free energies (K,) and overlap matrix (K, K) by pymbar.

    The solution is checked in the MBAR equations.

    Raises
    ------
    RuntimeError
        If there is no solution.
    """
    u_kn = sample_potentials(data)
    n_k = np.full(data.n_windows, data.n_samples)
    start = cumulative_trapezoid(data.dudl.mean(axis=1), data.lambdas, initial=0)
    with quiet_pymbar():
        try:
            mbar = pymbar().MBAR(u_kn, n_k, solver_protocol="robust", initial_f_k=start)
            overlap = mbar.compute_overlap()["matrix"]
        except Exception as error:  # pymbar raises many kinds; here each means the same
            reason = " ".join(str(error).split())
            raise RuntimeError(
                f"MBAR failed ({reason}): the windows may not overlap; add windows or samples"
            ) from error
    residual = float(np.abs(assignments(u_kn, mbar.f_k).sum(axis=1) / n_k - 1).max())
    if not residual < 1e-4:
        raise RuntimeError(
            f"MBAR did not converge (residual {residual:.1e} of N_k): add windows or samples"
        )
    return mbar.f_k, overlap


def sample_potentials(data: WindowData) -> np.ndarray:
    """Return u_k(x_n) of all K n samples, (K, K n), kT; infinity becomes a number of no weight."""
    u_kn = data.u_kln.reshape(-1, data.n_windows).T
    return np.asarray(np.minimum(u_kn, u_kn.min(axis=0) + 1e5))


def assignments(u_kn: np.ndarray, f_k: np.ndarray) -> np.ndarray:
    """Return P_nk, the probability that sample n came from window k. Shape (K, K n)."""
    log_weights = f_k[:, None] - u_kn
    return np.asarray(np.exp(log_weights - logsumexp(log_weights, axis=0)))


def newton_shift(
    p_kn: np.ndarray, weights: np.ndarray, n_k: np.ndarray | None = None
) -> np.ndarray:
    """Return how f_k moves when the samples get `weights`; NaN where Newton's method fails.

    Parameters
    ----------
    p_kn
        P_nk at equal weights. Shape (K, M).
    weights
        One for each sample; they sum to the number of samples in each window. Shape (M,).
    n_k
        These numbers, (K,); None for M / K in each.
    """
    k, m = p_kn.shape
    wanted = m / k if n_k is None else n_k[1:]
    shift = np.zeros(k)
    for _ in range(30):
        shifted = p_kn * np.exp(shift)[:, None]
        shifted /= shifted.sum(axis=0)
        weighted = shifted * weights
        totals = weighted.sum(axis=1)
        hessian = np.diag(totals) - weighted @ shifted.T
        step = np.linalg.lstsq(hessian[1:, 1:], totals[1:] - wanted, rcond=None)[0]
        shift[1:] -= np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-6:
            return shift
    return np.full(k, np.nan)


def contributions(p_kn: np.ndarray) -> np.ndarray:
    """Return how f_K - f_1 moves, to first order, with the weight of each sample, (K, n).

    With weights w (K, n) that average 1 in each window, f_K - f_1 changes by the sum over windows
    of the means of (w - 1) times this: the Newton step of `newton_shift`.
    """
    k = len(p_kn)
    hessian = np.diag(p_kn.sum(axis=1)) - p_kn @ p_kn.T
    last = np.linalg.lstsq(hessian[1:, 1:], np.eye(k - 1)[-1], rcond=None)[0]
    return np.asarray(-(last @ p_kn[1:]).reshape(k, -1) * (p_kn.shape[1] // k))


def neighbour_works(data: WindowData) -> tuple[np.ndarray, np.ndarray]:
    """Return the changes of the reduced potential from windows to the next ones, and back.

    Both of shape (K - 1, n), kT. Where the neighbour forbids a configuration, it is a finite number
    of no weight.
    """
    k = np.arange(data.n_windows - 1)
    up = data.u_kln[k, :, k + 1] - data.u_kln[k, :, k]
    down = data.u_kln[k + 1, :, k] - data.u_kln[k + 1, :, k + 1]
    return np.minimum(up, _FORBIDDEN), np.minimum(down, _FORBIDDEN)


def bennett(
    forward: Sequence[np.ndarray] | np.ndarray, reverse: Sequence[np.ndarray] | np.ndarray
) -> np.ndarray:
    """Return free energy differences (K - 1,) by pymbar's BAR of K - 1 arrays of works, kT.

    Where two windows are so far apart that the equation has no numerical solution, the middle of
    their mean works: a number of no worth, for which the overlap is zero.
    """
    bar, utils = pymbar().bar, pymbar().utils

    found = np.empty(len(forward))
    with quiet_pymbar():
        for number, (up, down) in enumerate(zip(forward, reverse, strict=True)):
            try:
                found[number] = bar(up, down, compute_uncertainty=False)["Delta_f"]
            except (utils.BoundsError, utils.ConvergenceError):
                found[number] = 0.5 * (up.mean() - down.mean())
    return found


def shares(
    differences: np.ndarray, forward: np.ndarray, reverse: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return Bennett's weights of the works (K - 1, n), at free energy differences (K - 1,).

    They are the probabilities that a sample of the lower window came from the upper one, and of the
    upper window from the lower one.
    """
    return expit(differences[:, None] - forward), expit(-differences[:, None] - reverse)


def neighbour_overlap(ahead: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Return the overlap of each window with the next, (K - 1,), from their `shares`.

    It is the off-diagonal element of the MBAR overlap matrix of these two alone.
    """
    return np.asarray((ahead * (1 - ahead) + back * (1 - back)).mean(axis=1))


def overlap_of_neighbours(data: WindowData) -> np.ndarray:
    """Return the overlap of each window with the next as MBAR sees it, (K - 1,).

    It is that of MBAR's matrix at the free energies of BAR.
    """
    differences = bennett(*neighbour_works(data))
    f_k = np.concatenate([[0.0], differences.cumsum()])
    p_kn = assignments(sample_potentials(data), f_k)
    return np.asarray((p_kn[:-1] * p_kn[1:]).sum(axis=1) / data.n_samples)


@contextmanager
def quiet_pymbar() -> Iterator[None]:
    """Silence pymbar: it logs what this module checks and reports itself."""
    logger = logging.getLogger("pymbar")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
