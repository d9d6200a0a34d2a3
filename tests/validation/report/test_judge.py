"""Verdicts, the three questions, the bracket, and the number to quote."""

import math

import pytest
from report_run import entry, estimates, free_energy

from openmm_nti.free_energy import uncertain
from openmm_nti.validation.report import judge

WINDOWS = {"n_eff": 80.0, "n_samples": 100, "n_bootstrap_units": 16}


REST = {
    "change": -0.2,
    "change_std_err": 0.3,
    "z": -0.7,
    "worst_lambda": 0.5,
    "worst_z": 0.0,
    "left_out": 0.0,
}


DRIFT = REST | {"change": -9.0, "change_std_err": 1.5, "z": -5.6, "worst_z": -2.1, "left_out": 0.5}


STEPS = {"n_samples": 32, "n_steps": 50, "statistical_err": 0.2}


BOUNDS = {"lower": -22.5, "lower_err": 0.1, "upper": -21.0, "upper_err": 0.05}


@pytest.mark.parametrize(
    ("method", "change", "level", "text"),
    [
        ("mbar_neural", {}, "good", "The number to quote. Agrees with mbar_softcore"),
        ("mbar_neural", {}, "good", "difference −0.15 ± 0.18"),
        ("mbar_neural", {"value": -22.0}, "bad", "Disagrees"),
        ("mbar_softcore", {}, "good", "Agrees with mbar_neural"),
        ("neural_ti", {}, "warn", "below mbar_neural: the network's error"),
        ("neural_ti", {"value": -21.0}, "good", "Agrees"),
        ("neural_ti_bound", {}, "good", "The bound holds: 0.75 ± 0.14"),
        ("neural_ti_bound", {"value": -20.0}, "bad", "one is wrong"),
        ("mbar_neural", {"std_err": math.inf}, "bad", "do not determine an error"),
        (
            "mbar_neural",
            {"verdict": {"level": "warn", "text": "poor overlap (0.01)"}},
            "warn",
            "poor overlap",
        ),
        (
            "mbar_neural",
            {"verdict": {"level": "bad", "text": "unreliable: no"}},
            "bad",
            "unreliable",
        ),
    ],
)
def test_verdicts_say_what_a_specialist_would(method, change, level, text):
    entries = estimates()
    entries[method] |= change
    found = as_free_energies(entries)
    verdict = judge.judge(found[method], judge.quote(found))
    assert verdict.level == level
    assert text in verdict.text


@pytest.mark.parametrize(
    ("value", "std_err", "text"),
    [
        (-21.1, 0.15, "−21.10 ± 0.15"),
        (155.48, 12.3, "155 ± 12"),
        (-0.03, 0.00123, "−0.0300 ± 0.0012"),
        (1.0, math.inf, "1.00 ± unknown"),
        (1.0, None, "1.00 ± unknown"),
    ],
)
def test_numbers_carry_two_digits_of_their_error(value, std_err, text):
    assert uncertain(value, std_err) == text


@pytest.mark.parametrize(
    ("question", "method", "facts", "level", "text"),
    [
        ("converged", "mbar_neural", {"std_err": math.inf}, "bad", "no error"),
        ("converged", "mbar_neural", WINDOWS, "good", "80 of 100 samples"),
        ("converged", "mbar_neural", WINDOWS | {"n_bootstrap_units": 4}, "warn", "sample longer"),
        ("converged", "mbar_neural", WINDOWS, "good", "drift was not tested"),
        ("converged", "mbar_neural", WINDOWS | {"drift": None}, "good", "drift was not tested"),
        (
            "converged",
            "mbar_softcore",
            WINDOWS | {"drift": REST},
            "good",
            "drift of −0.20 ± 0.30 kT is nothing",
        ),
        (
            "converged",
            "mbar_softcore",
            WINDOWS | {"drift": DRIFT},
            "warn",
            "drift by −9.0 ± 1.5 kT",
        ),
        (
            "converged",
            "ti_neural_md",
            {"drift": DRIFT, "std_err": math.inf},
            "bad",
            "no: the windows drift by −9.0",
        ),
        (
            "converged",
            "ti_neural_md",
            {"drift": REST, "std_err": math.inf},
            "bad",
            "the data give no error",
        ),
        (
            "converged",
            "mbar_neural",
            {},
            "good",
            "yes: good (0.3)",
        ),  # of another version: its own verdict speaks
        (
            "converged",
            "ti_neural_md",
            WINDOWS | {"integration_error": 2.0, "statistical_error": 1.0},
            "warn",
            "integral",
        ),
        ("converged", "neural_ti", STEPS | {"discretisation_err": 0.1}, "good", "50 steps 0.1 kT"),
        ("converged", "neural_ti", STEPS | {"discretisation_err": 0.3}, "warn", "more steps"),
        ("converged", "widom", {"own": ("bad", "unreliable: one frame")}, "bad", "no: unreliable"),
        (
            "converged",
            "path_bracket",
            {"statistical_err": 0.1, "systematic_err": 0.5},
            "warn",
            "limited by the model",
        ),
        (
            "overlap",
            "mbar_neural",
            {"min_neighbour_overlap": 0.2},
            "good",
            "0.2 between neighbouring windows",
        ),
        ("overlap", "mbar_neural", {"min_neighbour_overlap": 0.02}, "warn", "0.03 is comfortable"),
        ("overlap", "mbar_neural", {"min_neighbour_overlap": 1e-5}, "bad", "no: 1e-05"),
        ("overlap", "path_bar", {"overlap": 0.01}, "bad", "0.05 is the least"),
        ("overlap", "neural_ti", {}, "none", "does not apply"),
        ("in_bracket", "mbar_neural", BOUNDS, "good", "between both bounds"),
        (
            "in_bracket",
            "mbar_neural",
            BOUNDS | {"value": -20.0},
            "bad",
            "1.00 ± 0.11 kT above the upper bound",
        ),
        (
            "in_bracket",
            "mbar_neural",
            BOUNDS | {"value": -20.8},
            "good",
            "yes",
        ),  # within three errors of the bound
        ("in_bracket", "mbar_neural", BOUNDS | {"std_err": math.inf}, "none", "does not apply"),
        (
            "in_bracket",
            "neural_ti_bound",
            {},
            "none",
            "does not apply",
        ),  # a bound does not bound itself
    ],
)
def test_questions_are_answered_from_the_diagnostics(question, method, facts, level, text):
    entries = estimates()
    entries["widom"] = entry(-1.0, 0.1, "widom", verdict=facts.get("own", ("good", "good")))
    entries["path_bracket"] = entry(-21.5, 0.1, "path_bracket")
    entries["path_bar"] = entry(-21.2, 0.1, "path_bar")
    bounds = {name: value for name, value in facts.items() if name in BOUNDS}
    entries["path_bracket"]["diagnostics"] |= bounds
    own = {name: value for name, value in facts.items() if name in {"value", "std_err"}}
    entries[method] |= own
    entries[method]["diagnostics"] |= {
        name: facts[name] for name in facts if name not in {"own", *bounds, *own}
    }
    found = as_free_energies(entries)
    ask = getattr(judge, question)
    answer = ask(found[method]) if question == "converged" else ask(found[method], found)
    assert answer.level == level
    assert text in answer.text


