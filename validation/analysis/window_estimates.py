r"""Free energy along lambda from samples of windows: MBAR, BAR of neighbours, and integration.

MBAR solves the equations of `mbar_equations`. TI integrates beta F(1) - beta F(0) = int_0^1
<dU/dlambda> dlambda over a cubic spline through the means of the windows, over their number rather
than lambda: it is smooth in what spaces them evenly. Where the samples come with functions of zero
mean (`control_variates`), what these follow is subtracted from what each sample contributes, to
first order.

All errors come from a bootstrap over units that are independent of each other (`window_bootstrap`).
For MBAR each draw solves the equations again with the resampled multiplicities as weights, by
Newton's method from the solution of the full data. Samples that drift are dealt with first
(`equilibration`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy, Verdict
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.validation.analysis import control_variates, mbar_equations
from openmm_nti.validation.analysis.equilibration import EquilibrationTest, check_equilibration
from openmm_nti.validation.analysis.window_bootstrap import Bootstrap, control_facts, draw
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_diagnostics import (
    GOOD_OVERLAP,
    NO_OVERLAP,
    WindowDiagnostics,
    integral_verdict,
    overlap_verdict,
)

__all__ = ["GOOD_OVERLAP", "NO_OVERLAP", "estimate_bar", "estimate_mbar", "estimate_ti"]


@takes_execution
def estimate_mbar(
    data: WindowData,
    state: StatePoint,
    *,
    method: str,
    n_bootstraps: int = 100,
    test_drift: bool = True,
    followed: np.ndarray | None = None,
    execution: Execution,
) -> FreeEnergy:
    """Return the free energy difference between lambda = 1 and lambda = 0 by MBAR.

    Parameters
    ----------
    data
        Samples of all windows.
    state
        The state point, for the labels of the result.
    method
        Name of the estimator in the result, such as `mbar_neural`.
    n_bootstraps
        Number of bootstrap samples behind the standard error; 2 or more.
    test_drift
        Test for drift and deal with it; otherwise the samples are taken as they are.
    followed
        What control variates follow, (K, n), if it is known from more samples than these.
    execution
        Its seed decides the bootstrap; `seed=1` may stand in its place.

    Returns
    -------
    FreeEnergy
        With the overlap matrix and the drift in its diagnostics. The standard error is infinite
        where neighbouring windows do not overlap, where no two samples of a window are independent,
        or where the samples drift to their end: the data then do not determine it.

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
    test = check_equilibration(data, method=method) if test_drift else EquilibrationTest(data)
    data = test.data
    f_k, overlap = mbar_equations.solve(data)
    neighbours = np.diagonal(overlap, offset=1)
    drawn = draw(data, n_bootstraps, np.random.default_rng(execution.seed))
    value, std_err, controls = float(f_k[-1] - f_k[0]), math.inf, None
    if neighbours.min() > NO_OVERLAP:
        p_kn = mbar_equations.assignments(mbar_equations.sample_potentials(data), f_k)
        resampled = np.array(
            [mbar_equations.newton_shift(p_kn, w.ravel())[-1] for w in drawn.weights]
        )
        value, std_err, controls = drawn.controlled(
            value, resampled, mbar_equations.contributions(p_kn), followed
        )
    facts = {
        "lambdas": data.lambdas.tolist(),
        "overlap_matrix": overlap.tolist(),
        "min_neighbour_overlap": float(neighbours.min()),
        "control_variates": controls,
    }
    verdict = overlap_verdict(neighbours, data, std_err)
    return _result(value, std_err, state, method, drawn, test, facts, verdict)


@takes_execution
def estimate_bar(
    data: WindowData,
    state: StatePoint,
    *,
    method: str,
    n_bootstraps: int = 100,
    execution: Execution,
) -> FreeEnergy:
    """Return the free energy difference by Bennett's acceptance ratio of neighbouring windows.

    It is what MBAR makes of the same samples without those of windows further away (C. H. Bennett,
    J. Comput. Phys. 22, 245 (1976)). The bootstrap keeps the solution where it enters the averages:
    right to first order.

    Parameters
    ----------
    data, state, method, n_bootstraps, execution
        As in `estimate_mbar`.

    Returns
    -------
    FreeEnergy
        With the difference and the overlap of each pair of neighbours in its diagnostics. Its
        standard error is infinite where that of `estimate_mbar` is.
    """
    test = check_equilibration(data, method=method)
    data = test.data
    forward, reverse = mbar_equations.neighbour_works(data)
    differences = mbar_equations.bennett(forward, reverse)
    drawn = draw(data, n_bootstraps, np.random.default_rng(execution.seed))
    ahead, back = mbar_equations.shares(differences, forward, reverse)
    overlap = mbar_equations.neighbour_overlap(ahead, back)
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
    facts = {
        "differences": differences.tolist(),
        "neighbour_overlap": overlap.tolist(),
        "min_neighbour_overlap": float(overlap.min()),
        "control_variates": controls,
    }
    verdict = overlap_verdict(overlap, data, std_err)
    return _result(value, std_err, state, method, drawn, test, facts, verdict)


