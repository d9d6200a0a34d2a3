"""The command `phase-diagram`: what it writes, takes up again and refuses."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from openmm_nti.cli.app import app
from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.phases.run import two_particles

TINY = {
    "system": {
        "n_particles": [2, 3, 4, 5, 6, 7, 8, 9],
        "box_length_sigma": 6.0,
        "temperature_star": 1.25,
    },
    "reference": {
        "n_frames": 16,
        "n_replicas": 4,
        "equilibration_steps": 10,
        "frame_interval": 100,
        "segment_frames": 20,
        "max_steps": 4000,
        "platform": "Reference",
    },
    "estimates": {"paths": {"n_paths": 8, "n_steps": 10}},
    "model": "lj-fluid-t1.25",
}


def phase_diagram(folder, *options, **changes):
    path = folder / "fluid.yaml"
    path.write_text(yaml.safe_dump(TINY | changes))
    return CliRunner().invoke(app, ["phase-diagram", str(path), *map(str, options)])


@pytest.mark.filterwarnings("ignore")
def test_it_writes_its_files_and_goes_on_from_them(tmp_path):
    points = tmp_path / "points.csv"
    points.write_text("temperature_star,rho_vapour,rho_liquid\n1.25,0.1,0.5\n")
    options = ("--output", tmp_path / "out", "--published", points)
    done = phase_diagram(tmp_path, *options, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    (row,) = found["temperatures"]
    assert [one["n_particles"] for one in row["states"]] == TINY["system"]["n_particles"]
    pair = two_particles(StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25))
    known = []
    for one in row["states"]:
        if one["beta_f_ex"]["std_err"] is None:
            assert one["verdict"]["level"] == "bad"
            continue
        known.append(one["n_particles"])
        # A gas: beta F_ex is N (N - 1) / 2 times that of two particles.
        pairs = one["n_particles"] * (one["n_particles"] - 1) / 2
        allowed = 0.1 + 4 * one["beta_f_ex"]["std_err"]
        assert one["beta_f_ex"]["value"] == pytest.approx(pair * pairs, abs=allowed)
        assert one["beta_u_ex"]["std_err"] > 0
    assert known
    assert row["verdict"]["level"] == "bad"
    assert "rho_liquid" not in row
    assert found["published"] == [{"temperature_star": 1.25, "rho_vapour": 0.1, "rho_liquid": 0.5}]
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "phase_diagram.json",
        "phase_diagram.csv",
        "phase_diagram.svg",
    }
    again = phase_diagram(tmp_path, *options, "--quiet")
    assert "T* = 1.25: " in again.stdout
    written = json.loads((tmp_path / "out" / "phase_diagram.json").read_text())
    assert written["temperatures"] == found["temperatures"]
    assert (written["potential"], found["potential"]) == ("simulated", "simulated")
    full = phase_diagram(tmp_path, *options, "--json", "--full-potential")
    assert json.loads(full.stdout)["potential"] == "full"


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        ([], {"model": None}, "no model: give --model, or the key `model` in CONFIG"),
        (["--model", "none"], {}, "no model at none"),
        (
            ["--full-potential"],
            {"system": TINY["system"] | {"convention": "truncated"}},
            "--full-potential: convention = truncated has no pressure to correct",
        ),
        (["--method", "bar_chain"], {}, "bar_chain gives no beta F_ex"),
        (["--temperatures", "1,cold"], {}, "--temperatures = 'cold' must be a positive number"),
        (
            [],
            {"system": TINY["system"] | {"n_particles": [4, 5]}},
            "n_particles = 4, 5: give at least 8 as a list",
        ),
        (
            [],
            {"system": TINY["system"] | {"n_particles": [*range(2, 9), 900]}},
            "denser than spheres can be packed",
        ),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, options, changes, said):
    done = phase_diagram(tmp_path, "--output", tmp_path / "out", *options, **changes)
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "temperature_star,rho_vapour\n1,0.1\n", "\x00", "a,b\n1,2"])
def test_published_points_are_a_table(tmp_path, text):
    points = tmp_path / "points.csv"
    points.write_text(text)
    options = ("--output", tmp_path / "out", "--published", points)
    done = phase_diagram(tmp_path, *options)
    assert done.exit_code == 2, done.output
    assert f"--published {points}" in "".join(done.output.splitlines())
