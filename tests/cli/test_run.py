"""The whole command line on a tiny fluid: results, resuming after a kill, and everything done with
a finished run.
"""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import mdtraj
import openmm
import pytest
import yaml
from tiny import TINY
from typer.testing import CliRunner

from openmm_nti.cli import app
from openmm_nti.cli.commands.options import METHOD_NAMES
from openmm_nti.cli.estimators import METHODS
from openmm_nti.cli.exit_codes import ExitCode, how_to_go_on
from openmm_nti.cli.pipeline import Pipeline
from openmm_nti.model_files import shipped_models
from openmm_nti.reference_md import ReferenceConfig

COMMANDS = (
    "init",
    "generate",
    "train",
    "export",
    "sample",
    "estimate",
    "models",
    "run",
    "report",
    "doctor",
    "paper",
)
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


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def numbers(results):
    """Every value and standard error of a results.json."""
    points = json.loads(results.read_text())["state_points"]
    return {
        (point["n_particles"], method): (estimate["value"], estimate["std_err"])
        for point in points
        for quantity in ("beta_f_ex", "beta_mu_ex")
        for method, estimate in point[quantity].items()
    }


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    """An undisturbed run; its output is in `output.txt`."""
    directory = tmp_path_factory.mktemp("runs") / "finished"
    result = call("run", config, "--output", directory)
    assert result.exit_code == 0, result.output
    (directory.parent / "output.txt").write_text(result.output)
    return directory


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
        assert set(estimate) == {"value", "std_err", "method", "convention", "diagnostics"}
        assert estimate["method"] == method
        assert estimate["std_err"] > 0
    assert point["diagnostics"]["reference_frames"] > 0
    assert (finished / "report.html").is_file()


def test_the_terminal_ends_with_every_estimate(finished):
    output = (finished.parent / "output.txt").read_text()
    table = output[output.index("Estimates in kT") :]
    assert all(method in table for method in OF_F | OF_MU)
    assert "\u2026" not in table  # nothing is cut off at 80 columns


def test_the_time_and_the_disk_are_foreseen_at_the_start(finished):
    first = (finished.parent / "output.txt").read_text().splitlines()[0]
    assert first.startswith("foreseen: about ")


def test_quiet_and_json_leave_the_result_alone(config, finished):
    result = call("run", config, "--output", finished, "--resume", "--quiet", "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert json.loads(result.stdout) == json.loads((finished / "results.json").read_text())
    data = json.loads(call("generate", config, "--output", finished, "--json", "-q").stdout)
    assert data["decorrelated_frames"] == {"N6_L6_T1.25_switched": 40}
    trained = json.loads(call("train", config, "--output", finished, "--json", "-q").stdout)
    assert trained["card"]["training"]["steps"] == 20


def test_a_full_disk_is_refused_before_anything_is_computed(config, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=1000))
    result = call("run", config, "--output", tmp_path / "run")
    assert result.exit_code == 2
    assert "0 MB free" in result.output
    assert not (tmp_path / "run" / "reference").exists()


def test_a_killed_run_resumes_to_the_same_numbers(config, finished, tmp_path):
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
    assert call("run", config, "--output", directory).exit_code == 2
    result = call("run", config, "--output", directory, "--resume")
    assert result.exit_code == 0, result.output
    killed, undisturbed = (
        json.loads((each / "results.json").read_text()) for each in (directory, finished)
    )
    assert killed["state_points"] == undisturbed["state_points"]


def test_a_finished_run_is_refused_without_resume_and_unchanged_with_it(config, finished):
    before = (finished / "results.json").read_bytes()
    refused = call("run", config, "--output", finished)
    assert refused.exit_code == 2
    assert "--resume" in refused.output
    other = call("run", config, "--output", finished, "--resume", "--set", "training.n_steps=21")
    assert other.exit_code == 2
    assert "training.n_steps: 20 there, 21 now" in other.output
    again = call("run", config, "--output", finished, "--resume")
    assert again.exit_code == 0
    assert "foreseen" not in again.output
    assert (finished / "results.json").read_bytes() == before


