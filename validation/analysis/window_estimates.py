r"""Free energy along lambda from window samples, by MBAR, by BAR of neighbours and by thermodynamic
integration.

MBAR solves the equations of `mbar_equations`; TI integrates beta F(1) - beta F(0) = int_0^1
<dU/dlambda> dlambda over a cubic spline through the means of the windows, over their number rather
than lambda: it is smooth in what spaces them evenly. Where the samples come with functions of zero
mean (`control_variates`), what these follow is subtracted from what each sample contributes to
either, to first order.

All errors come from a bootstrap over units that are independent of each other (`window_bootstrap`).
For MBAR each draw solves the equations again with the resampled multiplicities as weights, by
Newton's method from the solution of the full data. Samples that drift are dealt with first
(`settling`).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.special import expit

from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.validation.analysis import control_variates, mbar_equations
from openmm_nti.validation.analysis.equilibration import Settled, settle
from openmm_nti.validation.analysis.window_bootstrap import control_facts, draw
from openmm_nti.validation.analysis.window_data import WindowData

GOOD_OVERLAP = 0.03  # Klimovich, Shirts and Mobley, J. Comput. Aided Mol. Des. 29, 397 (2015)
NO_OVERLAP = 1e-3  # below this neither value nor error of MBAR means anything


def estimate_mbar(
    data: WindowData,
    state: StatePoint,
    *,
    method: str,
    seed: int,
    n_bootstraps: int = 100,
    test_drift: bool = True,
) -> FreeEnergy:
    """Free energy difference between lambda = 1 and lambda = 0 by MBAR.

    Parameters
    ----------
    data
        Samples of all windows.
    state
        The state point, for the labels of the result.
    method
        Name of the estimator in the result, such as `mbar_neural`.
    seed
        Seed of the bootstrap.
    n_bootstraps
        Number of bootstrap samples behind the standard error; 2 or more.
    test_drift
        Look for drift and deal with it; otherwise the samples are taken as they are.

    Returns
    -------
    FreeEnergy
        With the overlap matrix, the drift and a verdict in its diagnostics. The standard error is
        infinite where neighbouring windows do not overlap, where no two samples of a window are
        independent, or where the samples drift to their end: the data then do not determine it.

    Raises
    ------
    ValueError
        If `n_bootstraps` is below 2.
    RuntimeError
        If the MBAR equations cannot be solved.
    """
    if n_bootstraps < 2:
        raise ValueError(
            f"n_bootstraps = {n_bootstraps} must be at least 2 to give an error; 100 is usual"
        )
    settled = settle(data, method=method) if test_drift else Settled(data, 0.0, None, None)
    data = settled.data
    f_k, overlap = mbar_equations.solve(data)
    neighbours = np.diagonal(overlap, offset=1)
    drawn = draw(data, n_bootstraps, seed)
    value, std_err, controls = float(f_k[-1] - f_k[0]), math.inf, None
    if neighbours.min() > NO_OVERLAP:
        p_kn = mbar_equations.assignments(mbar_equations.sample_potentials(data), f_k)
        resampled = np.array(
            [mbar_equations.newton_shift(p_kn, w.ravel())[-1] for w in drawn.weights]
        )
        value, std_err, controls = drawn.controlled(
            value, resampled, mbar_equations.contributions(p_kn)
        )
    return FreeEnergy(
        value=value,
        std_err=math.hypot(std_err, settled.error),
        method=method,
        convention=state.convention,
        n_particles=state.n_particles,
        diagnostics={
            **drawn.counts,
            **data.move_diagnostics,
            "overlap_matrix": overlap.tolist(),
            "min_neighbour_overlap": float(neighbours.min()),
            "control_variates": controls,
            "drift": settled.facts,
            "verdict": settled.judged(
                _unless_good(_verdict(neighbours, data.lambdas, std_err), data)
            ),
        },
    )


def estimate_bar(
    data: WindowData, state: StatePoint, *, method: str, seed: int, n_bootstraps: int = 100
) -> FreeEnergy:
    """Free energy difference between lambda = 1 and lambda = 0 by Bennett's acceptance ratio of
    neighbouring windows.

    What MBAR makes of the same samples without those of windows further away (C. H. Bennett, J.
    Comput. Phys. 22, 245 (1976)). The bootstrap keeps the solution where it enters the averages:
    right to first order.

    Parameters
    ----------
    data, state, method, seed, n_bootstraps
        As in `estimate_mbar`.

    Returns
    -------
    FreeEnergy
        With the difference and the overlap of each pair of neighbours in its diagnostics; its
        standard error is infinite where that of `estimate_mbar` is.
    """
    settled = settle(data, method=method)
    data = settled.data
    forward, reverse = mbar_equations.neighbour_works(data)
    differences = mbar_equations.bennett(forward, reverse)
    drawn = draw(data, n_bootstraps, seed)
    ahead = expit(differences[:, None] - forward)  # (K - 1, n), of samples of the lower lambda
    back = expit(-differences[:, None] - reverse)
    overlap = (ahead * (1 - ahead) + back * (1 - back)).mean(
        axis=1
    )  # as the off-diagonal of MBAR's matrix for two
    value, std_err, controls = float(differences.sum()), math.inf, None
    if overlap.min() > NO_OVERLAP:
        lower, upper = (part / part.mean(axis=1, keepdims=True) for part in (ahead, back))
        resampled = np.array(
            [
                (np.log((w[1:] * upper).mean(axis=1)) - np.log((w[:-1] * lower).mean(axis=1))).sum()
                for w in drawn.weights
            ]
        )
        contributions = np.pad(upper, ((1, 0), (0, 0))) - np.pad(lower, ((0, 1), (0, 0)))
        value, std_err, controls = drawn.controlled(value, resampled, contributions)
    return FreeEnergy(
        value=value,
        std_err=math.hypot(std_err, settled.error),
        method=method,
        convention=state.convention,
        n_particles=state.n_particles,
        diagnostics={
            **drawn.counts,
            **data.move_diagnostics,
            "differences": differences.tolist(),
            "neighbour_overlap": overlap.tolist(),
            "min_neighbour_overlap": float(overlap.min()),
            "control_variates": controls,
            "drift": settled.facts,
            "verdict": settled.judged(_unless_good(_verdict(overlap, data.lambdas, std_err), data)),
        },
    )


def estimate_ti(
    data: WindowData, state: StatePoint, *, method: str, seed: int, n_bootstraps: int = 200
) -> FreeEnergy:
    """Free energy difference between lambda = 1 and lambda = 0 by thermodynamic integration.

    The integral of a natural cubic spline (other ends give large weights of either sign, and so
    large errors) is a weighted sum of the window means. Its own error is judged by what each part
    of it moves, beyond noise, when every other window is left out: a third of that for 9 windows
    and more, as for a rule of second order, which is cautious for the spline's fourth; all of it
    for 5, which show no order yet. The parts and the statistical error are added in quadrature.

    Parameters
    ----------
    data, state, method, seed, n_bootstraps
        As in `estimate_mbar`.

    Returns
    -------
    FreeEnergy
        With the profile of <dU/dlambda>, both parts of the error and the drift in its diagnostics.
        Where the samples drift, the standard error is as in `estimate_mbar`.

    Raises
    ------
    ValueError
        If there are fewer than 3 windows, which say nothing about the error of the rule.
    """
    if data.n_windows < 3:
        raise ValueError(
            f"thermodynamic integration over {data.n_windows} windows has no error: give 3 or more"
        )
    settled = settle(data, method=method)
    data = settled.data
    drawn = draw(data, n_bootstraps, seed)
    dudl, controls = data.dudl, None
    rules, coarse_rules = _spline_rules(data.lambdas)
    rule, changes = rules.sum(axis=0), rules - coarse_rules
    if data.control_variates is not None:
        plain = drawn.standard_error(drawn.means(dudl) @ rule)
        controls = control_facts(data.control_variates, float(rule @ dudl.mean(axis=1)), plain)
        dudl = control_variates.subtract(dudl, data.control_variates, data.chain)
    means = dudl.mean(axis=1)
    resampled = drawn.means(dudl)
    value = float(rule @ means)
    statistical = drawn.standard_error(resampled @ rule)
    beyond = np.abs(changes @ means) - 2.0 * (resampled @ changes.T).std(axis=0, ddof=1)
    integration = float(np.linalg.norm(beyond.clip(min=0.0))) / min(
        3.0, max(1.0, (data.n_windows - 3) / 2)
    )
    return FreeEnergy(
        value=value,
        std_err=math.hypot(statistical, integration, settled.error),
        method=method,
        convention=state.convention,
        n_particles=state.n_particles,
        diagnostics={
            **drawn.counts,
            **data.move_diagnostics,
            "lambdas": data.lambdas.tolist(),
            "dudl_mean": means.tolist(),
            "dudl_std_err": resampled.std(axis=0, ddof=1).tolist(),
            "statistical_error": statistical if math.isfinite(statistical) else None,
            "integration_error": integration,
            "control_variates": controls,
            "drift": settled.facts,
            "verdict": settled.judged(_unless_good(_ti_verdict(statistical, integration), data)),
        },
    )


def _spline_rules(lambdas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the windows in the spline's integral, using all of them and every other one.

    Both of shape (parts, K): a part reaches from one window of the latter to the next.
    """
    every = np.arange(len(lambdas))
    some = np.union1d(every[::2], every[-1:])
    fine = _spline_rule(lambdas, every)
    return np.add.reduceat(fine, some[:-1], axis=0), _spline_rule(lambdas, some)


