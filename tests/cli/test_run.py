"""A whole run on a tiny fluid: its results, its messages, and resuming after a kill."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import mdtraj
import pytest
from rich.console import Console

from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.pipeline import Pipeline
from openmm_nti.cli.results import print_table
from openmm_nti.cli.run_config import load_config
from openmm_nti.cli.run_directory import RunDirectory
from openmm_nti.files import read_json
from openmm_nti.runtime.tasks import TaskError

OF_F = {
    "mbar_neural",
    "bar_neural",
    "ti_neural_md",
    "neural_ti",
    "neural_ti_noised",
    "neural_ti_bound",
    "neural_ti_tethered",
    "mbar_softcore",
    "path_bar",
    "path_bracket",
    "bar_chain",
}
OF_MU = {"widom", "mu_decoupling"}


def test_results_follow_the_contract(finished):
    results = json.loads((finished / "results.json").read_text())
    assert results["schema"] == 1
    assert results["provenance"]["seed"] == 3
    (point,) = results["state_points"]
    assert {
        key: point[key]
        for key in ("n_particles", "box_length_sigma", "temperature_star", "convention")
    } == {
        "n_particles": 6,
        "box_length_sigma": 6.0,
        "temperature_star": 1.25,
        "convention": "switched",
    }
    assert set(point["beta_f_ex"]) == OF_F
    assert set(point["beta_mu_ex"]) == OF_MU
    for method, estimate in [*point["beta_f_ex"].items(), *point["beta_mu_ex"].items()]:
        assert set(estimate) == {
            "value",
            "std_err",
            "method",
            "convention",
            "verdict",
            "diagnostics",
        }
        assert estimate["verdict"]["level"] in {"none", "good", "warn", "bad"}
        assert estimate["diagnostics"].get("verdict", "not judged") == estimate["verdict"]["text"]
        assert estimate["method"] == method
        assert estimate["std_err"] > 0
    assert point["diagnostics"]["reference_frames"] > 0
    assert (finished / "report.html").is_file()


def test_the_terminal_ends_with_every_estimate(finished):
    output = (finished.parent / "output.txt").read_text()
    table = output[output.index("Estimates in kT") :]
    assert all(method in table for method in OF_F | OF_MU)
    assert "N = 6: " in table  # the number to quote


@pytest.mark.parametrize("width", [60, 40])
def test_no_number_is_cut_in_a_narrow_terminal(width, config, finished):
    console = Console(file=io.StringIO(), width=width)
    print_table(RunDirectory(finished), load_config(config, []), console)
    table = console.file.getvalue()
    assert "\u2026" not in table
    for point in json.loads((finished / "results.json").read_text())["state_points"]:
        for found in (point["beta_f_ex"] | point["beta_mu_ex"]).values():
            number = f"{found['value']:.3f} ± {found['std_err']:.3f} "
            assert number.replace("-", "\u2212") in table


def test_the_time_and_the_disk_are_forecast_at_the_start(finished):
    first = (finished.parent / "output.txt").read_text().splitlines()[0]
    assert first.startswith("forecast: about ")


def test_quiet_and_json_leave_the_result_alone(config, finished, cli):
    result = cli("run", config, "--output", finished, "--resume", "--quiet", "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert json.loads(result.stdout) == read_json(finished / "results.json")
    data = json.loads(cli("generate", config, "--output", finished, "--json", "-q").stdout)
    assert data["decorrelated_frames"] == {"N6_L6_T1.25_switched": 40}
    trained = json.loads(cli("train", config, "--output", finished, "--json", "-q").stdout)
    assert trained["card"]["training"]["steps"] == 20


def test_a_full_disk_is_refused_before_anything_is_computed(config, tmp_path, monkeypatch, cli):
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=1000))
    result = cli("run", config, "--output", tmp_path / "run")
    assert result.exit_code == 2
    assert "0 MB free" in result.output
    assert not (tmp_path / "run" / "reference").exists()


def test_a_killed_run_resumes_to_the_same_numbers(config, finished, tmp_path, cli):
    directory = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "openmm_nti.cli",
        "run",
        str(config),
        "--output",
        str(directory),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    )
    deadline = time.monotonic() + 120
    while not list(directory.glob("*/neural_windows/[!.]*.npz")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (directory / "results.json").exists()
    assert cli("run", config, "--output", directory).exit_code == 2
    result = cli("run", config, "--output", directory, "--resume")
    assert result.exit_code == 0, result.output
    killed, undisturbed = (
        json.loads((each / "results.json").read_text()) for each in (directory, finished)
    )
    assert killed["state_points"] == undisturbed["state_points"]


def test_a_finished_run_is_refused_without_resume_and_unchanged_with_it(config, finished, cli):
    before = (finished / "results.json").read_bytes()
    refused = cli("run", config, "--output", finished)
    assert refused.exit_code == 2
    assert "--resume" in refused.output
    again = cli("run", config, "--output", finished, "--resume")
    assert again.exit_code == 0
    assert "forecast" not in again.output
    assert (finished / "results.json").read_bytes() == before


def test_a_finished_run_in_a_read_only_directory_is_shown(config, finished, monkeypatch, cli):
    monkeypatch.setattr(
        "openmm_nti.cli.safety.preflight.why_not_writable", lambda _place: "Read-only file system"
    )
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    results = read_json(finished / "results.json")
    for command in (("run", config, "--output", finished, "--resume"), ("report", finished)):
        shown = cli(*command)
        assert (shown.exit_code, "mbar_neural" in shown.stdout) == (0, True), shown.output
        assert "cannot be written to (Read-only file system): its results" in shown.stderr
        assert json.loads(cli(*command, "--json").stdout) == results
    other = cli("run", config, "--output", finished, "--resume", "--set", "seed=4")
    assert (other.exit_code, "cannot be written to" in other.output) == (2, True)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_report_writes_both_files_again(finished, cli):
    (finished / "report.html").unlink()
    result = cli("report", finished, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == read_json(finished / "results.json")
    assert (finished / "report.html").is_file()


def test_a_trajectory_of_ones_own_becomes_the_reference(config, finished, tmp_path, cli):
    (data,) = (finished / "reference").glob("*.h5")
    frames = mdtraj.load(data)
    frames.save_dcd(tmp_path / "own.dcd")
    frames[0].save_pdb(tmp_path / "own.pdb")
    own = ["--trajectory", tmp_path / "own.dcd", "--topology", tmp_path / "own.pdb"]
    few = cli("generate", config, "--output", tmp_path / "few", "--trajectory", *own[3:])
    assert few.exit_code == 2
    assert "own.pdb has 1 decorrelated frames" in few.output
    result = cli("generate", config, "--output", tmp_path / "run", *own)
    assert result.exit_code == 0, result.output
    assert "decorrelated frames" in result.output
    again = cli("generate", config, "--output", tmp_path / "run")
    assert again.exit_code == 0, again.output


def test_an_interrupt_says_how_to_go_on(config, tmp_path, monkeypatch, cli):
    def interrupt(_self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "run", interrupt)
    output = tmp_path / "my run"
    result = cli("run", config, "--output", output)
    assert result.exit_code == 130
    assert f"openmm-nti run {config} --output '{output}' --resume" in result.output


@pytest.mark.parametrize(("error", "code"), [(ConfigError("no"), 2), (TaskError("no"), 1)])
def test_errors_are_messages_and_debug_shows_them(config, tmp_path, monkeypatch, error, code, cli):
    def fail(_self):
        raise error

    monkeypatch.setattr(Pipeline, "run", fail)
    result = cli("run", config, "--output", tmp_path / "run")
    assert (result.exit_code, result.output.strip()) == (code, "no")
    assert cli("--debug", "run", config, "--output", tmp_path / "again").exception is error
