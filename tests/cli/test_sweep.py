"""The command `sweep`: what it writes, takes up again and refuses."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from openmm_nti.cli.app import app
from openmm_nti.cli.run_config import load_config
from openmm_nti.cli.run_directory import RunDirectory
from openmm_nti.cli.safety.changes import Changes
from openmm_nti.validation.estimators.registry import sections

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


KELVIN = {"temperature_kelvin": [149.75, 167.72]}  # T* = 1.25 and 1.4


def sweep(folder, *options, config=TINY, temperatures="1.25,1.4", anchor="-0.1,0.01"):
    path = folder / "fluid.yaml"
    path.write_text(yaml.safe_dump(config))
    given = [] if temperatures is None else ["--temperatures", temperatures]
    command = ["sweep", str(path), *given, f"--anchor={anchor}"]
    return CliRunner().invoke(app, [*command, *map(str, options)])


@pytest.mark.filterwarnings("ignore:the network was trained for another fluid")
def test_the_key_gives_the_temperatures_and_a_model_stands_beside(tmp_path):
    options = ("--output", tmp_path / "out", "--json", "--model", "lj-fluid-t1.25")
    config = TINY | {"sweep": KELVIN, "estimates": {"paths": {"n_paths": 12, "n_steps": 10}}}
    done = sweep(tmp_path, *options, config=config, temperatures=None)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    model = found["model"]
    assert (model["name"], model["method"]) == ("lj-fluid-t1.25", "path_bar")
    for row, of_model in zip(found["temperatures"], model["temperatures"], strict=True):
        assert row["temperature_star"] == of_model["temperature_star"]
        error = of_model["beta_f_ex"]["std_err"]
        assert 0 < error < 0.1
        # Three particles in a large box: beta F_ex is 3 B_2 / V = -0.1 and -0.08.
        assert of_model["beta_f_ex"]["value"] == pytest.approx(-0.09, abs=0.03 + 3 * error)
        assert of_model["s_ex"]["std_err"] > 0
        assert "pressure_star" not in of_model
    assert "model_beta_u_ex_std_err" in (tmp_path / "out" / "sweep.csv").read_text()
    assert list((tmp_path / "out" / "model").glob("*/path_weights/*.npz"))
    again = sweep(tmp_path, *options[:2], *options[3:], config=config, temperatures=None)
    assert "the same by lj-fluid-t1.25, path_bar" in again.stdout
    assert "beta F_ex is at most" in again.stdout


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
        ({"temperatures": None}, "no temperatures: give --temperatures, or the key `sweep`"),
        ({"temperatures": None, "config": TINY | {"sweep": [1.25]}}, "give at least one other"),
        ({"config": TINY | {"sweep": [1.4, "hot"]}}, "sweep.temperature_star: Input should be a"),
        ({"config": TINY | {"sweep": [1.4, -1.0]}}, "greater than or equal to 0.001 (given: -1.0)"),
        ({"config": TINY | {"sweep": []}}, "at least 1 item"),
        ({"config": TINY | {"sweep": 1.4}}, "must be a list of temperatures T*, such as [1.25,"),
        (
            {"config": TINY | {"sweep": {"temperature_star": [1.4], **KELVIN}}},
            "temperature_star and temperature_kelvin are given",
        ),
        ({"config": TINY | {"sweep": KELVIN | {"method": "widom"}}}, "widom gives no beta F_ex"),
        ({"config": TINY | {"sweep": KELVIN | {"method": "path"}}}, "unknown method path"),
        ({"config": TINY | {"sweep": KELVIN | {"methodx": "x"}}}, "did you mean method?"),
        ({"anchor": "-0.1,inf"}, "must be two finite numbers"),
        ({"anchor": "nowhere.json"}, "neither VALUE,ERROR nor a results.json"),
        (
            {"config": TINY | {"system": TINY["system"] | {"n_particles": [3, 4]}}},
            "has several state points (n_particles = 3, 4), and a sweep is of one",
        ),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, change, said):
    done = sweep(tmp_path, "--output", tmp_path / "out", **change)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "path_bar"], "--method path_bar is of no model: give --model too"),
        (["--model", "none"], "no model at none"),
        (["--model", "lj-fluid-t1.25", "--method", "bar_chain"], "bar_chain gives no beta F_ex"),
    ],
)
def test_a_bad_model_is_one_clear_line(tmp_path, options, said):
    done = sweep(tmp_path, "--output", tmp_path / "out", *options)
    assert (done.exit_code, said in " ".join(done.output.split())) == (2, True), done.output
    assert not (tmp_path / "out").exists()
    config = TINY | {"sweep": [1.4]}
    kelvin = ("--output", tmp_path / "out", "--kelvin")
    done = sweep(tmp_path, *kelvin, config=config, temperatures=None)
    assert "--kelvin is the unit of --temperatures" in done.output


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.yaml").write_text("")
    done = sweep(tmp_path, "--output", tmp_path / "out")
    assert done.exit_code == 2
    assert "holds something other than a sweep (config.yaml)" in " ".join(done.output.split())


def test_a_run_with_the_key_ends_with_a_sweep(tmp_path, cli, tiny):
    def run(temperatures, *more):
        config = yaml.safe_load(tiny.read_text())
        config["reference"] = TINY["reference"] | {"n_frames": 30}
        paths = {"n_paths": 16, "n_steps": 10}
        config["estimates"] = {**dict.fromkeys(sections()), "paths": paths}
        config["sweep"] = {"temperature_star": temperatures, "method": "path_bar"}
        tiny.write_text(yaml.safe_dump(config))
        done = cli("run", tiny, "--output", tmp_path / "out", *more)
        assert done.exit_code == 0, done.output
        return done, json.loads((tmp_path / "out" / "sweep" / "sweep.json").read_text())

    done, found = run([1.4])
    assert "sweep " in done.output.split("forecast")[1].split("reference data:")[0]
    assert found["model"]["name"] == "the run's model"
    assert [row["temperature_star"] for row in found["temperatures"]] == [1.25, 1.4]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    quoted = {
        name: (one["value"], one["std_err"])
        for name, one in results["state_points"][0]["beta_f_ex"].items()
    }
    method = found["anchor"]["source"].split()[0]
    anchor = (found["anchor"]["value"], found["anchor"]["std_err"])
    assert anchor == quoted[method]
    label = "N6_L6_T1.25_switched.h5"  # the frames of the run serve the sweep as well
    copied = tmp_path / "out" / "sweep" / "reference" / label
    assert copied.read_bytes() == (tmp_path / "out" / "reference" / label).read_bytes()
    simulated = copied.with_name("N6_L6_T1.4_switched.h5")
    before = simulated.stat().st_mtime_ns
    again, more = run([1.4, 1.6], "--resume")
    assert "made again: nothing" in again.output
    assert len(more["temperatures"]) == 3
    assert simulated.stat().st_mtime_ns == before
    for setting, touched in (("reference.n_frames=31", True), ("training.n_steps=21", False)):
        changed = Changes(RunDirectory(tmp_path / "out"), load_config(tiny, [setting]))
        assert ("sweep" in [part.name for part in changed.touched]) == touched
