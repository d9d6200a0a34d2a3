r"""`coexistence`: the densities of fluid and crystal that have equal pressure and equal mu.

These are the two points of the common tangent of the free energies per volume, rho a(rho).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from openmm_nti.free_energy import Verdict
from openmm_nti.validation.melting.equation import Equation

QUANTITIES = ("rho_fluid", "rho_crystal", "pressure_star", "beta_mu")
_ROUNDS = 60
_CLOSE = 1e-10
_N_DRAWN = 200
_MOST_FAILED = 0.05  # share of the drawn pairs of curves that do not coexist
_GOOD_FIT = 3.0  # chi^2 for each degree of freedom


class Coexistence(NamedTuple):
    """Fluid and crystal in equilibrium.

    `values` and `errors` are by the names of `QUANTITIES`: densities in sigma^-3, p sigma^3 /
    epsilon, and beta mu with the thermal wavelength sigma. They are NaN where nothing was found.
    """

    values: dict[str, float]
    errors: dict[str, float]
    verdict: Verdict


def coexistence(
    fluid: Equation, crystal: Equation, temperature_star: float, rng: np.random.Generator
) -> Coexistence:
    """Return where the phases coexist; errors are the spread over curves within their errors."""
    found = tangent(fluid, crystal, temperature_star)
    if found is None:
        return nothing("the curves have no common tangent near these densities; simulate others")
    pairs = [(fluid.drawn(rng), crystal.drawn(rng)) for _ in range(_N_DRAWN)]
    drawn = [tangent(one, other, temperature_star) for one, other in pairs]
    kept = np.array([one for one in drawn if one is not None])
    failed = 1 - len(kept) / _N_DRAWN
    errors = kept.std(axis=0, ddof=1) if failed <= _MOST_FAILED else np.full(4, math.inf)
    values = dict(zip(QUANTITIES, found.tolist(), strict=True))
    return Coexistence(
        values,
        dict(zip(QUANTITIES, errors.tolist(), strict=True)),
        _verdict(fluid, crystal, values, errors),
    )


def nothing(why: str) -> Coexistence:
    """Return that nothing was found, and why."""
    none = dict.fromkeys(QUANTITIES, math.nan)
    return Coexistence(none, none, Verdict("bad", f"unreliable: {why}"))


def tangent(fluid: Equation, crystal: Equation, temperature_star: float) -> np.ndarray | None:
    """Return the `QUANTITIES`, (4,), by Newton's method; None if it does not converge."""
    at = np.array([fluid.middle, crystal.middle])
    for _ in range(_ROUNDS):
        miss = np.array(
            [
                fluid.beta_pressure(at[0]) - crystal.beta_pressure(at[1]),
                fluid.beta_mu(at[0]) - crystal.beta_mu(at[1]),
            ]
        )
        # d(beta mu) / d rho = 2 a' + rho a'', and d(beta p) is rho times that.
        bends = np.array(
            [
                2 * one.slope(rho) + rho * one.slope(rho, 2)
                for one, rho in zip((fluid, crystal), at, strict=True)
            ]
        )
        if not (np.isfinite(bends).all() and (bends > 0).all()):
            return None
        matrix = np.array([at * bends, bends]) * np.array([1, -1])
        step = np.linalg.solve(matrix, miss)
        at = at - step
        if not (np.abs(at / (fluid.middle, crystal.middle) - 1) < 0.3).all() or at[0] >= at[1]:
            return None
        if np.abs(step).max() < _CLOSE:
            pressure = temperature_star * fluid.beta_pressure(at[0])
            return np.array([*at, pressure, fluid.beta_mu(at[0])])
    return None


def _verdict(
    fluid: Equation, crystal: Equation, values: dict[str, float], errors: np.ndarray
) -> Verdict:
    """Return whether errors are known, densities lie between simulated ones, and the fits fit."""
    if not (np.isfinite(errors).all() and (errors > 0).all()):
        text = "too many curves within the errors do not coexist; simulate longer"
        return Verdict("bad", f"unreliable: {text}")
    for name, one in (("fluid", fluid), ("crystal", crystal)):
        rho = values[f"rho_{name}"]
        if not one.lowest <= rho <= one.highest:
            text = f"the {name} has rho* = {rho:.4g}, outside of {one.lowest:.4g} to"
            return Verdict("warn", f"poor: {text} {one.highest:.4g}; add densities there")
    reduced = max(fluid.reduced, crystal.reduced)
    otherwise = Verdict(
        "warn", f"a polynomial misses the data: chi^2 = {reduced:.1f} for each; errors are raised"
    )
    good = f"good (chi^2 = {reduced:.2g} for each degree of freedom)"
    return Verdict.good_if(reduced <= _GOOD_FIT, good, otherwise)