def _spline_rule(lambdas: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Weights (intervals between the `used` windows, K) in int y dlambda/dk dk, with y a spline
    over the number k.
    """
    means = CubicSpline(used, np.eye(len(lambdas))[used], bc_type="natural")
    slope = PchipInterpolator(used, lambdas[used]).derivative()
    nodes, weights = np.polynomial.legendre.leggauss(3)  # exact: the integrand is of fifth order
    half = 0.5 * np.diff(used)[:, None]
    k = used[:-1, None] + half * (1.0 + nodes)
    return np.asarray(np.einsum("jn,jnk->jk", half * weights * slope(k), means(k)))


def _verdict(neighbours: np.ndarray, lambdas: np.ndarray, std_err: float) -> str:
    worst = int(neighbours.argmin())
    between = f"lambda {lambdas[worst]:.3g}-{lambdas[worst + 1]:.3g}"
    where = f"smallest neighbour overlap {neighbours[worst]:.2g} at {between}"
    if neighbours[worst] < NO_OVERLAP:
        return f"unreliable: the windows do not overlap ({where}); add windows there"
    if not math.isfinite(std_err):
        return f"unreliable: too few independent samples for an error ({where}); sample longer"
    if neighbours[worst] < GOOD_OVERLAP:
        return f"poor overlap ({where}); add windows there"
    return f"good ({where})"


def _ti_verdict(statistical: float, integration: float) -> str:
    if not math.isfinite(statistical):
        return "unreliable: too few independent samples for an error; sample longer"
    if integration > statistical:
        return "few windows: the rule of integration limits the error; add windows"
    return "good"


def _unless_good(verdict: str, data: WindowData) -> str:
    """The verdict, or where it is good what else there is to say of the sampling."""
    return (data.few_accepted or verdict) if verdict.startswith("good") else verdict
