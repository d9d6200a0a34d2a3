"""The judge of all estimates at one state point, for the report, the run's table and the paper.

The rule for the number to quote (`quote`) is the only one there is, for reports, tables, the paper
and its figures: of the exact estimates, the one with the smallest honest error. An error is honest
where it is finite and the estimator's own verdict is good; where no verdict is, one that is not bad
will do. The number is checked against the best exact estimate from other samples, and every other
estimate is compared with it.

The bracket of beta F_ex is rigorous, whatever the network has learned. An estimate outside of it by
more than its error is wrong, whatever its own error says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from openmm_nti.free_energy import NOT_JUDGED, FreeEnergy, Verdict, uncertain
from openmm_nti.validation.estimators.base import NOT_ASKED, Bounds, Estimator
from openmm_nti.validation.estimators.registry import all_estimators, exact_estimators

Answer = TypeVar("Answer")
Estimates = Mapping[str, FreeEnergy]  # of one quantity at one state point, by method
_AGREE = 3.0  # combined standard errors
_BOUND_SLACK = 2.0
_OUTSIDE = 3.0
_NO_CAVEAT = "its error bar does not explain the distance."
_NO_NUMBER = Verdict("none", "cannot be said: a number that decides it is missing or NaN")
_ANSWERS = {"good": "yes: ", "warn": "hardly: ", "bad": "no: ", "none": ""}


@dataclass(frozen=True)
class Quote:
    """The number to quote.

    Attributes
    ----------
    estimate
        The exact estimate with the smallest error.
    check
        Whether an exact estimate from other samples confirms it.
    """

    estimate: FreeEnergy
    check: Verdict


def quote(estimates: Estimates) -> Quote | None:
    """Return the number to quote; None where no exact estimate is usable."""
    usable = _usable_exact(estimates)
    if not usable:
        return None
    best = usable[0]
    independent = [found for found in usable if not _share_samples(found, best)]
    if not independent:
        return Quote(best, Verdict("warn", "No exact estimate from other samples confirms it."))
    return Quote(best, compare(best, independent[0]))


def best_exact(estimates: Estimates) -> FreeEnergy | None:
    """Return the estimate to quote, without its check; None where no exact one is usable."""
    found = quote(estimates)
    return None if found is None else found.estimate


def is_usable(found: FreeEnergy) -> bool:
    """Return whether the error is finite and the estimator does not reject its own number."""
    return found.has_error and found.verdict.level != "bad"


def judge(found: FreeEnergy, quoted: Quote | None) -> Verdict:
    """Return the verdict on an estimate.

    Parameters
    ----------
    found
        The estimate.
    quoted
        The number to quote, which may be `found` itself: then its check is the comparison. None
        where there is none.
    """
    own = found.verdict
    if not found.has_error:
        return Verdict("bad", f"The data do not determine an error: {own.text}.")
    if quoted is None:
        compared = Verdict("none", "Nothing exact stands beside it to compare with.")
    elif found.method == quoted.estimate.method:
        compared = Verdict(quoted.check.level, f"The number to quote. {quoted.check.text}")
    else:
        compared = compare(found, quoted.estimate)
    if own.level == "good" or own == NOT_JUDGED:
        return compared
    level = max(own.level, compared.level, key=_severity)
    return Verdict(level, f"{compared.text} Its own diagnostics: {own.text}.")


def compare(found: FreeEnergy, against: FreeEnergy) -> Verdict:
    """Return whether `found` agrees with the exact estimate `against`, within both errors."""
    if not (found.has_error and against.has_error):
        return Verdict("bad", f"Without an error it cannot be compared with {against.method}.")
    known = all_estimators().get(found.method)
    difference = found.value - against.value
    error = math.hypot(found.std_err, against.std_err)
    if known is not None and known.kind == "bound":
        return _compare_bound(difference, error, against.method)
    if abs(difference) <= _AGREE * error:
        text = f"Agrees with {against.method}: difference {uncertain(difference, error)} kT."
        return Verdict("good", text)
    where = "above" if difference > 0 else "below"
    distance = f"{uncertain(abs(difference), error)} kT {where} {against.method}"
    if known is not None and known.kind == "exact":
        text = f"Disagrees: {distance}, though both are exact. Look at overlap and sampling."
        return Verdict("bad", text)
    return Verdict("warn", f"{distance}: {known.caveat if known else _NO_CAVEAT}")


def converged(found: FreeEnergy) -> Verdict:
    """Return whether more sampling with the same settings would leave the estimate as it is."""
    own = found.verdict
    otherwise = Verdict(own.level, f"{_ANSWERS[own.level]}{own.text}")
    answer = _answer(found, lambda known: known.converged(found), otherwise, _NO_NUMBER)
    if not found.has_error and answer.level != "bad":
        return Verdict("bad", "no: the data give no error")
    return otherwise if own.level == "bad" and answer.level == "good" else answer


def overlap(found: FreeEnergy, estimates: Estimates) -> Verdict:
    """Return whether the ensembles that the estimate joins have configurations in common."""
    return _answer(found, lambda known: known.overlap(found, estimates), NOT_ASKED)


def in_bracket(found: FreeEnergy, estimates: Estimates) -> Verdict:
    """Return whether an estimate of beta F_ex lies between the rigorous bounds beside it."""
    if not found.has_error or found.quantity != "beta_f_ex":
        return NOT_ASKED
    known = all_estimators().get(found.method)
    is_bound = known is not None and known.kind == "bound"  # a bound does not bound itself
    limits = bracket(estimates)
    sides = []
    for limit, sign, side in (
        (None if is_bound else limits.lower, -1, "below the lower bound"),
        (limits.upper, 1, "above the upper bound"),
    ):
        if limit is None:
            continue
        outside = sign * (found.value - limit[0])
        error = math.hypot(found.std_err, limit[1])
        if not outside <= _OUTSIDE * error:
            text = f"no: {uncertain(outside, error)} kT {side}, {uncertain(*limit)}"
            return Verdict("bad", text)
        sides.append(side)
    if not sides:
        return NOT_ASKED
    text = "yes, between both bounds" if len(sides) == 2 else f"not {sides[0]}; there is no other"
    return Verdict("good", text)


def bracket(estimates: Estimates) -> Bounds:
    """Return the tightest bounds of beta F_ex that the estimates imply."""
    implied = [_implied(found) for found in estimates.values()]
    lowers = [bounds.lower for bounds in implied if _is_finite(bounds.lower)]
    uppers = [bounds.upper for bounds in implied if _is_finite(bounds.upper)]
    return Bounds(
        max((lower for lower in lowers if lower is not None), default=None),
        min((upper for upper in uppers if upper is not None), default=None),
    )


def _usable_exact(estimates: Estimates) -> list[FreeEnergy]:
    """Return the exact and usable estimates: those with an honest error first, then by error."""
    found = [estimates[known.name] for known in exact_estimators() if known.name in estimates]
    return sorted(
        filter(is_usable, found), key=lambda one: (one.verdict.level != "good", one.std_err)
    )


def _share_samples(first: FreeEnergy, second: FreeEnergy) -> bool:
    known = all_estimators()
    return known[first.method].section == known[second.method].section


def _compare_bound(difference: float, error: float, method: str) -> Verdict:
    if difference <= _BOUND_SLACK * error:
        text = f"The bound holds: {uncertain(-difference, error)} kT below {method}."
        return Verdict("good", text)
    text = f"A lower bound above {method} by {uncertain(difference, error)} kT: one is wrong."
    return Verdict("bad", text)


def _answer(
    found: FreeEnergy,
    question: Callable[[Estimator], Answer],
    otherwise: Answer,
    no_number: Answer | None = None,
) -> Answer:
    """Return what the estimator of `found` says; `otherwise` where this version does not know it.

    A results.json of an older or newer version may name other methods or hold other diagnostics.
    It holds null for a NaN: then it is `no_number`, where that is given.
    """
    known = all_estimators().get(found.method)
    if known is None:
        return otherwise
    try:
        return question(known)
    except (AttributeError, KeyError):
        return otherwise
    except TypeError:
        return otherwise if no_number is None else no_number


def _implied(found: FreeEnergy) -> Bounds:
    return _answer(found, lambda known: known.bounds(found), Bounds())


def _is_finite(bound: tuple[float, float] | None) -> bool:
    return bound is not None and all(x is not None and math.isfinite(x) for x in bound)


def _severity(level: str) -> int:
    return ("none", "good", "warn", "bad").index(level)
