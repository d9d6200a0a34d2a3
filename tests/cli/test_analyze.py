"""`analyze`: from a trajectory and a System of one's own to a free energy, in one command."""

import json
from pathlib import Path

import numpy as np
import openmm
import pytest
import yaml
from exact import any_pair_free_energy, exact_ensemble, pair_free_energy
from models import mixture
from own_systems import write_own
from tiny import TINY

from openmm_nti import LJFluid, StatePoint
from openmm_nti.cli.commands import choice
from openmm_nti.cli.commands.analysis import Analysis
from openmm_nti.cli.commands.choice import Choice, choose
from openmm_nti.cli.commands.look import Look, look_at
from openmm_nti.model_files import read_card
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators.registry import estimator, sections
from openmm_nti.validation.pace import Pace

ROOT = Path(__file__).parents[2]
NAME = "lj-fluid-t1.25"
PLAIN = {"n_particles": 60, "box_length_sigma": 6.0, "temperature_star": 1.25}
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
    write_own(folder, QUICK, STATE, exact_ensemble(STATE, 150), LJFluid(STATE).create_system())
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


def analysis(folder, *settings, system=PLAIN, model=None, minutes=3, **sections_given):
    path = folder / "fluid.yaml"
    path.write_text(yaml.safe_dump({"system": system, **sections_given}))
    return Analysis(path, list(settings), folder / "out", minutes, model)


