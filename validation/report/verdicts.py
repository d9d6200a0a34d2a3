"""Plain words on estimates that stand side by side: which agree, which do not, and what each of
them is worth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DESCRIPTIONS = {
    "mbar_softcore": "MBAR over classical soft-core windows; uses no network",
    "bar_chain": "One particle after another by BAR in Monte Carlo; uses no network",
    "mbar_neural": "MBAR over MD with the neural Hamiltonian; exact for any network",
    "bar_neural": "BAR of neighbouring windows of the same MD; exact for any network",
    "ti_neural_md": "Thermodynamic integration over the same MD; exact for any network",
    "path_bar": "BAR between noising and denoising paths; exact for any network, no simulation in "
    "between",
    "path_bracket": "Middle of rigorous lower and upper bounds from those paths",
    "neural_ti": "Neural TI as published; as good as the network",
    "neural_ti_noised": "Neural TI over noised data; as good as the network",
    "neural_ti_bound": "Lower bound from denoising, by the network and then by tethered chains",
    "neural_ti_tethered": "That bound with its gap measured by tethered chains, at noise of 0.08 "
    "to 1 sigma",
    "eos": "Equation of state of the bulk fluid, tail taken off in the mean field",
    "mu_decoupling": "MBAR over soft-core windows of one particle; uses no network",
    "widom": "Test particle insertion into the reference data",
}
REFERENCES = (
    "mbar_softcore",
    "mbar_neural",
    "bar_neural",
    "ti_neural_md",
    "path_bar",
    "bar_chain",
    "mu_decoupling",
)  # exact; the first that has an error bar serves
_BOUNDS = {"neural_ti_bound"}
_WARNINGS = (
    "unreliable",
    "poor",
    "few",
)  # how estimators' own verdicts begin when they are not to be passed over
_REASONS = {
    "eos": "the equation of state knows no small box.",
    "widom": "insertions find too little room.",
    "neural_ti_tethered": "the network's error at noise outside of the chains' range, or chains "
    "too short.",
}  # for a distance that is not the network's
_AGREE = 3.0  # combined standard errors
_BOUND_SLACK = 2.0


@dataclass(frozen=True)
class Verdict:
    """A judgement: `level` is `good`, `warn` or `bad`; `text` says why."""

    level: str
    text: str


def reference_method(estimates: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The exact method that the others are held against; None where no exact one has an error
    bar.
    """
    return next(
        (name for name in REFERENCES if name in estimates and has_error(estimates[name])), None
    )


def has_error(estimate: Mapping[str, Any]) -> bool:
    """Whether the standard error is a finite number."""
    return estimate["std_err"] is not None and math.isfinite(estimate["std_err"])


def judge(name: str, estimates: Mapping[str, Mapping[str, Any]]) -> Verdict:
    """Verdict on the estimate called `name` among all `estimates` of one quantity.

    Parameters
    ----------
    name
        Method.
    estimates
        Entries of results.json by method: `value`, `std_err` and `diagnostics`.
    """
    estimate = estimates[name]
    own = str(estimate["diagnostics"].get("verdict", "good"))
    if not has_error(estimate):
        return Verdict("bad", f"The data do not determine an error: {own}.")
    reference = reference_method(estimates)
    if reference is None:
        compared = Verdict("good", "Nothing exact stands beside it to compare with.")
    elif name == reference:
        compared = Verdict("good", "The others are held against this one.")
    else:
        compared = _compare(name, estimate, reference, estimates[reference])
    if not own.startswith(_WARNINGS):
        return compared
    level = "bad" if own.startswith("unreliable") or compared.level == "bad" else "warn"
    return Verdict(level, f"{compared.text} Its own diagnostics: {own}.")


def _compare(
    name: str, estimate: Mapping[str, Any], reference: str, other: Mapping[str, Any]
) -> Verdict:
    difference = estimate["value"] - other["value"]
    error = math.hypot(estimate["std_err"], other["std_err"])
    if name in _BOUNDS:
        if difference > _BOUND_SLACK * error:
            return Verdict(
                "bad",
                f"A lower bound above {reference} by {uncertain(difference, error)} kT: one is "
                "wrong.",
            )
        return Verdict(
            "good", f"The bound holds: {uncertain(-difference, error)} kT below {reference}."
        )
    if abs(difference) <= _AGREE * error:
        return Verdict(
            "good", f"Agrees with {reference}: difference {uncertain(difference, error)} kT."
        )
    where = "above" if difference > 0 else "below"
    distance = f"{uncertain(abs(difference), error)} kT {where} {reference}"
    if name in REFERENCES:
        return Verdict(
            "bad", f"Disagrees: {distance}, though both are exact. Look at overlap and sampling."
        )
    reason = _REASONS.get(name, "the network's error. Train longer.")
    return Verdict("warn", f"{distance[0].upper()}{distance[1:]}: {reason}")


def uncertain(value: float, std_err: float | None) -> str:
    """Value and standard error with two digits of the error: -21.10 ± 0.15."""
    if std_err is None or not math.isfinite(std_err):
        return f"{_minus(f'{value:.2f}')} ± unknown"
    digits = 3 if std_err == 0 else min(6, max(0, 1 - math.floor(math.log10(std_err))))
    return f"{_minus(f'{value:.{digits}f}')} ± {std_err:.{digits}f}"


def _minus(number: str) -> str:
    return number.replace("-", "\u2212")
