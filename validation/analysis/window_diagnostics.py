"""The facts beside an estimate from windows, and the verdicts that follow from them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydantic import model_serializer
from pydantic_core.core_schema import SerializerFunctionWrapHandler

from openmm_nti.free_energy import Diagnostics, Verdict, uncertain
from openmm_nti.validation.analysis.window_data import WindowData

GOOD_OVERLAP = 0.03  # Klimovich, Shirts and Mobley, J. Comput. Aided Mol. Des. 29, 397 (2015)
NO_OVERLAP = 1e-3  # below this neither value nor error of MBAR means anything
_FEW_UNITS = 8  # independent chains or blocks under an error by bootstrap
_NO_ERROR = "unreliable: too few independent samples for an error"


class WindowDiagnostics(Diagnostics):
    """Facts beside MBAR, BAR and thermodynamic integration; each sets its own fields.

    Attributes
    ----------
    n_windows, n_samples, n_eff, n_chains, n_bootstrap_units
        Windows, samples in all of them, independent ones among these, chains in a window, and units
        of the bootstrap.
    acceptance, timestep_star, exchange
        As in `WindowData`, where the samples have them.
    overlap_matrix, min_neighbour_overlap, neighbour_overlap
        Overlap of windows: of all pairs, the smallest of neighbours, and of all neighbours.
    differences
        Free energies between neighbours, kT.
    lambdas, dudl_mean, dudl_std_err
        The profile that is integrated, kT.
    statistical_error, integration_error
        Both parts of the error of an integral, kT.
    control_variates
        What the estimate would be without them; None where there are none.
    drift
        What the equilibration test found; None where the chains are too short for it.
    platform
        Where MD made the samples: OpenMM's platform, with device and precision.
    """

    n_windows: int
    n_samples: int
    n_eff: float
    n_chains: int
    n_bootstrap_units: int
    acceptance: list[float | None] | None = None
    timestep_star: list[float | None] | None = None
    exchange: list[float | None] | None = None
    overlap_matrix: list[list[float]] | None = None
    differences: list[float] | None = None
    neighbour_overlap: list[float] | None = None
    min_neighbour_overlap: float = math.nan
    lambdas: list[float] | None = None
    dudl_mean: list[float] | None = None
    dudl_std_err: list[float] | None = None
    statistical_error: float | None = None
    integration_error: float = math.nan
    control_variates: dict[str, Any] | None
    drift: dict[str, Any] | None
    platform: str | None = None

    def keys(self) -> list[str]:
        """Return the names of the fields that were set."""
        return [name for name in type(self).model_fields if name in self.model_fields_set]

    @model_serializer(mode="wrap")
    def _only_what_was_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)
        return {name: written[name] for name in self.keys()}


def overlap_verdict(neighbours: np.ndarray, data: WindowData, std_err: float) -> Verdict:
    """Return the verdict on MBAR or BAR.

    Parameters
    ----------
    neighbours
        Overlap of each window with the next, (K - 1,).
    data
        The samples.
    std_err
        Standard error of the estimate, infinite where there is none.
    """
    smallest, where = _smallest(neighbours, data.lambdas)
    if not smallest >= NO_OVERLAP:
        text = f"unreliable: the windows do not overlap ({where}); add windows there"
        return Verdict("bad", text)
    if not 0 < std_err < math.inf:
        return Verdict("bad", f"{_NO_ERROR} ({where}); sample longer")
    if not smallest >= GOOD_OVERLAP:
        return Verdict("warn", f"poor overlap ({where}); add windows there")
    return _good_unless(data, f"good ({where})")


def integral_verdict(
    neighbours: np.ndarray, data: WindowData, statistical: float, integration: float
) -> Verdict:
    """Return the verdict on thermodynamic integration.

    It needs no overlap, but where there is none, nothing has been seen between two windows.

    Parameters
    ----------
    neighbours
        Overlap of each window with the next, (K - 1,).
    data
        The samples.
    statistical, integration
        Both parts of the error, kT.
    """
    if not 0 < statistical < math.inf:
        return Verdict("bad", f"{_NO_ERROR}; sample longer")
    if not integration <= statistical:
        text = "few windows: the rule of integration limits the error; add windows"
        return Verdict("warn", text)
    smallest, where = _smallest(neighbours, data.lambdas)
    if not smallest >= GOOD_OVERLAP:
        how = "hardly" if smallest >= NO_OVERLAP else "do not"
        text = f"few windows: neighbours {how} overlap ({where}); add windows there"
        return Verdict("warn", text)
    return _good_unless(data, "good")


def converged(facts: Diagnostics, has_error: bool) -> Verdict:
    """Return whether more sampling would leave an estimate from windows as it is."""
    if not has_error:
        reason = _drift(facts) if _drifts(facts) else "the data give no error"
        return Verdict("bad", f"no: {reason}")
    text = f"{facts['n_eff']:.0f} of {facts['n_samples']} samples are independent"
    if _drifts(facts):
        return Verdict("warn", f"hardly: {_drift(facts)}; the later half was used")
    units = facts["n_bootstrap_units"]
    if not (units >= _FEW_UNITS and facts["n_eff"] >= _FEW_UNITS):
        text = f"hardly: {text}, in {units} independent blocks; sample longer"
        return Verdict("warn", text)
    if "integration_error" in facts:  # null, in a file, is NaN
        statistical, integration = (
            math.nan if facts.get(name) is None else facts[name]
            for name in ("statistical_error", "integration_error")
        )
        if not integration <= statistical:
            moves = f"the integral moves by {integration:.2g} kT with fewer windows"
            return Verdict("warn", f"hardly: {text}, but {moves}")
    return Verdict("good", f"yes: {text}; {_drift(facts)}")


def graded_overlap(smallest: float) -> Verdict:
    """Return whether neighbouring windows overlap, from the smallest overlap of two of them."""
    where = f"{smallest:.2g} between neighbouring windows"
    if not smallest >= NO_OVERLAP:
        return Verdict("bad", f"no: {where}, {NO_OVERLAP:g} is the least")
    if not smallest >= GOOD_OVERLAP:
        return Verdict("warn", f"hardly: {where}, {GOOD_OVERLAP:g} is comfortable")
    return Verdict("good", f"yes: {where}")


def _smallest(neighbours: np.ndarray, lambdas: np.ndarray) -> tuple[float, str]:
    """Return the smallest overlap of neighbours, NaN if one is NaN, and where it is in words."""
    worst = int(neighbours.argmin())
    between = f"lambda {lambdas[worst]:.3g}-{lambdas[worst + 1]:.3g}"
    smallest = float(neighbours[worst])
    return smallest, f"smallest neighbour overlap {smallest:.2g} at {between}"


def _good_unless(data: WindowData, text: str) -> Verdict:
    """Return a good verdict unless the sampling itself gives reason for another one."""
    if data.is_constant:
        text = "unreliable: dU/dlambda never changes, so nothing was sampled or nothing interacts"
        return Verdict("bad", text)
    if len(frozen := data.frozen_windows):
        where = f"lambda = {data.lambdas[frozen[0]]:.3g}"
        return Verdict("bad", f"unreliable: all samples are the same at {where}; sample it again")
    if data.few_accepted:
        return Verdict("warn", data.few_accepted)
    return Verdict("good", text)


def _drifts(facts: Diagnostics) -> bool:
    drift = facts.get("drift")
    return bool(drift) and not drift["left_out"] <= 0


def _drift(facts: Diagnostics) -> str:
    """Return how the windows move from the first quarter of the production to the last."""
    drift = facts.get("drift")
    if not drift:
        return "drift was not tested"
    change = f"{uncertain(drift['change'], drift['change_std_err'])} kT"
    if not _drifts(facts):
        return f"a drift of {change} is nothing unusual"
    window = f"{drift['worst_z']:.1f} in the window at lambda = {drift['worst_lambda']:.3g}"
    return f"the windows drift by {change}; z = {drift['z']:.1f} together, {window}"
