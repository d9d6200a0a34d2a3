"""`doctor` finds a healthy installation healthy, and says what to do about broken ones."""

import json

import pytest

from openmm_nti.cli import doctor


def test_doctor_runs_a_torch_force(cli):
    pytest.importorskip("openmmtorch")
    result = cli("doctor", "--json")
    assert result.exit_code == 0, result.output
    findings = {item["subject"]: item for item in json.loads(result.stdout)["findings"]}
    assert findings["TorchForce on Reference"]["found"] == "U = 7, dU/dlambda = 14 kJ/mol"
    assert findings["torch"]["verdict"] == "good"
    assert findings["force chosen by default"]["found"].startswith("TorchForce: ")


def test_the_choice_of_a_python_force_is_explained(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openmmtorch", None)
    choice = doctor._choice()
    assert choice.found.startswith("PythonForce: openmm-torch cannot be imported")
    assert choice.verdict == "warning"


def test_two_plugin_builds_are_bad_and_none_is_a_warning():
    both = doctor.judge_plugin_builds(
        {"acellera-openmmtorch-cpu": "1.10", "acellera-openmmtorch-cu13": "1.10"}
    )
    assert both.verdict == "bad"
    assert "pip uninstall -y acellera-openmmtorch-cpu acellera-openmmtorch-cu13" in both.advice
    assert doctor.judge_plugin_builds({}).verdict == "warning"


def test_versions_outside_the_known_good_range_are_bad():
    assert doctor.judge_version("openmm", "8.6.1").verdict == "bad"
    assert doctor.judge_version("torch", "2.13.0+cpu").verdict == "bad"
    assert doctor.judge_version("torch", "2.12.1+cu130").verdict == "good"


def test_a_silent_zero_of_the_derivative_is_bad():
    assert doctor.judge_numbers("TorchForce", {"energy": 7.0, "derivative": 0.0}).verdict == "bad"


def test_plugins_are_listed_by_cause():
    messages = [
        f"Error loading library /x/lib{name}.so: libOpenCL.so.1: not found" for name in ("A", "B")
    ]
    (finding,) = doctor.plugin_failures(messages)
    assert finding.found == "A, B: libOpenCL.so.1: not found"


def test_a_broken_installation_has_its_own_exit_status(cli, monkeypatch):
    broken = doctor.Findings([doctor.Finding("torch", "9.9", "bad", "install another")])
    monkeypatch.setattr(doctor, "examine", lambda: broken)
    result = cli("doctor")
    assert result.exit_code == 3
    assert "does not work" in result.output