@takes_execution
def estimate_ti(
    data: WindowData,
    state: StatePoint,
    *,
    method: str,
    n_bootstraps: int = 200,
    execution: Execution,
) -> FreeEnergy:
    """Return the free energy difference between lambda = 1 and 0 by thermodynamic integration.

    The integral of a natural cubic spline (other ends give large weights of either sign, and so
    large errors) is a weighted sum of the window means. Its own error is judged by what each part
    of it moves, beyond noise, when every other window is left out: a third of that for 9 windows
    and more, as for a rule of second order, which is cautious for the spline's fourth; all of it
    for 5, which show no order yet. The parts and the statistical error are added in quadrature.

    Parameters
    ----------
    data, state, method, n_bootstraps, execution
        As in `estimate_mbar`.

    Returns
    -------
    FreeEnergy
        With the profile of <dU/dlambda>, both parts of the error, the overlap of neighbours and the
        drift in its diagnostics. Where the samples drift, the error is as in `estimate_mbar`.

    Raises
    ------
    ValueError
        If there are fewer than 3 windows, which say nothing about the error of the rule.
    """
    if data.n_windows < 3:
        raise ValueError(
            f"thermodynamic integration over {data.n_windows} windows has no error: give 3 or more"
        )
    test = check_equilibration(data, method=method)
    data = test.data
    drawn = draw(data, n_bootstraps, np.random.default_rng(execution.seed))
    rules, coarse_rules = _spline_rules(data.lambdas)
    dudl, controls = _controlled_dudl(data, drawn, rules.sum(axis=0))
    resampled = drawn.means(dudl)
    statistical = drawn.standard_error(resampled @ rules.sum(axis=0))
    integration = _rule_error(dudl.mean(axis=1), resampled, rules - coarse_rules)
    overlap = mbar_equations.overlap_of_neighbours(data)
    facts = {
        "lambdas": data.lambdas.tolist(),
        "dudl_mean": dudl.mean(axis=1).tolist(),
        "dudl_std_err": resampled.std(axis=0, ddof=1).tolist(),
        "statistical_error": statistical if math.isfinite(statistical) else None,
        "integration_error": integration,
        "neighbour_overlap": overlap.tolist(),
        "min_neighbour_overlap": float(overlap.min()),
        "control_variates": controls,
    }
    verdict = integral_verdict(overlap, data, statistical, integration)
    value, std_err = float(rules.sum(axis=0) @ dudl.mean(axis=1)), (statistical, integration)
    return _result(value, std_err, state, method, drawn, test, facts, verdict)


def _result(
    value: float,
    errors: float | tuple[float, ...],
    state: StatePoint,
    method: str,
    drawn: Bootstrap,
    test: EquilibrationTest,
    facts: dict[str, Any],
    verdict: Verdict,
) -> FreeEnergy:
    parts = errors if isinstance(errors, tuple) else (errors,)
    data = drawn.data
    if data.platform is not None:
        facts["platform"] = data.platform
    diagnostics = WindowDiagnostics(
        **drawn.counts, **data.move_diagnostics, **facts, drift=test.facts
    )
    return FreeEnergy(
        value=value,
        std_err=math.hypot(*parts, test.error),
        method=method,
        convention=state.convention,
        n_particles=state.n_particles,
        verdict=test.joined(verdict),
        diagnostics=diagnostics,
    )


def _controlled_dudl(
    data: WindowData, drawn: Bootstrap, rule: np.ndarray
) -> tuple[np.ndarray, dict[str, Any] | None]:
    """Return dU/dlambda with control variates subtracted, and what the integral is without them."""
    if data.control_variates is None:
        return data.dudl, None
    plain = drawn.standard_error(drawn.means(data.dudl) @ rule)
    controls = control_facts(data.control_variates, float(rule @ data.dudl.mean(axis=1)), plain)
    return control_variates.subtract(data.dudl, data.control_variates, data.chain), controls


def _rule_error(means: np.ndarray, resampled: np.ndarray, changes: np.ndarray) -> float:
    """Return the error of the rule of integration, from what fewer windows change, beyond noise."""
    beyond = np.abs(changes @ means) - 2.0 * (resampled @ changes.T).std(axis=0, ddof=1)
    order = min(3.0, max(1.0, (len(means) - 3) / 2))
    return float(np.linalg.norm(beyond.clip(min=0.0))) / order


def _spline_rules(lambdas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the windows' weights in the spline's integral, from all and from every other one.

    Both of shape (parts, K): a part reaches from one window of the latter to the next.
    """
    every = np.arange(len(lambdas))
    some = np.union1d(every[::2], every[-1:])
    fine = _spline_rule(lambdas, every)
    return np.add.reduceat(fine, some[:-1], axis=0), _spline_rule(lambdas, some)


def _spline_rule(lambdas: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return weights (intervals between the `used` windows, K) of int y dlambda/dk dk.

    y is a spline over the number k of a window.
    """
    means = CubicSpline(used, np.eye(len(lambdas))[used], bc_type="natural")
    slope = PchipInterpolator(used, lambdas[used]).derivative()
    nodes, weights = np.polynomial.legendre.leggauss(3)  # exact: the integrand is of fifth order
    half = 0.5 * np.diff(used)[:, None]
    k = used[:-1, None] + half * (1.0 + nodes)
    return np.asarray(np.einsum("jn,jnk->jk", half * weights * slope(k), means(k)))
