"""Bad inputs: each ends with one clear line that names the key or the file, and the value.

The real command line reads every case. Only the work itself, which begins after all checks, is
replaced by an end with status 0: that status means that the input was accepted.
"""

from __future__ import annotations

import shutil
from collections import Counter

import pytest
import typer
from bad_commands import all_cases
from bad_inputs import write_files
from typer.testing import CliRunner

from openmm_nti.cli import app

WORK = (
    "openmm_nti.cli.pipeline.Pipeline.forecast",
    "openmm_nti.cli.single_estimate.forecast_estimate",
    "openmm_nti.cli.model_commands.script",
    "openmm_nti.validation.estimators.neural_ti.sample",
    "openmm_nti.validation.paper.run.forecast",
    "openmm_nti.validation.sweep.run.sweep",
)
EVERY = 41  # cases from one of the fast part to the next
CLEAR = 0.98


def no_work(*_arguments, **_keywords):
    """End the command: all checks are passed."""
    raise typer.Exit(0)


def judged(case, folder):
    """Return the class of what the command line says to a case, and what it said."""
    write_files(case, folder)
    result = CliRunner().invoke(app, case.arguments)
    said = result.output
    if "Traceback" in said or not isinstance(result.exception, SystemExit | None):
        return "traceback", f"{said} {result.exception!r}"
    if result.exit_code == 0:
        return "accepted", said
    lines = [line for line in said.splitlines() if line.strip()]
    # A line for each problem of a configuration, and each line begins with the file.
    one_each = len({line.partition(":")[0] for line in lines}) == 1
    named = all(any(word in said for word in group) for group in case.shows)
    if result.exit_code == 2 and named and one_each:
        return "clear", said
    return "unclear", f"status {result.exit_code}: {said}"


def judge_all(cases, tmp_path, monkeypatch):
    """Return the name, the class and the message of every case that is not a good value."""
    for place in WORK:
        monkeypatch.setattr(place, no_work)
    command = typer.main.get_command(app)  # once: it takes as long as a case
    monkeypatch.setattr("typer.testing._get_command", lambda _app: command)
    found = []
    for number, case in enumerate(cases):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        kind, said = judged(case, folder)
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(folder)
        if kind != "accepted" or not case.may_be_good:
            found.append((case.name, kind, said))
    return found


def test_some_bad_inputs(tmp_path, monkeypatch):
    cases = all_cases()
    judged_ones = judge_all(cases[::EVERY], tmp_path, monkeypatch)
    assert len(judged_ones) > len(cases) // EVERY // 2
    assert [found for found in judged_ones if found[1] != "clear"] == []


@pytest.mark.slow
def test_all_bad_inputs(tmp_path, monkeypatch):
    judged_ones = judge_all(all_cases(), tmp_path, monkeypatch)
    counts = Counter(kind for _, kind, _ in judged_ones)
    assert len(judged_ones) >= 500
    for kind in ("traceback", "accepted"):
        assert [found for found in judged_ones if found[1] == kind] == []
    unclear = [found for found in judged_ones if found[1] == "unclear"]
    assert counts["clear"] >= CLEAR * len(judged_ones), unclear


def test_good_values_are_accepted(tmp_path, monkeypatch):
    for place in WORK:
        monkeypatch.setattr(place, no_work)
    good = [case for case in all_cases() if case.may_be_good][::8]
    for number, case in enumerate(good):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        assert judged(case, folder)[0] == "accepted", case.name
    assert len(good) > 3
