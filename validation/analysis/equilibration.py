"""The equilibration test: samples of windows that still drift are left out, or have no error.

Equilibration detection window by window (Chodera, J. Chem. Theory Comput. 12, 1799 (2016)) sees a
transient only where it rises above the noise of one window. On a path all windows may relax the
same way, each by less. So the drift of dU/dlambda is summed over the windows as thermodynamic
integration sums its mean,

    change = int_0^1 ( <dU/dlambda>_last quarter - <dU/dlambda>_first quarter ) dlambda,

in kT of free energy: this finds the slow drift of all. Each window is also tested alone, which
finds the one that went wrong (`reference_md.drift.drift`). What moves dU/dlambda moves the
energies between neighbouring windows, and MBAR sees nothing else. A relaxation much slower than
the whole production is in no statistic of it.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from openmm_nti.free_energy import Verdict
from openmm_nti.reference_md.drift import Drift, drift, later_half
from openmm_nti.validation.analysis.window_data import WindowData

CHANCE = 0.01  # of an alarm on samples in equilibrium
_FIELDS = {
    "neural": "estimates.windows.equilibration_steps",
    "softcore": "estimates.softcore.equilibration",
    "decoupling": "estimates.decoupling.equilibration",
    "ufm": "estimates.ufm_switching.equilibration",
    "frenkel": "estimates.frenkel_ladd.equilibration",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EquilibrationTest:
    """Result of the equilibration test, with the samples to estimate from.

    Attributes
    ----------
    data
        All samples where no drift was found, else the later half of each chain.
    error
        What a drift adds to the standard error, in quadrature, kT: 0 without one, infinite where it
        goes on.
    facts
        The entry `drift` of the diagnostics; None where the chains are too short to tell.
    verdict
        Plain words on a drift and what to do; None without one.
    """

    data: WindowData
    error: float = 0.0
    facts: dict[str, Any] | None = None
    verdict: Verdict | None = None

    def joined(self, own: Verdict) -> Verdict:
        """Return `own`, the verdict on the data, joined with that on a drift, the graver first."""
        if self.verdict is None:
            return own
        first, second = sorted((self.verdict, own), key=lambda verdict: verdict.level != "bad")
        return Verdict(first.level, f"{first.text}; {second.text}")


def check_equilibration(data: WindowData, *, method: str) -> EquilibrationTest:
    """Test for drift in all windows together and in each; after a drift, drop the first halves.

    Where the drift ends, the later half alone is used: averaging over a transient would keep its
    bias. What half of the data does not show may still be there, so the error grows by what the
    later half drifts and by the error of that. A steady drift leaves half of itself in the later
    half. Unless what is left is below that by two standard errors, equilibrium may never have been
    sampled and extrapolating to it is guesswork. The error is then infinite: "unknown".

    Parameters
    ----------
    data
        Samples of all windows, in the order of time in each chain.
    method
        Name of the estimator, for the warning.
    """
    found = _drift(data)
    if found is None:
        return EquilibrationTest(data)
    if found.chance >= CHANCE:
        return EquilibrationTest(data, facts=_facts(found, data.lambdas))
    rest = data.select(later_half(data.chain))
    left = _drift(rest)
    ends = (
        left is not None
        and left.chance >= CHANCE
        and abs(left.change) + 2 * left.std_err < abs(found.change) / 2
    )
    error = math.hypot(left.change, left.std_err) if left is not None and ends else math.inf
    facts = {
        **_facts(found, data.lambdas),
        "left_out": 0.5,
        "rest": _facts(left, data.lambdas) if left else None,
    }
    verdict = _verdict(error, f"{_where(found, data.lambdas)}; {_advice(method)}")
    _log.warning("%s: %s", method, verdict.text)
    return EquilibrationTest(rest, error, facts, verdict)


def _drift(data: WindowData) -> Drift | None:
    """Return the drift of the integral of dU/dlambda by the trapezoidal rule.

    Its weights are positive: no window can cancel another's drift by its sign.
    """
    half_gaps = np.diff(data.lambdas) / 2
    return drift(data.dudl, data.chain, np.append(half_gaps, 0) + np.append(0, half_gaps))


def _facts(found: Drift, lambdas: np.ndarray) -> dict[str, Any]:
    return {
        "change": found.change,
        "change_std_err": found.std_err,
        "z": found.z,
        "worst_lambda": float(lambdas[found.worst]),
        "worst_z": found.worst_z,
        "chance": found.chance,
        "left_out": 0.0,
    }


def _verdict(error: float, details: str) -> Verdict:
    if math.isfinite(error):
        kept = f"only the later half is used, {error:.2g} kT added to its error"
        return Verdict("warn", f"poor equilibration ({kept}): {details}")
    reason = "the later half does not show that the drift ends"
    return Verdict("bad", f"unreliable, not in equilibrium ({reason}): {details}")


def _where(found: Drift, lambdas: np.ndarray) -> str:
    if abs(found.worst_z) > abs(found.z):
        return f"the window at lambda = {lambdas[found.worst]:.3g} drifts (z = {found.worst_z:.1f})"
    return f"all windows together drift by {found.change:+.2g} kT (z = {found.z:.1f})"


def _advice(method: str) -> str:
    fields = [field for word, field in _FIELDS.items() if word in method]
    return f"raise {fields[0]}" if fields else "equilibrate longer before the first frame"
