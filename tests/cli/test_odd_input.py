"""Libraries that print, YAML that is odd, and disks that are full: the command line stays clear."""

import ctypes
import errno
import json
import os

import pytest

from openmm_nti.cli.pipeline import Pipeline
from openmm_nti.cli.safety.yaml_text import parse_yaml
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.runtime.tasks import run_tasks


def test_json_is_alone_on_the_standard_output_whatever_c_prints(capfd, monkeypatch, cli):
    found = FreeEnergy(1.5, 0.1, "widom", "switched", 6, "beta_mu_ex")

    def noisy(*_arguments):
        ctypes.CDLL(None).puts(b"Using an unsupported OpenCL implementation")
        os.write(1, b"from the descriptor\n")
        print("from Python")  # noqa: T201
        return found

    monkeypatch.setattr("openmm_nti.cli.single_estimate.single_estimate", noisy)
    result = cli("estimate", "--method", "widom", "--json")
    ctypes.CDLL(None).fflush(None)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["value"] == 1.5
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "unsupported OpenCL" in captured.err
    assert "from the descriptor" in captured.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: 1\nseed: 2\n", "the key seed is given twice: remove one of them"),
        ("training: {n_steps: 1, n_steps: 2}\n", "the key n_steps is given twice"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: " + "{a: " * 5000, "nested too deeply"),
        ("".join(f"{' ' * depth}a:\n" for depth in range(3000)), "nested too deeply"),
    ],
)
def test_odd_yaml_is_one_line(text, says, tmp_path, cli):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    result = cli("run", path, "--output", tmp_path / "run")
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith(f"{path} is not valid YAML")
    assert says in line
    assert not (tmp_path / "run").exists()


def test_keys_of_different_mappings_and_merged_ones_may_be_equal():
    text = "base: &base {x: 1, y: 2}\nother: {<<: *base, x: 3}\nthird: {x: 1}\n"
    assert parse_yaml(text, "text")["other"] == {"x": 3, "y": 2}


def fill(_task):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/run/chain.npz")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_full_disk_in_a_task_is_said_as_one(workers, tiny, tmp_path, monkeypatch, cli):
    def run(_self):
        run_tasks(fill, [1, 2], workers=workers, description="reference MD", progress=False)

    monkeypatch.setattr(Pipeline, "run", run)
    result = cli("run", tiny, "--output", tmp_path / "run")
    said = "free some, then run the same command again; a `run` goes on with --resume"
    place = "no space left on the disk at /data/run/chain.npz"
    assert (result.exit_code, result.output) == (1, f"{place}: {said}\n")
