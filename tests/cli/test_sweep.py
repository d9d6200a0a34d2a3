"""The command `sweep`: what it writes, takes up again and refuses."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from openmm_nti.cli.app import app

TINY = {
    "system": {"n_particles": 3, "box_length_sigma": 6.0, "temperature_star": 1.25},
    "reference": {
        "n_frames": 20,
        "n_replicas": 8,
        "equilibration_steps": 10,
        "frame_interval": 100,
        "segment_frames": 20,
        "max_steps": 4000,
        "platform": "Reference",
    },
}


def sweep(folder, *options, config=TINY, temperatures="1.25,1.4", anchor="-0.1,0.01"):
    path = folder / "fluid.yaml"
    path.write_text(yaml.safe_dump(config))
    command = ["sweep", str(path), "--temperatures", temperatures, f"--anchor={anchor}"]
    return CliRunner().invoke(app, [*command, *map(str, options)])


def test_a_sweep_writes_its_files_and_goes_on_from_them(tmp_path):
    done = sweep(tmp_path, "--output", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    rows = found["temperatures"]
    assert [row["temperature_star"] for row in rows] == [1.25, 1.4]
    assert rows[0]["beta_f_ex"] == {"value": -0.1, "std_err": 0.01}
    assert rows[0]["temperature_kelvin"] == pytest.approx(149.75)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "reference",
        "sweep.json",
        "sweep.csv",
        "sweep.svg",
    }
    assert (tmp_path / "out" / "sweep.csv").read_text().startswith("temperature_star,beta_f_ex")
    again = json.loads(sweep(tmp_path, "--output", tmp_path / "out", "--json").stdout)
    assert again["temperatures"] == rows


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"temperatures": "1.25"}, "give at least one other"),
        ({"temperatures": "1.25,hot"}, "--temperatures = 'hot' must be a positive number"),
        ({"anchor": "-0.1,inf"}, "must be two finite numbers"),
        ({"anchor": "nowhere.json"}, "neither VALUE,ERROR nor a results.json"),
        (
            {"config": TINY | {"system": TINY["system"] | {"n_particles": [3, 4]}}},
            "has several state points; a sweep is of one N",
        ),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, change, said):
    done = sweep(tmp_path, "--output", tmp_path / "out", **change)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.yaml").write_text("")
    done = sweep(tmp_path, "--output", tmp_path / "out")
    assert done.exit_code == 2
    assert "holds something other than a sweep (config.yaml)" in " ".join(done.output.split())
