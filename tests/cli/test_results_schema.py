"""results.json of version 0.1.0 and of this one: a reader of schema 1 understands both."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openmm_nti.cli.results import read_estimate, write_estimate
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.training.inputs import metrics_until
from openmm_nti.validation.report.page import write_report

OLD = Path(__file__).parent / "results_0_1_0.json"
READER = """
import json, sys
results = json.load(open(sys.argv[1]))
assert results["schema"] == 1
for point in results["state_points"]:
    for quantity in ("beta_f_ex", "beta_mu_ex"):
        for method, estimate in point[quantity].items():
            assert estimate["method"] == method
            error = estimate["std_err"]
            shown = "unknown" if error is None else f"{error:.3f}"
            verdict = estimate["diagnostics"].get("verdict", "none")
            print(point["n_particles"], estimate["convention"], quantity, method,
                  f"{estimate['value']:.3f}", shown, verdict)
"""


def read(path):
    done = subprocess.run(
        [sys.executable, "-c", READER, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_one_reader_understands_an_old_file_and_a_new_one(finished):
    old, new = read(OLD), read(finished / "results.json")
    assert len(old) == 6
    by_method = {line.split()[3]: line for line in new}
    assert by_method.keys() >= {line.split()[3] for line in old}
    for line in old:
        method, verdict = line.split()[3], line.split()[6:]
        assert by_method[method].split()[6] == verdict[0]  # such a sentence in the same place


def test_the_only_new_keys_are_the_verdict_and_those_of_diagnostics(finished):
    old, new = (
        json.loads(path.read_text())["state_points"][0] for path in (OLD, finished / "results.json")
    )
    assert new.keys() == old.keys()
    for quantity in ("beta_f_ex", "beta_mu_ex"):
        for method, estimate in old[quantity].items():
            assert new[quantity][method].keys() == estimate.keys() | {"verdict"}
            facts = new[quantity][method]["diagnostics"]
            new_keys = {"platform", "lambdas", "gap_missing"} - estimate["diagnostics"].keys()
            assert facts.keys() - new_keys == estimate["diagnostics"].keys()
            assert facts.get("platform", "Reference") == "Reference"


@pytest.mark.filterwarnings("error")
def test_the_report_shows_an_old_file(tmp_path):
    shutil.copy(OLD, tmp_path / "results.json")
    page = write_report(tmp_path).read_text()
    for line in read(OLD):
        assert line.split()[3] in page
    assert "No figures of" in page  # methods that were not estimated there


@pytest.mark.parametrize("change", [("1.5", "2.5"), ("widom", "eos"), ("{", "[], {")])
def test_an_estimate_that_was_changed_is_refused(change, tmp_path):
    path = tmp_path / "widom.json"
    write_estimate(path, FreeEnergy(1.5, 0.1, "widom", "switched", 6, "beta_mu_ex"))
    assert read_estimate(path).value == 1.5
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ValueError, match=r"widom.json is (damaged|truncated)"):
        read_estimate(path)


@pytest.mark.parametrize("text", ['{"step": 5, "lo', "{}", "[1]", '{"step": 5, "loss": null}'])
def test_damaged_metrics_are_named(text, tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert metrics_until(path) == []
    path.write_text(text)
    with pytest.raises(ValueError, match=r"metrics.jsonl is truncated or damaged: delete it"):
        metrics_until(path)