def test_report_writes_both_files_again(finished):
    (finished / "report.html").unlink()
    result = call("report", finished, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((finished / "results.json").read_text())
    assert (finished / "report.html").is_file()


def test_estimate_repeats_a_number_of_the_run(finished):
    (data,) = (finished / "reference").glob("*.h5")
    settings = [f"--set={key}={value}" for key, value in TINY["estimates"]["bound"].items()]
    bound = ["--method", "neural_ti_bound", "--model", finished, "--seed", 3, "--json", *settings]
    result = call("estimate", *bound, "--data", data)
    assert result.exit_code == 0, result.output
    estimate = json.loads(result.stdout)
    assert (estimate["value"], estimate["std_err"]) == numbers(finished / "results.json")[
        6, "neural_ti_bound"
    ]


def test_estimate_simulates_the_reference_data_it_needs(finished, tmp_path, monkeypatch):
    module = "openmm_nti.cli.single_estimate.ReferenceConfig"
    monkeypatch.setattr(module, lambda: ReferenceConfig(**TINY["reference"]))
    settings = [f"--set={key}={value}" for key, value in TINY["estimates"]["bound"].items()]
    bound = [
        "--method",
        "neural_ti_bound",
        "--model",
        finished,
        "--n",
        6,
        "--seed",
        3,
        "--json",
        *settings,
    ]
    result = call("estimate", *bound, "--output", tmp_path)
    assert result.exit_code == 0, result.output
    assert (
        json.loads(result.stdout)["value"]
        == numbers(finished / "results.json")[6, "neural_ti_bound"][0]
    )
    other = call(
        "estimate", *bound, "--n", 7, "--data", tmp_path / "reference" / "N6_L6_T1.25_switched.h5"
    )
    assert other.exit_code == 2
    assert "leave out --n" in other.output


def test_a_model_elsewhere_than_trained_warns(finished):
    reverse = [
        "--method",
        "neural_ti",
        "--model",
        finished,
        "--set",
        "n_samples=4",
        "--set",
        "n_steps=10",
    ]
    with pytest.warns(
        UserWarning, match=r"outside of the model's training range, 0.02778 to 0.02778"
    ):
        result = call("estimate", *reverse, "--n", 8)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "neural_ti_bond"], "did you mean neural_ti_bound"),
        (["-m", "neural_ti_bound"], "add --model"),
        (["-m", "neural_ti_bound", "--model", "nothing"], "no model at nothing"),
        (["-m", "widom", "--set", "insertions=3"], "did you mean n_insertions_per_frame"),
    ],
)
def test_estimate_says_what_is_missing(finished, arguments, message):
    (data,) = (finished / "reference").glob("*.h5")
    result = call("estimate", *arguments, "--data", data)
    assert result.exit_code == 2
    assert message in result.output


