"""What figures show, what the report says in words, and that the page stands alone."""

import json
import math
import re
from base64 import b64decode
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from report_run import HELD_OUT, OVERLAP, PROFILE, STATE, entry, estimates, make_run

from openmm_nti.files import write_json
from openmm_nti.validation import plots
from openmm_nti.validation.analysis.convergence import Convergence
from openmm_nti.validation.report import checks
from openmm_nti.validation.report.figures import figures_at
from openmm_nti.validation.report.page import write_report
from openmm_nti.validation.report.verdicts import judge, uncertain

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
SERIES = Convergence(
    *np.array([[0.5, 1.0], [-21.2, -21.1], [0.3, 0.2], [-21.0, -21.1], [0.3, 0.2]])
)
BOUNDS = {"lower": -22.5, "lower_err": 0.1, "upper": -21.0, "upper_err": 0.05}


@pytest.fixture
def run_directory(tmp_path):
    return make_run(tmp_path)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The text of the page of a complete run."""
    return write_report(make_run(tmp_path_factory.mktemp("complete"))).read_text()


class _Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text, self.open = [], [], "", []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in {"src", "href", "xlink:href"}]
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.remove(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_report_shows_every_estimate_with_error_convention_and_verdict(report):
    page = _Page(report)
    for text in (
        "−21.10 ± 0.15",
        "−22.00 ± 0.10",
        "−1.050 ± 0.010",
        "switched",
        "Agrees with mbar_softcore",
        "The bound holds",
    ):
        assert text in page.text
    for method in (*estimates(), "widom"):
        assert method in page.text
    assert "β F_ex = −21.25 ± 0.10 kT (mbar_neural). Look at neural_ti below." in page.text
    assert "no: 1.40 ± 0.14 kT below the lower bound, −22.00 ± 0.10" in page.text
    assert str(STATE) in page.text
    assert "8.5.2" in page.text
    assert "seed: 7" in page.text


def test_report_stands_alone_with_all_its_figures(report):
    text, page = report, _Page(report)
    assert page.tags.count("svg") == 7
    assert page.tags.count("script") == 1
    assert "run &lt;script&gt;" in text  # text from the run is escaped
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.search(r"url\((?!#)|@import", text)
    identifiers = re.findall(r'\bid="([^"]*)"', text)
    assert len(identifiers) == len(set(identifiers))
    targets = re.findall(r'(?:href="#|url\(#)([^")]*)', text)
    assert set(targets) <= set(identifiers)
    assert "currentColor" in text
    assert "prefers-color-scheme: dark" in text


def test_every_figure_carries_the_numbers_it_shows(report, run_directory):
    page = _Page(report)
    results, *tables = [
        b64decode(link.partition("base64,")[2]).decode()
        for link in page.links
        if link[:5] == "data:"
    ]
    assert json.loads(results) == json.loads((run_directory / "results.json").read_text())
    assert len(tables) == page.tags.count("svg")
    assert "mbar_neural,-21.25,0.1\n" in tables[0]
    assert tables[1].startswith("method,lambda,dudl_kt,std_err_kt\nti_neural_md,0,-5,0.1\n")
    assert tables[2] == "window_0,window_1,window_2\n0.6,0.4,0\n0.4,0.3,0.3\n0,0.3,0.7\n"


def test_several_state_points_begin_with_an_overview(run_directory):
    results = json.loads((run_directory / "results.json").read_text())
    (point,) = results["state_points"]
    other = json.loads(json.dumps(point))
    other["diagnostics"]["state"]["n_particles"] = 80
    for one, methods in (
        (other, ["neural_ti"]),
        (point, ["neural_ti_bound", "mbar_neural", "neural_ti"]),
    ):
        one["beta_f_ex"] = {name: one["beta_f_ex"][name] for name in methods}
    for name in ("gr.npz", "neural_ti.npz"):
        (run_directory / STATE.label / name).unlink()
    results["state_points"].append(other)
    write_json(run_directory / "results.json", results)
    page = _Page(write_report(run_directory).read_text())
    assert page.tags.count("table") == 3
    assert "nothing exact yet" in page.text
    assert "a number not to be used" in page.text


def test_report_is_the_same_each_time(report, run_directory):
    assert write_report(run_directory).read_text() == report


@pytest.mark.parametrize("failing", [None, 2])
def test_the_insertion_chain_has_its_own_figure(tmp_path, failing):
    chain = {
        "beta_mu_ex": [-0.03, -0.06, -0.09],
        "beta_mu_ex_std_err": [0.001, None, 0.003],
        "first_n_where_insertion_fails": failing,
    }
    point = {
        "beta_f_ex": {"bar_chain": entry(-21.1, 0.05, "bar_chain", verdict="good", **chain)},
        "diagnostics": {"state": STATE.model_dump(mode="json")},
    }
    estimates, figure = figures_at(point, tmp_path, "label", [])
    assert figure.caption == "Chemical potential along the insertion chain"
    assert ("insertion fails" in figure.svg) == (failing is not None)
    numbers = b64decode(figure.numbers.partition("base64,")[2]).decode().splitlines()
    assert numbers[1:3] == ["1,0.0046296296,-0.03,0.001", "2,0.0092592593,-0.06,nan"]
    assert estimates.name == "label_estimates.csv"


def test_missing_files_are_named_and_left_out(run_directory):
    (run_directory / "model" / "metrics.jsonl").unlink()
    (run_directory / "config.yaml").unlink()
    for name in ("gr.npz", "neural_ti.npz"):
        (run_directory / STATE.label / name).unlink()
    results = json.loads((run_directory / "results.json").read_text())
    results["state_points"][0]["beta_f_ex"] = {}
    write_json(run_directory / "results.json", results)
    page = _Page(write_report(run_directory).read_text())
    assert "svg" not in page.tags
    for note in (
        "No training curve",
        "No g(r)",
        "No profile",
        "No overlap matrix of mbar_neural",
        "No configuration",
    ):
        assert note in page.text


def test_report_needs_results(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"results\.json"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("method", "change", "level", "text"),
    [
        ("mbar_neural", {}, "good", "Agrees with mbar_softcore: difference −0.15 ± 0.18"),
        ("mbar_neural", {"value": -22.0}, "bad", "Disagrees"),
        ("neural_ti", {}, "warn", "below mbar_softcore: the network's error"),
        ("neural_ti", {"value": -21.0}, "good", "Agrees"),
        ("neural_ti_bound", {}, "good", "The bound holds: 0.90 ± 0.18"),
        ("neural_ti_bound", {"value": -20.0}, "bad", "one is wrong"),
        ("mbar_neural", {"std_err": math.inf}, "bad", "do not determine an error"),
        (
            "mbar_neural",
            {"diagnostics": {"verdict": "poor overlap (0.01)"}},
            "warn",
            "poor overlap",
        ),
        ("mbar_neural", {"diagnostics": {"verdict": "unreliable: no"}}, "bad", "unreliable"),
    ],
)
def test_verdicts_say_what_a_specialist_would(method, change, level, text):
    entries = estimates()
    entries[method] |= change
    verdict = judge(method, entries)
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
            "yes: 0.3",
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
        ("converged", "widom", {"verdict": "unreliable: one frame"}, "bad", "no: unreliable"),
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
    entries["widom"], entries["path_bracket"] = (
        entry(-1.0, 0.1, "widom"),
        entry(-21.5, 0.1, "path_bracket"),
    )
    entries["path_bar"] = entry(-21.2, 0.1, "path_bar")
    bounds = {name: value for name, value in facts.items() if name in BOUNDS}
    entries["path_bracket"]["diagnostics"] |= bounds
    own = {name: value for name, value in facts.items() if name in {"value", "std_err"}}
    entries[method] |= own
    entries[method]["diagnostics"] |= {
        name: facts[name] for name in facts if name not in bounds | own
    }
    ask = getattr(checks, question)
    answer = ask(method, entries[method] if question == "converged" else entries)
    assert answer.level == level
    assert text in answer.text


def test_figures_draw_their_data_on_the_axes_given():
    ax = Figure().add_subplot()
    assert plots.dudl(*PROFILE.values(), label="a", ax=ax) is ax
    assert plots.dudl(*PROFILE.values(), label="b", ax=ax) is ax
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), PROFILE["dudl_mean"])
    band = ax.collections[0].get_paths()[0].get_extents()
    assert band.ymin == pytest.approx(-40.6)
    assert ax.lines[0].get_color() != ax.lines[1].get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    matrix = plots.overlap_matrix(OVERLAP, Figure().add_subplot())
    np.testing.assert_array_equal(matrix.collections[0].get_array(), OVERLAP)
    bars = plots.estimates({"a": (-1.0, 0.5), "b": (-2.0, math.inf)}, Figure().add_subplot())
    assert [label.get_text() for label in bars.get_yticklabels()] == ["a", "b"]


def test_a_figure_is_saved_with_the_numbers_it_shows(tmp_path):
    density, value, error = np.array([0.1, 0.2]), np.array([-1.0, -2.0]), np.array([0.1, 0.2])
    ax = plots.chemical_potential(density, value, error, label="a", ax=Figure().add_subplot())
    plots.chemical_potential(density, value + 1, error, label="b", ax=ax)
    assert ax.collections[0].get_paths()[0].get_extents().ymin == pytest.approx(-2.4)
    numbers = plots.save(ax, tmp_path / "mu.svg", {"density": density, "beta_mu_ex": value})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mu.csv", "mu.svg"]
    assert numbers.read_text() == "density,beta_mu_ex\n0.1,-1.0\n0.2,-2.0\n"
    with pytest.raises(ValueError, match="shorter"):
        plots.save(ax, tmp_path / "mu.svg", {"density": density, "beta_mu_ex": [1.0]})
    with pytest.raises(TypeError, match="axes of a Figure"):
        plots.save(Figure().subfigures().add_subplot(), tmp_path / "mu.svg", {})


def test_brackets_are_distances_from_the_reference():
    n, lower, upper, errors = (
        np.array([20.0, 40.0]),
        np.array([-6.0, -22.0]),
        np.array([-5.0, -20.0]),
        np.full(2, 0.1),
    )
    reference = np.array([-5.2, np.nan])
    ax = plots.bracket(
        n, lower, upper, errors, errors, reference=reference, ax=Figure().add_subplot()
    )
    shown = [container.lines[0].get_ydata() for container in ax.containers]
    np.testing.assert_allclose(shown, [[-0.8, -1.0], [0.2, 1.0]])
    assert ax.get_ylabel() == "bound − the reference / kT"


def test_a_series_without_an_error_is_drawn_without_bars():
    unknown = SERIES._replace(forward_err=np.full(2, np.inf), backward_err=np.full(2, np.inf))
    ax = plots.convergence(unknown, ax=Figure().add_subplot())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "from the start",
        "from the end",
    ]
    assert not ax.patches  # no band
    assert plots.convergence(SERIES, ax=Figure().add_subplot()).patches


def test_convergence_and_works_are_in_the_report(run_directory):
    folder = run_directory / STATE.label
    np.savez(folder / "neural_convergence.npz", **SERIES._asdict())
    np.savez(
        folder / "path_works.npz",
        forward=np.linspace(-23, -20, 30),
        reverse=np.linspace(-22, -19, 30),
    )
    results = json.loads((run_directory / "results.json").read_text())
    results["state_points"][0]["beta_f_ex"]["path_bar"] = entry(
        -21.1, 0.1, "path_bar", verdict="good"
    )
    write_json(run_directory / "results.json", results)
    text = write_report(run_directory).read_text()
    assert "mbar_neural from the first and from the last part of its samples" in text
    assert "Works of noising and denoising paths" in text
    tables = [
        b64decode(link.partition("base64,")[2]).decode()
        for link in _Page(text).links
        if link[:5] == "data:"
    ]
    assert any(
        one.startswith("fractions,forward,forward_err,backward,backward_err\n0.5,-21")
        for one in tables
    )
    assert any(
        one.startswith("direction,omega_kt\nforward,-23\n") and "reverse,-19\n" in one
        for one in tables
    )


def test_where_the_gap_lies_is_in_the_report(run_directory):
    facts = {
        "gap": 0.5,
        "gap_err": 0.1,
        "gap_noise_sigma": [0.1, 0.4],
        "gap_density_kt": [0.25, 1.0],
    }
    results = json.loads((run_directory / "results.json").read_text())
    point = results["state_points"][0]["beta_f_ex"]
    point["neural_ti_tethered"] = entry(
        -21.1, 0.1, "neural_ti_tethered", gap_density_err=[0.125, 0.5], **facts
    )
    write_json(run_directory / "results.json", results)
    text = write_report(run_directory).read_text()
    assert (
        "Where the model's gap of 0.50 ± 0.10 kT lies" in text
        or "model&#39;s gap of 0.50 ± 0.10 kT" in text
    )
    tables = [
        b64decode(link.partition("base64,")[2]).decode()
        for link in _Page(text).links
        if link[:5] == "data:"
    ]
    wanted = "gap_noise_sigma,gap_density_kt,gap_density_err\n0.1,0.25,0.125\n0.4,1,0.5\n"
    assert wanted in tables


def test_figures_make_their_own_axes():
    with mpl.rc_context({"backend": "agg"}):
        axes = [
            plots.overlap_matrix(OVERLAP),
            plots.dudl(*PROFILE.values()),
            plots.radial_distribution(np.arange(3), np.arange(3)),
            plots.training_curve([{"step": 1, "loss": 1.0, "validation_loss": 2.0}]),
            plots.gain_by_noise(HELD_OUT),
            plots.gap_by_noise([0.1, 0.3], [1.0, 2.0], [0.1, 0.2]),
            plots.estimates({"a": (1.0, 0.1)}),
            plots.chemical_potential([0.1], [1.0], [0.1]),
            plots.convergence(SERIES),
            plots.work_histogram(np.arange(9.0), np.arange(4.0, 13.0), 6.0),
            plots.bracket(*np.ones((5, 2))),
        ]
        mpl.pyplot.close("all")
    assert len({id(ax.figure) for ax in axes}) == 11
    assert all(ax.get_xlabel() and ax.get_title() for ax in axes)