def test_the_number_to_quote_is_the_best_exact_one_and_others_confirm_it():
    entries = estimates()
    entries["mbar_neural"]["verdict"] = {"level": "good", "text": "good"}
    quote = judge.quote(as_free_energies(entries))
    assert quote.estimate.method == "mbar_neural"
    assert quote.check.level == "good"
    assert "Agrees with mbar_softcore" in quote.check.text
    entries["mbar_softcore"]["value"] = -25.0
    assert judge.quote(as_free_energies(entries)).check.level == "bad"
    # of the same simulation: no confirmation
    same = {name: entries[name] for name in ("mbar_neural", "ti_neural_md", "neural_ti")}
    assert judge.quote(as_free_energies(same)).check.level == "warn"


def test_an_honest_error_goes_before_a_small_one():
    entries = estimates()
    entries["mbar_neural"] |= {"std_err": 1e-3, "verdict": {"level": "warn", "text": "poor"}}
    quoted = judge.quote(as_free_energies(entries))
    assert quoted.estimate.method == "ti_neural_md"
    for one in entries.values():
        one["verdict"] = {"level": "warn", "text": "poor"}
    assert judge.quote(as_free_energies(entries)).estimate.method == "mbar_neural"


def test_no_comparison_is_good_without_both_errors():
    found = as_free_energies(estimates())
    unknown = free_energy(entry(-21.1, None, "path_bar"))
    for one in found.values():
        assert judge.compare(one, unknown).level == "bad"
        assert judge.compare(unknown, one).level == "bad"


@pytest.mark.parametrize(
    "change",
    [
        {"std_err": None},
        {"std_err": 0.0},
        {"std_err": math.inf},
        {"verdict": {"level": "bad", "text": "unreliable: no overlap"}},
    ],
)
def test_a_bad_number_is_never_quoted(change):
    entries = estimates()
    entries["mbar_neural"] |= change | {"value": -3.0}
    entries["mbar_softcore"] |= change | {"value": -3.0}
    found = as_free_energies(entries)
    assert judge.quote(found).estimate.method == "ti_neural_md"
    only_bad = {name: found[name] for name in ("mbar_neural", "neural_ti")}
    assert judge.quote(only_bad) is None
    assert judge.judge(found["neural_ti"], None).level == "none"  # nothing to compare with


@pytest.mark.parametrize("bound", [math.nan, None, math.inf])
def test_a_bound_that_is_no_number_blesses_nothing(bound):
    entries = estimates()
    del entries["neural_ti_bound"]
    facts = BOUNDS | {"lower": bound, "upper": bound}
    entries["path_bracket"] = entry(-21.5, 0.1, "path_bracket", **facts)
    found = as_free_energies(entries)
    assert judge.bracket(found) == judge.Bounds()
    assert judge.in_bracket(found["mbar_neural"], found).level == "none"


def test_a_method_of_another_version_is_judged_by_its_number_and_its_own_verdict():
    entries = estimates()
    entries["new_method"] = entry(-21.0, 0.1, "new_method", verdict=("warn", "hardly any frames"))
    entries["far_method"] = entry(-11.0, 0.1, "far_method")
    found = as_free_energies(entries)
    quoted = judge.quote(found)
    assert judge.judge(found["new_method"], quoted).level == "warn"
    assert judge.converged(found["new_method"]).text == "hardly: hardly any frames"
    assert judge.overlap(found["new_method"], found).level == "none"
    far = judge.judge(found["far_method"], quoted)
    assert far.level == "warn"
    assert "does not explain the distance" in far.text


def as_free_energies(entries):
    return {name: free_energy(entry) for name, entry in entries.items()}
