"""The commands: help, completion, the lists of models and methods, and what is said at the end."""

import json

import pytest
from typer.testing import CliRunner

import openmm_nti
from openmm_nti.cli import app
from openmm_nti.cli.exit_codes import ExitCode
from openmm_nti.cli.safety.friendly import how_to_go_on
from openmm_nti.model_files import shipped_models
from openmm_nti.validation.estimators.registry import all_estimators

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
    "methods",
)


def test_models_lists_what_is_shipped(cli):
    listed = json.loads(cli("models", "--json").stdout)
    assert set(listed) == set(shipped_models())
    assert all(name in cli("models").output for name in listed)


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


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_of_every_command(command, cli):
    result = cli(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout
    assert f"openmm-nti {command or 'init'}" in result.stdout  # an example
    assert result.stderr.strip() == ""


def test_every_exit_status_is_in_the_help(cli):
    text = " ".join(cli("--help").output.split())
    assert all(f"{code.value} {code.meaning.split(';')[0]}" in text for code in ExitCode)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("openmm-nti es", {"estimate"}),
        ("openmm-nti estimate --method path_", {"path_bar", "path_bracket", "path_stages"}),
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


def test_init_does_not_overwrite(tmp_path, cli):
    path = tmp_path / "new.yaml"
    assert cli("init", path).exit_code == 0
    assert cli("init", path).exit_code == 2
    assert cli("init", path, "--force").exit_code == 0


def test_the_methods_are_listed_with_what_they_need(cli):
    listed = json.loads(cli("methods", "--json").stdout)
    assert set(listed) == set(all_estimators())
    assert listed["mbar_neural"]["kind"] == "exact"
    assert listed["mbar_neural"]["needs"] == ["data", "energy"]
    assert listed["mbar_softcore"]["needs"] == []
    assert listed["widom"]["quantity"] == "beta_mu_ex"
    table = cli("methods").output
    assert all(name in table for name in listed)


def test_the_version_names_what_a_report_needs(cli):
    line = cli("--version").output
    assert line.startswith(f"openmm-nti {openmm_nti.__version__} (openmm ")
    assert "torch" in line
