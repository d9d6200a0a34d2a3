"""Three questions to every estimate, answered in plain words: has it converged, is there overlap,
is it in the bracket?

The bracket of beta F_ex is rigorous: from below the denoising bound and the works of the noising
paths, from above the works of the denoising paths. An estimate outside of it by more than its error
is wrong, whatever its own error says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from openmm_nti.validation.analysis.window_estimates import GOOD_OVERLAP, NO_OVERLAP
from openmm_nti.validation.estimators.path_weights import SMALLEST_OVERLAP
from openmm_nti.validation.report.verdicts import has_error, uncertain

_Estimate = Mapping[str, Any]
_OUTSIDE = 3.0  # combined standard errors
_FEW_UNITS = 8  # independent chains or blocks under an error by bootstrap
_SYSTEMATIC = 1.0  # share of the statistical error above which a systematic one needs a word


@dataclass(frozen=True)
class Answer:
    """`level` is `good`, `warn`, `bad` or `none` (the question does not apply); `text` says why."""

    level: str
    text: str


NOT_ASKED = Answer("none", "does not apply")


def converged(name: str, estimate: _Estimate) -> Answer:
    """Whether more sampling with the same settings would leave the estimate where it is.

    Parameters
    ----------
    name
        Method.
    estimate
        Its entry in results.json: `value`, `std_err` and `diagnostics`.
    """
    facts = estimate["diagnostics"]
    if not has_error(estimate):
        return Answer(
            "bad", f"no: {_drift(facts)}" if _drifts(facts) else "no: the data give no error"
        )
    try:
        return _CONVERGED.get(name, _by_own_verdict)(facts)
    except KeyError:  # results of another version, with other diagnostics
        return _by_own_verdict(facts)


def overlap(name: str, estimates: Mapping[str, _Estimate]) -> Answer:
    """Whether the ensembles that the estimate called `name` joins have configurations in common."""
    source = "mbar_neural" if name == "ti_neural_md" else name  # the same windows
    facts = estimates.get(source, {}).get("diagnostics", {})
    if "min_neighbour_overlap" in facts:
        return _graded(
            facts["min_neighbour_overlap"], "between neighbouring windows", NO_OVERLAP, GOOD_OVERLAP
        )
    if name == "path_bar" and "overlap" in facts:
        return _graded(
            facts["overlap"], "between the two directions", SMALLEST_OVERLAP, SMALLEST_OVERLAP
        )
    if name == "bar_chain" and "overlap" in facts:
        return Answer(
            "good",
            f"{min(facts['overlap']):.2g} at the worst step; insertions count, see convergence",
        )
    return NOT_ASKED


def in_bracket(name: str, estimates: Mapping[str, _Estimate]) -> Answer:
    """Whether the estimate of beta F_ex called `name` lies between the rigorous bounds that stand
    beside it.
    """
    if not has_error(estimates[name]):
        return NOT_ASKED
    lower, upper = bracket(estimates)
    value, std_err = estimates[name]["value"], estimates[name]["std_err"]
    sides = []
    for bound, sign, side in (
        (lower, -1, "below the lower bound"),
        (upper, 1, "above the upper bound"),
    ):
        if bound is None or (name == "neural_ti_bound" and sign < 0):
            continue
        outside, error = sign * (value - bound[0]), math.hypot(std_err, bound[1])
        if outside > _OUTSIDE * error:
            return Answer("bad", f"no: {uncertain(outside, error)} kT {side}, {uncertain(*bound)}")
        sides.append(side)
    if not sides:
        return NOT_ASKED
    text = "yes, between both bounds" if len(sides) == 2 else f"not {sides[0]}; there is no other"
    return Answer("good", text)


def bracket(
    estimates: Mapping[str, _Estimate],
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """The tightest lower and the upper bound of beta F_ex, each as (value, standard error) in kT,
    or None.
    """
    lowers, upper = [], None
    if has_error(bound := estimates.get("neural_ti_bound", {"std_err": None})):
        lowers.append((bound["value"], bound["std_err"]))
    for name in ("path_bar", "path_bracket"):
        facts = estimates.get(name, {}).get("diagnostics", {})
        if {"lower", "lower_err", "upper", "upper_err"} <= facts.keys():
            lowers.append((facts["lower"], facts["lower_err"]))
            upper = (facts["upper"], facts["upper_err"])
            break
    return max(lowers, default=None), upper


def _windows(facts: _Estimate) -> Answer:
    text = f"{facts['n_eff']:.0f} of {facts['n_samples']} samples are independent"
    if _drifts(facts):
        return Answer("warn", f"hardly: {_drift(facts)}; the later half was used")
    if facts["n_bootstrap_units"] < _FEW_UNITS:
        return Answer(
            "warn",
            f"hardly: {text}, in {facts['n_bootstrap_units']} independent blocks; sample longer",
        )
    if (integration := facts.get("integration_error", 0.0)) > facts.get(
        "statistical_error", math.inf
    ):
        return Answer(
            "warn",
            f"hardly: {text}, but the integral moves by {integration:.2g} kT with fewer windows",
        )
    return Answer("good", f"yes: {text}; {_drift(facts)}")


def _drifts(facts: _Estimate) -> bool:
    return bool(facts.get("drift")) and facts["drift"]["left_out"] > 0


def _drift(facts: _Estimate) -> str:
    """How the windows move from the first quarter of the production to the last; see `settling`."""
    if not (drift := facts.get("drift")):
        return "drift was not tested"
    change = f"{uncertain(drift['change'], drift['change_std_err'])} kT"
    if not _drifts(facts):
        return f"a drift of {change} is nothing unusual"
    window = f"{drift['worst_z']:.1f} in the window at lambda = {drift['worst_lambda']:.3g}"
    return f"the windows drift by {change}; z = {drift['z']:.1f} together, {window}"


def _neural_ti(facts: _Estimate) -> Answer:
    noise, steps = facts["statistical_err"], facts["discretisation_err"]
    text = (
        f"{facts['n_samples']} samples leave {noise:.2g} kT, {facts['n_steps']} steps {steps:.2g} "
        "kT"
    )
    return (
        Answer("warn", f"hardly: {text}; take more steps")
        if steps > noise
        else Answer("good", f"yes: {text}")
    )


def _bound(facts: _Estimate) -> Answer:
    return Answer(
        "good",
        f"yes: {len(facts['noise_sigma'])} noise levels leave {facts['model_bound_err']:.2g} kT",
    )


def _path_bar(facts: _Estimate) -> Answer:
    own = _by_own_verdict(facts)
    return (
        Answer("good", f"yes: the paths leave {facts['bootstrap_err']:.2g} kT")
        if own.level == "good"
        else own
    )


def _path_bracket(facts: _Estimate) -> Answer:
    noise, asymmetry = facts["statistical_err"], facts["systematic_err"]
    text = f"paths leave {noise:.2g} kT, the two gaps differ by up to {asymmetry:.2g} kT"
    if asymmetry > _SYSTEMATIC * noise:
        return Answer("warn", f"limited by the model: {text}; more paths do not help")
    return Answer("good", f"yes: {text}")


def _by_own_verdict(facts: _Estimate) -> Answer:
    own = str(facts.get("verdict", "")) or "nothing speaks against it"
    for word, level in (("unreliable", "bad"), ("poor", "warn"), ("few", "warn")):
        if own.startswith(word):
            return Answer(level, f"no: {own}" if level == "bad" else f"hardly: {own}")
    return Answer(
        "good", "yes" if own == "good" else f"yes: {own.removeprefix('good (').removesuffix(')')}"
    )


def _graded(value: float, where: str, none: float, good: float) -> Answer:
    if value < none:
        return Answer("bad", f"no: {value:.2g} {where}, {none:g} is the least")
    if value < good:
        return Answer("warn", f"hardly: {value:.2g} {where}, {good:g} is comfortable")
    return Answer("good", f"yes: {value:.2g} {where}")


_CONVERGED: Mapping[str, Callable[[_Estimate], Answer]] = {
    **dict.fromkeys(
        ("mbar_neural", "bar_neural", "mbar_softcore", "mu_decoupling", "ti_neural_md"), _windows
    ),
    **dict.fromkeys(("neural_ti", "neural_ti_noised"), _neural_ti),
    "neural_ti_bound": _bound,
    "path_bar": _path_bar,
    "path_bracket": _path_bracket,
}
