"""What figures show, what the report says in words, and that the page stands alone."""

import json
import math
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from openmm_nti.files import write_json, write_text
from openmm_nti.state import StatePoint
from openmm_nti.validation import plots
from openmm_nti.validation.report import write_report
from openmm_nti.validation.verdicts import judge, uncertain

STATE = StatePoint(n_particles=40, box_length_sigma=6, temperature_star=1.25)
OVERLAP = [[0.6, 0.4, 0.0], [0.4, 0.3, 0.3], [0.0, 0.3, 0.7]]
PROFILE = {"lambdas": [0.0, 0.5, 1.0], "dudl_mean": [-5.0, -20.0, -40.0], "dudl_std_err": [0.1, 0.2, 0.3]}


def entry(value, std_err, method, **diagnostics):
    return {
        "value": value,
        "std_err": std_err,
        "method": method,
        "convention": "switched",
        "diagnostics": diagnostics,
    }


def estimates():
    entries = [
        entry(-21.10, 0.15, "mbar_softcore", overlap_matrix=OVERLAP, verdict="good (0.3)"),
        entry(-21.25, 0.10, "mbar_neural", overlap_matrix=OVERLAP, verdict="good (0.3)"),
        entry(-21.30, 0.12, "ti_neural_md", verdict="good", **PROFILE),
        entry(-23.40, 0.10, "neural_ti"),
        entry(-22.00, 0.10, "neural_ti_bound"),
    ]
    return {one["method"]: one for one in entries}


HELD_OUT = {
    STATE.label: {"noise_sigma": [0.1, 0.3], "decile_gain_kt": [1.0, 2.0], "decile_gain_err": [0.1, 0.2]},
}


@pytest.fixture
def run_directory(tmp_path):
    """A run with every file that the report reads."""
    point = {
        "n_particles": 40,
        "beta_f_ex": estimates(),
        "beta_mu_ex": {"widom": entry(-1.05, 0.01, "widom", verdict="good")},
        "diagnostics": {"state": STATE.model_dump(mode="json")},
    }
    provenance = {"seed": 7, "versions": {"openmm": "8.5.2"}, "command": "run <script>"}
    write_json(tmp_path / "results.json", {"schema": 1, "state_points": [point], "provenance": provenance})
    write_text(tmp_path / "config.yaml", "seed: 7\n")
    metrics = [
        {"step": step, "loss": 1 / step, "validation_loss": 2 / step, "held_out": HELD_OUT} for step in (1, 2, 3)
    ]
    write_text(tmp_path / "model" / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in metrics))
    folder = tmp_path / STATE.label
    folder.mkdir()
    grid = np.linspace(0, 1, 50)
    np.savez(folder / "neural_ti.npz", lambdas=grid, dudl_mean=-40 * grid, dudl_err=0.1 + grid)
    np.savez(folder / "gr.npz", r_sigma=grid * 3, g_data=grid, g_model=grid**2)
    return tmp_path


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


def test_report_shows_every_estimate_with_error_convention_and_verdict(run_directory):
    page = _Page(write_report(run_directory).read_text())
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
    assert "β F_ex = −21.25 ± 0.10 kT (mbar_neural). No estimate contradicts another." in page.text
    assert str(STATE) in page.text
    assert "8.5.2" in page.text
    assert "seed: 7" in page.text


def test_report_stands_alone_with_all_its_figures(run_directory):
    text = write_report(run_directory).read_text()
    page = _Page(text)
    assert page.tags.count("svg") == 7
    assert "script" not in page.tags
    assert "<script>" not in text  # text from the run is escaped
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert "currentColor" in text
    assert "prefers-color-scheme: dark" in text


def test_report_is_the_same_each_time(run_directory):
    assert write_report(run_directory).read_bytes() == write_report(run_directory).read_bytes()


@pytest.mark.parametrize("failing", [None, 2])
def test_the_insertion_chain_has_its_own_figure(run_directory, failing):
    results = json.loads((run_directory / "results.json").read_text())
    chain = {
        "beta_mu_ex": [-0.03, -0.06, -0.09],
        "beta_mu_ex_std_err": [0.001, 0.002, 0.003],
        "first_n_where_insertion_fails": failing,
    }
    results["state_points"][0]["beta_f_ex"]["bar_chain"] = entry(-21.1, 0.05, "bar_chain", verdict="good", **chain)
    write_json(run_directory / "results.json", results)
    page = _Page(write_report(run_directory).read_text())
    assert page.tags.count("svg") == 8
    assert "Chemical potential along the insertion chain" in page.text
    assert ("insertion fails" in page.text) == (failing is not None)
    assert "−21.100 ± 0.050 kT (bar_chain)" in page.text


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
    for note in ("No training curve", "No g(r)", "No profile", "No overlap matrix of mbar_neural", "No configuration"):
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
        ("mbar_neural", {"diagnostics": {"verdict": "poor overlap (0.01)"}}, "warn", "poor overlap"),
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
    [(-21.1, 0.15, "−21.10 ± 0.15"), (155.48, 12.3, "155 ± 12"), (-0.03, 0.00123, "−0.0300 ± 0.0012"),
     (1.0, math.inf, "1.00 ± unknown"), (1.0, None, "1.00 ± unknown")],
)  # fmt: skip
def test_numbers_carry_two_digits_of_their_error(value, std_err, text):
    assert uncertain(value, std_err) == text


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


def test_figures_make_their_own_axes():
    with mpl.rc_context({"backend": "agg"}):
        axes = [
            plots.overlap_matrix(OVERLAP),
            plots.dudl(*PROFILE.values()),
            plots.radial_distribution(np.arange(3), np.arange(3)),
            plots.training_curve([{"step": 1, "loss": 1.0, "validation_loss": 2.0}]),
            plots.gain_by_noise(HELD_OUT),
            plots.estimates({"a": (1.0, 0.1)}),
            plots.chemical_potential([0.1], [1.0], [0.1]),
        ]
        mpl.pyplot.close("all")
    assert len({id(ax.figure) for ax in axes}) == 7
    assert all(ax.get_xlabel() and ax.get_title() for ax in axes)
