"""NaN, infinity, nothing at all, or the same sample again and again: no number of these is good."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nan_cases import (
    CASES,
    DECIDE_THE_VERDICT_ALONE,
    MAY_BE_CONSTANT,
    MAY_BE_INFINITE,
    NO_SPREAD_OF_THEIR_OWN,
    outcome,
)

from openmm_nti.free_energy import FreeEnergy, Verdict
from openmm_nti.validation.analysis import walker_bar
from openmm_nti.validation.analysis.regression import require_finite
from openmm_nti.validation.estimators.registry import all_estimators
from openmm_nti.validation.report import judge
from openmm_nti.validation.report.learned import learned

INPUTS = [(name, array) for name, case in CASES.items() for array in case.samples]
SMALL = 10.0  # kT: an error that somebody would believe


def test_every_estimator_with_samples_is_in_the_matrix():
    assert set(all_estimators()) - set(CASES) <= {"mean_energy", "harmonic"}


@pytest.mark.parametrize("name", CASES)
def test_sound_samples_are_not_refused(name):
    found = outcome(lambda: CASES[name].run(**CASES[name].samples))
    assert found != "refused"
    assert found.has_error


@pytest.mark.slow
@pytest.mark.parametrize(("name", "array"), INPUTS)
@settings(max_examples=25, deadline=None)
@given(bad=st.sampled_from([math.nan, math.inf, -math.inf]), where=st.data())
def test_one_bad_sample_is_refused_or_owned_up_to(name, array, bad, where):
    samples = {key: value.copy() for key, value in CASES[name].samples.items()}
    place = where.draw(st.integers(0, samples[array].size - 1))
    samples[array].flat[place] = bad
    found = outcome(lambda: CASES[name].run(**samples))
    if array in MAY_BE_INFINITE and bad == math.inf:
        return
    assert found == "refused" or is_no_good(found, array)


@pytest.mark.parametrize(("name", "array"), INPUTS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_bad_samples_alone_are_refused_or_owned_up_to(name, array, bad):
    samples = CASES[name].samples
    everywhere = samples | {array: np.full_like(samples[array], bad)}
    found = outcome(lambda: CASES[name].run(**everywhere))
    assert found == "refused" or is_no_good(found, array)


@pytest.mark.parametrize(
    ("name", "array"),
    [one for one in INPUTS if one[0] not in NO_SPREAD_OF_THEIR_OWN and one[1] != "drift_z"],
)
def test_no_samples_are_refused(name, array):
    samples = CASES[name].samples
    nothing = samples | {array: samples[array][:0]}
    assert outcome(lambda: CASES[name].run(**nothing)) == "refused"


@pytest.mark.parametrize("name", sorted(set(CASES) - NO_SPREAD_OF_THEIR_OWN))
@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_equal_samples_have_no_error_and_no_blessing(name, value):
    equal = {key: np.full_like(array, value) for key, array in CASES[name].samples.items()}
    found = outcome(lambda: CASES[name].run(**equal))
    if found == "refused":
        return
    if name == "neural_ti_tethered":  # its bound has samples, and so an error, of its own
        assert found.verdict.level != "good"
        return
    assert not found.has_error
    assert found.verdict.level in {"bad", "none"}
    assert judge.converged(found).level in {"bad", "none"}
    assert not judge.is_usable(found)


@pytest.mark.parametrize(("name", "array"), [one for one in INPUTS if one not in MAY_BE_CONSTANT])
def test_one_kind_of_sample_that_never_changes_is_not_good(name, array):
    samples = CASES[name].samples
    frozen = samples | {array: np.full_like(samples[array], -2.7)}
    found = outcome(lambda: CASES[name].run(**frozen))
    assert found == "refused" or found.verdict.level in {"bad", "none"}
    if found != "refused":
        assert judge.converged(found).level != "good"


def test_samples_that_differ_by_rounding_are_equal():
    slopes = np.linspace(-2, 0.1, 9) * (1 + 1e-15 * np.arange(16)[:, None])
    found = outcome(lambda: CASES["neural_ti_noised"].run(dudl=slopes))
    assert (found.has_error, found.verdict.level) == (False, "bad")


def test_a_control_that_never_changes_does_not_move_the_number():
    run, samples = CASES["neural_ti"].run, CASES["neural_ti"].samples
    without = run(**samples | {"work": np.zeros_like(samples["work"])})
    assert run(**samples | {"work": np.full_like(samples["work"], 0.1)}) == without


def test_works_that_are_the_same_overlap_completely():
    removals = 0.3 + 1e-9 * np.arange(24.0).reshape(4, 6)
    assert walker_bar.solve(np.full((4, 6), 0.3), removals).overlap == pytest.approx(1.0, abs=1e-6)
    assert walker_bar.effective_number(np.array([1.0, 2.0, 3.0])) == 12.0


def test_one_sample_is_finite_and_none_is_not():
    require_finite("any", "look", works=np.ones(1))
    with pytest.raises(ValueError, match="there are no works"):
        require_finite("any", "look", works=np.ones(0))


def test_nan_is_not_a_condition():
    assert Verdict.good_if(math.nan, "good", Verdict("bad", "bad")).level == "bad"
    assert Verdict.good_if(np.float64(1) > 0, "good", Verdict("bad", "bad")).level == "good"


def test_a_gain_that_is_no_number_is_unknown():
    gains = [{"gain_kt": 1.0, "gain_err": None}, {"gain_kt": math.nan, "gain_err": 0.1}, {}]
    for gain in gains:
        (line,) = learned({"held_out": {"x": gain}})
        assert "is unknown" in line


# What a verdict is read from: the question, and the number that decides it.
DECIDING = [
    *(("converged", name, "n_eff") for name in ("mbar_neural", "bar_neural", "ti_neural_md")),
    *(("converged", name, "n_bootstrap_units") for name in ("mbar_softcore", "mu_decoupling")),
    ("converged", "ti_neural_md", "statistical_error"),
    ("converged", "ti_neural_md", "integration_error"),
    *(
        ("overlap", name, "min_neighbour_overlap")
        for name in ("mbar_neural", "bar_neural", "ti_neural_md", "mbar_softcore")
    ),
    ("converged", "path_bar", "bootstrap_err"),
    ("overlap", "path_bar", "overlap"),
    ("overlap", "path_stages", "smallest_overlap"),
    ("converged", "path_bracket", "statistical_err"),
    ("converged", "path_bracket", "systematic_err"),
    *(
        ("converged", name, fact)
        for name in ("neural_ti", "neural_ti_noised")
        for fact in ("statistical_err", "discretisation_err")
    ),
    ("converged", "neural_ti_bound", "model_bound_err"),
    ("overlap", "bar_chain", "overlap"),
]


@pytest.mark.parametrize(("question", "name", "fact"), DECIDING)
@pytest.mark.parametrize("bad", [math.nan, None])
def test_a_fact_that_is_no_number_never_blesses(question, name, fact, bad):
    known = all_estimators()[name]
    sound = CASES[name].run(**CASES[name].samples).to_dict() | {
        "method": name,
        "verdict": {"level": "good", "text": "good"},
    }
    facts = sound["diagnostics"] | {
        "n_bootstrap_units": 8,
        "n_eff": 100.0,
        "integration_error": 0.0,
        "statistical_error": 0.1,
    }
    facts[fact] = [bad] if isinstance(facts[fact], list) else bad
    found = FreeEnergy.from_dict({**sound, "diagnostics": facts})
    asked = getattr(judge, question)
    answer = asked(found) if question == "converged" else asked(found, {name: found})
    assert answer.level != "good", (known.name, answer)


@pytest.mark.parametrize("std_err", [0.0, 1e-17, math.inf])
def test_a_number_without_an_error_is_never_good(std_err):
    found = FreeEnergy(-20.0, std_err, "any", "switched", 2, verdict=Verdict("good", "good"))
    assert found.std_err == math.inf
    assert found.verdict.level == "bad"
    assert judge.judge(found, None).level == "bad"


@pytest.mark.parametrize(
    ("quantity", "n_particles", "largest"),
    [("beta_f_ex", 2, 10.0), ("beta_f_ex", 200, 200.0), ("beta_mu_ex", 200, 10.0)],
)
def test_an_error_that_leaves_nothing_is_never_good(quantity, n_particles, largest):
    """One wild sample, however finite, makes a number with an honest error of no use."""
    good = Verdict("good", "good")
    for std_err, level in ((largest, "good"), (1.01 * largest, "bad"), (1e18, "bad")):
        found = FreeEnergy(-20.0, std_err, "any", "switched", n_particles, quantity, verdict=good)
        assert (found.std_err, found.verdict.level) == (std_err, level)


@pytest.mark.parametrize(("value", "std_err"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan)])
def test_a_number_that_is_none_is_refused(value, std_err):
    with pytest.raises(ValueError, match="is (nan|inf)"):
        FreeEnergy(value, std_err, "any", "switched", 2)


def is_no_good(found, array):
    small = found.std_err < SMALL and array not in DECIDE_THE_VERDICT_ALONE
    return found.verdict.level in {"bad", "none"} and not small
