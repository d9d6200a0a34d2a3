"""What the page shows, and that it stands alone."""

import json
import re
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np
import pytest
from report_run import SERIES, STATE, entry, estimates, free_energy, make_run

from openmm_nti.files import write_json
from openmm_nti.validation.report.figures import figures_at
from openmm_nti.validation.report.page import write_report


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
    assert "β F_ex = −21.25 ± 0.10 kT (mbar_neural). Agrees with mbar_softcore" in page.text
    assert "Look at neural_ti below." in page.text
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
        if link.startswith("data:") and not link.startswith("data:image/")
    ]
    assert json.loads(results) == json.loads((run_directory / "results.json").read_text())
    assert len(tables) == page.tags.count("svg")
    assert "mbar_neural,-21.25,0.1\n" in tables[0]
    assert tables[1].startswith("method,lambda,dudl_kt,std_err_kt\nneural_ti,0,-0,0.1\n")
    assert "\nti_neural_md,0,-5,0.1\n" in tables[1]
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
        "box_length_sigma": 6.0,
    }
    found = free_energy(entry(-21.1, 0.05, "bar_chain", verdict=("good", "good"), **chain))
    estimates, figure = figures_at({"bar_chain": found}, tmp_path, "label", [])
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
        "mbar_neural",
        "not estimated here",
        "No configuration",
    ):
        assert note in page.text


def test_report_needs_results(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"results\.json"):
        write_report(tmp_path)


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
        -21.1, 0.1, "path_bar", verdict=("good", "good")
    )
    write_json(run_directory / "results.json", results)
    text = write_report(run_directory).read_text()
    assert "mbar_neural from the first and from the last part of its samples" in text
    assert "Works of noising and denoising paths" in text
    tables = [
        b64decode(link.partition("base64,")[2]).decode()
        for link in _Page(text).links
        if link.startswith("data:") and not link.startswith("data:image/")
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
        if link.startswith("data:") and not link.startswith("data:image/")
    ]
    wanted = "gap_noise_sigma,gap_density_kt,gap_density_err\n0.1,0.25,0.125\n0.4,1,0.5\n"
    assert wanted in tables