@pytest.mark.filterwarnings("ignore:the network was trained for another fluid")
def test_a_system_of_two_kinds_and_a_trajectory_give_the_exact_number(tmp_path, cli):
    state = mixture(1, 1)
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors(*(state.box_length_nm * np.eye(3)))
    force = openmm.NonbondedForce()
    for mass, sigma, epsilon in ((39.948, 0.3405, 0.99607), (83.8, 0.3633, 1.3636)):
        system.addParticle(mass)
        force.addParticle(0, sigma, epsilon)
    force.setNonbondedMethod(force.CutoffPeriodic)
    force.setCutoffDistance(1.0215)
    force.setUseSwitchingFunction(True)
    force.setSwitchingDistance(0.85125)
    force.setUseDispersionCorrection(False)
    system.addForce(force)
    write_own(tmp_path, QUICK, state, exact_ensemble(state, 150, deepest_pair=1.2), system)
    content = yaml.safe_load((tmp_path / "own.yaml").read_text())
    for taught in ("network", "training"):
        del content[taught]  # so that the shipped model is looked at
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    result = call_analyze(cli, tmp_path, tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    assert "model: lj-family without training: its overlap in 16 paths" in result.stderr
    (point,) = json.loads(result.stdout)["state_points"]
    found = point["beta_f_ex"]["path_bar"]
    exact = any_pair_free_energy(state)
    assert 0 < found["std_err"] < 0.1
    assert found["value"] == pytest.approx(exact, abs=4 * found["std_err"])
    assert set(point["beta_mu_ex"]) == {"widom (Ar)", "widom (Kr)"}
    assert all(mu["std_err"] > 0 for mu in point["beta_mu_ex"].values())
    report = (tmp_path / "out" / "report.html").read_text()
    assert all(f"widom ({name})" in report for name in ("Ar", "Kr"))
    assert (tmp_path / "out" / choice.FILE).is_file()
    again = call_analyze(cli, tmp_path, tmp_path / "out", "--json")
    assert json.loads(again.stdout)["state_points"] == [point]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the network was trained for another fluid")
def test_a_model_that_does_not_serve_is_trained_further(own, tmp_path, cli, monkeypatch):
    monkeypatch.setattr("openmm_nti.cli.commands.look.ENOUGH", 2.0)  # of an overlap
    described = yaml.safe_load((own / "own.yaml").read_text())
    (own / "open.yaml").write_text(yaml.safe_dump({"system": described["system"], "workers": 1}))
    files = ["--trajectory", own / "run.dcd", "--topology", own / "run.pdb"]
    quick = {"bound.n_tethered": 0, "bound.n_levels": 4, "paths.n_paths": 32, "paths.n_steps": 20}
    quick |= {"bound.n_pairs": 8, "widom.n_insertions_per_frame": 20}
    small = [f"--set=estimates.{name}={number}" for name, number in quick.items()]
    result = cli(
        *("analyze", own / "open.yaml", *files, "--output", tmp_path / "out", *small),
        *("--minutes", "0.05", "--json"),
    )
    assert result.exit_code == 0, result.output
    assert f"model: {NAME} trained further for 0.01 minutes" in result.stderr
    card = read_card(tmp_path / "out" / "model")
    assert card["network"]["kind"] == "denoiser"
    assert card["training"]["config"]["start_from"] == NAME
    found = json.loads(result.stdout)["state_points"][0]["beta_f_ex"]
    value, error = found["path_bar"]["value"], found["path_bar"]["std_err"]
    assert value == pytest.approx(pair_free_energy(STATE), abs=4 * error)
    assert 0 < error < 0.2
    assert "the network" in (tmp_path / "out" / "report.html").read_text()


def test_what_the_file_leaves_open_is_chosen(tmp_path):
    asked = analysis(tmp_path)
    config = asked.config()
    used = {name for name in sections() if getattr(config.estimates, name) is not None}
    assert used == {"bound", "paths", "widom"}
    assert (config.model, config.training.max_minutes) == (None, 1.5)
    assert asked._open(STATE) == {"model", "bound", "paths"}
    asked = analysis(tmp_path, "estimates.softcore.n_windows=7", "estimates.paths.n_paths=9")
    assert asked._open(STATE) == {"model", "bound"}
    assert asked.config().estimates.softcore.n_windows == 7
    for given in ({"training": {"n_steps": 9}}, {"network": {"width": 8}}, {"model": NAME}):
        assert analysis(tmp_path, **given)._open(STATE) == {"bound", "paths"}
    assert analysis(tmp_path, model=NAME)._open(STATE) == {"bound", "paths"}
    (tmp_path / "out").mkdir()
    Choice((f"model={NAME}", "estimates.paths.n_paths=11")).save(tmp_path / "out")
    config = analysis(tmp_path, minutes=99).config()  # goes on as it began
    assert (config.model, config.estimates.paths.n_paths) == (NAME, 11)
    (tmp_path / "out" / choice.FILE).write_text("{}")
    with pytest.raises(ValueError, match="holds no choice: delete it"):
        analysis(tmp_path).config()


def test_a_look_tells_a_model_that_serves_from_one_that_does_not():
    state = StatePoint(n_particles=3, box_length_sigma=6.0, temperature_star=2.0)
    look = look_at(NAME, exact_ensemble(state, 60), 0.1, Execution(seed=1))
    assert look.is_enough
    assert 0.5 < look.overlap <= 1.0
    assert look.pace.gradient(100) > look.pace.md_step(100) > 0
    small = StatePoint(
        n_particles=3,
        box_length_sigma=3.0,
        temperature_star=2.0,
        cutoff_sigma=1.5,
        switch_sigma=1.2,
    )
    with pytest.raises(ValueError, match="box"):
        look_at(NAME, exact_ensemble(small, 60), 1.0, Execution(seed=1))


PACE = Pace((0.0, 1e-5), (0.0, 4e-7))


@pytest.mark.parametrize(
    ("look", "settings", "said"),
    [
        (Look(NAME, 0.4, True, "0.4", PACE), {"model": NAME}, "without training: 0.4, and 0.1 is"),
        (
            Look(NAME, 0.02, False, "0.02", PACE),
            {"training.start_from": NAME, "training.learning_rate": "0.0005"},
            "trained further for 4.9 minutes: 0.02, and 0.1 would be enough",
        ),
        (None, {}, "trained from random weights for 4.9 minutes: too small"),
    ],
)
def test_the_look_decides_what_is_trained(tmp_path, monkeypatch, look, settings, said):
    def seen(*_arguments):
        if look is None:
            raise ValueError("too small")
        return look

    monkeypatch.setattr(choice, "look_at", seen)
    asked = analysis(tmp_path, "workers=2")
    found = choose(asked.config(), exact_ensemble(STATE, 20), asked._open(STATE), 600.0)
    assert said in found.said[0]
    chosen = dict(setting.split("=", 1) for setting in found.settings)
    assert settings.items() <= chosen.items()
    assert ("training.max_minutes" in chosen) == (look is None or not look.is_enough)
    found.save(tmp_path)
    config = Analysis(asked.path, [], tmp_path, 10).config()
    assert (config.network.kind == "denoiser") == (look is not None and not look.is_enough)
    assert not config.needs_energy


def test_the_time_decides_on_paths_and_chains(tmp_path):
    config = analysis(tmp_path, "workers=2").config()
    state = config.system[0]

    def efforts(seconds, overlap=0.3):
        return choice._efforts(config, state, PACE, seconds, overlap)

    assert efforts(-5) == {"n_paths": 16, "n_pairs": 32, "n_tethered": 8}
    assert efforts(1e9) == {"n_paths": choice._paths_for(0.3), "n_pairs": 192, "n_tethered": 12}
    assert efforts(1e9, 1e-4)["n_paths"] == 512
    assert efforts(1e9, float("nan"))["n_paths"] == 128  # of a model that is still to be trained
    some = efforts(20.0)
    assert 16 < some["n_paths"] < 97
    cost = sum(
        known.seconds(getattr(config.estimates, known.section).model_copy(update=some), 60, PACE)
        for known in map(estimator, ("path_bar", "neural_ti_bound", "widom"))
    )
    assert cost < 40.0  # of two cores


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