def test_estimate_by_the_insertion_chain_needs_no_data(finished, tmp_path):
    settings = [f"--set={key}={value}" for key, value in TINY["estimates"]["bar_chain"].items()]
    chain = [
        "--method",
        "bar_chain",
        "--model",
        finished,
        "--n",
        6,
        "--seed",
        3,
        "--json",
        *settings,
    ]
    result = call("estimate", *chain, "--output", tmp_path)
    assert result.exit_code == 0, result.output
    estimate = json.loads(result.stdout)
    assert (estimate["value"], estimate["std_err"]) == numbers(finished / "results.json")[
        6, "bar_chain"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["bar_chain"]


def test_estimate_asks_for_the_state_point(finished):
    for arguments, message in (
        ([], "--model with --n, or --data"),
        (["--model", finished], "Add --n N"),
    ):
        result = call("estimate", "-m", "neural_ti", *arguments)
        assert result.exit_code == 2
        assert message in result.output


def test_models_lists_what_is_shipped():
    listed = json.loads(call("models", "--json").stdout)
    assert set(listed) == set(shipped_models())
    assert all(name in call("models").output for name in listed)


def test_samples_are_a_trajectory(finished, tmp_path):
    result = call(
        "sample",
        finished,
        "--output",
        tmp_path / "s.h5",
        "--set",
        "n_samples=4",
        "--set",
        "n_steps=10",
    )
    assert result.exit_code == 0, result.output
    assert mdtraj.load(tmp_path / "s.h5").xyz.shape == (4, 6, 3)


def test_the_exported_system_runs_in_openmm(finished, tmp_path):
    pytest.importorskip("openmmtorch")
    with pytest.warns(UserWarning, match="training range"):
        result = call(
            "export", finished / "model", "--output", tmp_path, "--n", 4, "--box-length-sigma", 7
        )
    assert result.exit_code == 0, result.output
    system = openmm.XmlSerializer.deserialize((tmp_path / "system.xml").read_text())
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions([openmm.Vec3(0.4 * i, 0.0, 0.0) for i in range(4)])
    context.setParameter("lambda_nti", 0.5)
    energy = context.getState(getEnergy=True, getParameterDerivatives=True)
    assert energy.getEnergyParameterDerivatives()["lambda_nti"] != 0.0
    assert (tmp_path / "hamiltonian.pt").stat().st_size > 0


def test_a_box_too_small_for_the_model_is_refused(finished, tmp_path):
    result = call("export", finished, "--output", tmp_path / "x", "--box-length-sigma", 5)
    assert result.exit_code == 2
    assert "under two cutoffs" in result.output


def test_a_trajectory_of_ones_own_becomes_the_reference(config, finished, tmp_path):
    (data,) = (finished / "reference").glob("*.h5")
    frames = mdtraj.load(data)
    frames.save_dcd(tmp_path / "own.dcd")
    frames[0].save_pdb(tmp_path / "own.pdb")
    own = ["--trajectory", tmp_path / "own.dcd", "--topology", tmp_path / "own.pdb"]
    result = call("generate", config, "--output", tmp_path / "run", *own)
    assert result.exit_code == 0, result.output
    assert "decorrelated frames" in result.output
    again = call("generate", config, "--output", tmp_path / "run")
    assert again.exit_code == 0, again.output


def test_an_interrupt_says_how_to_go_on(config, tmp_path, monkeypatch):
    def interrupt(_self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "run", interrupt)
    output = tmp_path / "my run"
    result = call("run", config, "--output", output)
    assert result.exit_code == 130
    assert f"openmm-nti run {config} --output '{output}' --resume" in result.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("run c.yaml -o d --resume", "openmm-nti run c.yaml -o d --resume"),
        ("--debug paper --output=p --quick", "openmm-nti --debug paper --output=p --quick"),
        ("estimate -m eos -o d", "openmm-nti estimate -m eos -o d"),
        ("estimate -m eos", "nothing was kept. With --output DIR it can go on"),
        ("sample m -o s.h5", "nothing was kept"),
    ],
)
def test_an_interrupted_command_says_how_to_go_on(arguments, text):
    assert how_to_go_on(arguments.split()).rstrip(".").endswith(text)


@pytest.mark.parametrize(("error", "code"), [(ValueError("no"), 2), (RuntimeError("no"), 1)])
def test_errors_are_messages_and_debug_shows_them(config, tmp_path, monkeypatch, error, code):
    def fail(_self):
        raise error

    monkeypatch.setattr(Pipeline, "run", fail)
    result = call("run", config, "--output", tmp_path / "run")
    assert (result.exit_code, result.output.strip()) == (code, "no")
    assert call("--debug", "run", config, "--output", tmp_path / "again").exception is error


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_of_every_command(command):
    result = call(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output
    assert f"openmm-nti {command or 'init'}" in result.output  # an example


def test_every_exit_status_is_in_the_help():
    text = " ".join(call("--help").output.split())
    assert all(f"{code.value} {code.meaning.split(';')[0]}" in text for code in ExitCode)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("openmm-nti es", {"estimate"}),
        ("openmm-nti estimate --method path_", {"path_bar", "path_bracket"}),
        ("openmm-nti export lj", set(shipped_models())),
    ],
)
def test_tab_completes(line, words):
    request = {
        "_OPENMM_NTI_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }
    result = CliRunner().invoke(app, env=request, prog_name="openmm-nti")
    assert set(result.output.split()) == words


def test_the_methods_offered_are_those_there_are():
    assert set(METHOD_NAMES) == set(METHODS)


def test_init_does_not_overwrite(tmp_path):
    path = tmp_path / "new.yaml"
    assert call("init", path).exit_code == 0
    assert call("init", path).exit_code == 2
    assert call("init", path, "--force").exit_code == 0
