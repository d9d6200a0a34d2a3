"""`analyze`: from a trajectory and a System of one's own to a free energy, in one command."""

import json
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest
import yaml
from exact import exact_ensemble, pair_free_energy
from tiny import TINY

from openmm_nti import LJFluid, StatePoint
from openmm_nti.cli.commands.analysis import analysis_config, covering_model
from openmm_nti.md.fluid_system import fluid_topology
from openmm_nti.validation.estimators.registry import sections

ROOT = Path(__file__).parents[2]
STATE = StatePoint(n_particles=2, box_sigma=(6.3, 6.0, 6.9), temperature_star=1.0)
QUICK = {
    "network": TINY["network"],
    "training": TINY["training"],
    "estimates": {
        **dict.fromkeys(sections()),
        "paths": {"n_paths": 100, "n_steps": 10},
        "widom": {"n_insertions_per_frame": 50},
    },
    "workers": 1,
}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder with a DCD, a PDB and the System of two argon atoms, which are known exactly."""
    folder = tmp_path_factory.mktemp("own")
    ensemble = exact_ensemble(STATE, 150)
    frames = mdtraj.Trajectory(
        ensemble.positions_nm,
        mdtraj.Topology.from_openmm(fluid_topology(STATE)),
        time=np.arange(150.0),
        unitcell_lengths=np.tile(STATE.edges_nm, (150, 1)),
        unitcell_angles=np.full((150, 3), 90.0),
    )
    frames.save_dcd(str(folder / "run.dcd"))
    frames[0].save_pdb(str(folder / "run.pdb"))
    system = openmm.XmlSerializer.serialize(LJFluid(STATE).create_system())
    (folder / "system.xml").write_text(system)
    described = {
        "from": "system.xml",
        "topology": "run.pdb",
        "temperature_kelvin": STATE.temperature_kelvin,
    }
    (folder / "own.yaml").write_text(yaml.safe_dump({**QUICK, "system": described}))
    return folder


def call_analyze(cli, own, output, *more):
    files = ["--trajectory", own / "run.dcd", "--topology", own / "run.pdb", "--output", output]
    return cli("analyze", own / "own.yaml", *files, *more)


def test_a_system_and_a_trajectory_give_the_exact_number(own, tmp_path, cli):
    result = call_analyze(cli, own, tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    assert "by the System and by what was read of it: 20 frames differ by at most" in result.stderr
    (point,) = json.loads(result.stdout)["state_points"]
    found = point["beta_f_ex"]["path_bar"]
    assert 0 < found["std_err"] < 0.3
    exact = pair_free_energy(STATE)
    assert found["value"] == pytest.approx(exact, abs=4 * found["std_err"])
    assert (tmp_path / "out" / "report.html").is_file()
    before = (tmp_path / "out" / "results.json").read_bytes()
    again = call_analyze(cli, own, tmp_path / "out")
    assert (again.exit_code, "path_bar" in again.stdout) == (0, True), again.output
    assert (
        json.loads((tmp_path / "out" / "results.json").read_bytes())["state_points"]
        == (json.loads(before)["state_points"])
    )
    (own / "other.dcd").write_bytes((own / "run.dcd").read_bytes()[:-1] + b"\1")
    files = ["--trajectory", own / "other.dcd", "--topology", own / "run.pdb"]
    other = cli("analyze", own / "own.yaml", *files, "--output", tmp_path / "out")
    assert (other.exit_code, "exists already, of other frames" in other.output) == (2, True)


def test_what_the_file_leaves_open_is_chosen(tmp_path):
    plain = {"n_particles": 60, "box_length_sigma": 6.0, "temperature_star": 1.25}
    file = tmp_path / "fluid.yaml"
    file.write_text(yaml.safe_dump({"system": plain}))
    config = analysis_config(file, [], tmp_path / "out", minutes=3, model=None)
    assert config.model == "lj-fluid-t1.25"
    assert {name for name in sections() if getattr(config.estimates, name) is not None} == {
        "bound",
        "paths",
        "widom",
    }
    file.write_text(yaml.safe_dump({"system": {**plain, "temperature_star": 1.3}, "workers": 1}))
    settings = ["estimates.softcore.n_windows=7"]
    config = analysis_config(file, settings, tmp_path / "out", minutes=3, model=None)
    assert (config.model, config.training.max_minutes, config.workers) == (None, 3, 1)
    assert config.estimates.softcore.n_windows == 7
    short = analysis_config(file, [], tmp_path / "out", minutes=0.01, model=None)
    assert short.estimates.bound.n_tethered == 8  # the fewest
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.yaml").write_text(yaml.safe_dump(short.model_dump(mode="json")))
    again = analysis_config(file, [], tmp_path / "out", minutes=1000, model=None)
    assert again.estimates.bound.n_tethered == 8  # goes on as it began


@pytest.mark.parametrize(
    ("change", "covering"),
    [
        ({}, "lj-fluid-t1.25"),
        ({"temperature_star": 1.26}, None),
        ({"convention": "truncated"}, None),
        ({"potential": {"type": "wca"}}, None),
        ({"n_particles": 230}, None),
    ],
)
def test_a_shipped_model_is_taken_for_its_fluid_alone(change, covering):
    plain = {"n_particles": 60, "box_length_sigma": 6.0, "temperature_star": 1.25}
    assert covering_model(StatePoint(**{**plain, **change})) == covering


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"from": "none.xml"}, "none.xml does not exist"),
        ({"from": 3}, "system: from = 3 must be the path"),
        ({"pdb": "run.pdb"}, "system: unknown key pdb"),
        ({"temperature_kelvin": None}, "temperature_kelvin is missing"),
        ({"temperature_kelvin": "warm"}, "temperature = 'warm'"),
        ({"topology": "run.dcd"}, "run.dcd: topology must be a .pdb"),
    ],
)
def test_a_bad_description_is_one_line(own, tmp_path, cli, change, message):
    described = yaml.safe_load((own / "own.yaml").read_text())
    described["system"].update(change)
    (own / "bad.yaml").write_text(yaml.safe_dump(described))
    result = cli("estimate", "--config", own / "bad.yaml", "--method", "mbar_softcore")
    assert (result.exit_code, message in result.stderr.replace("\n", " ")) == (2, True), (
        result.output
    )
    assert result.stdout == ""


def test_an_estimate_takes_its_state_from_a_configuration(own, cli):
    settings = [f"--set={name}" for name in ("n_windows=4", "n_chains=2", "n_frames=40")]
    result = cli(
        *("estimate", "--config", own / "own.yaml", "--method", "mbar_softcore", "--json"),
        *(*settings, "--set=equilibration=50", "--set=platform=Reference"),
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["method"] == "mbar_softcore"
    assert found["value"] == pytest.approx(pair_free_energy(STATE), abs=5 * found["std_err"])
    twice = cli("estimate", "--config", own / "own.yaml", "--n", 3, "--method", "mbar_softcore")
    assert (twice.exit_code, "leave out --n" in twice.output) == (2, True)


@pytest.mark.slow
def test_the_example_of_a_mie_fluid_runs(tmp_path, cli):
    tiny = ("system.n_particles=6", "system.density_star=0.03", "training.n_steps=20")
    quick = (
        "bound.n_tethered=0",
        "softcore.n_windows=4",
        "paths.n_paths=8",
        "softcore.n_frames=20",
    )
    settings = [*tiny, *(f"estimates.{name}" for name in quick), "reference.n_frames=30"]
    result = cli(
        *("run", ROOT / "examples" / "mie_fluid.yaml", "--output", tmp_path / "mie"),
        *(f"--set={setting}" for setting in settings),
    )
    assert result.exit_code == 0, result.output
    assert "force_shifted" in result.output
