"""--resume with changed settings: what they touch is made again, and nothing else."""

import json
import shutil
from pathlib import Path

import mdtraj
import pytest
import yaml

from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.results import write_results
from openmm_nti.cli.run_config import load_config
from openmm_nti.cli.run_directory import RunDirectory
from openmm_nti.cli.safety.changes import Changes
from openmm_nti.cli.safety.opening import open_run

LABEL = "N6_L6_T1.25_switched"
CLASSICAL = {"mbar_softcore", "mu_decoupling", "bar_chain"}


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(finished, tmp_path / "run")


def contents(folder):
    """The bytes of each file of the stages."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("config.yaml", "results.json", "report.html")
    }


def opened(run, config, *settings):
    """Open the run with changed settings; return what it says, and the names of the estimates."""
    said = []
    open_run(run, load_config(config, list(settings)), resume=True, say=said.append)
    kept = {path.stem for path in (run / LABEL / "estimates").glob("*.json")}
    return said, kept


def test_a_later_stage_leaves_earlier_files_as_they_are(run, config, cli):
    before = contents(run)
    changed = ["--set", "estimates.widom.n_insertions_per_frame=21"]
    done = cli("run", config, "--output", run, "--resume", *changed)
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    assert "estimates.widom.n_insertions_per_frame = 20 there, 21 now" in said
    assert f"made again: widom at {LABEL}; the old files are in" in said
    assert f"kept: reference data {LABEL}, training, bar_chain at {LABEL}" in said
    after = contents(run)
    differing = {path for path, content in before.items() if after.get(path) != content}
    widom = Path(LABEL, "estimates", "widom.json")
    assert differing == {widom}
    assert (run / "earlier-1" / widom).read_bytes() == before[widom]
    assert RunDirectory(run).stored_config().estimates.widom.n_insertions_per_frame == 21


@pytest.mark.parametrize(
    ("setting", "kept"),
    [
        ("seed=4", set()),
        ("system.temperature_star=1.3", set()),
        ("reference.n_frames=41", CLASSICAL),
        ("training.n_steps=21", CLASSICAL | {"widom"}),
        ("network.width=9", CLASSICAL | {"widom"}),
    ],
)
def test_an_earlier_stage_leaves_no_old_number(run, config, setting, kept):
    old = json.loads((run / "results.json").read_text())["state_points"][0]
    all_names = {*old["beta_f_ex"], *old["beta_mu_ex"]}
    assert all_names > CLASSICAL | {"widom"}
    said, left = opened(run, config, setting)
    assert left == kept
    key, _, value = setting.partition("=")
    assert any(key in line and f"{value} now" in line for line in said)
    directory = RunDirectory(run)
    assert not directory.results.exists()
    assert not directory.report.exists()
    assert not (run / "model").exists()
    assert (run / "reference" / f"{LABEL}.h5").exists() == ("widom" in kept)
    assert json.loads(directory.provenance.read_text())["seed"] == (4 if "seed" in setting else 3)
    moved = {path.stem for path in (run / "earlier-1").glob("*/estimates/*.json")}
    assert moved == all_names - kept
    assert yaml.safe_load((run / "earlier-1" / "config.yaml").read_text())["seed"] == 3
    if "widom" in kept:
        write_results(directory, directory.stored_config())
        (new,) = json.loads(directory.results.read_text())["state_points"]
        assert {*new["beta_f_ex"], *new["beta_mu_ex"]} == kept


def test_an_estimate_without_its_section_is_set_aside(run, config):
    said, kept = opened(run, config, "estimates.neural_ti=null")
    assert "neural_ti" not in kept
    assert "mbar_neural" in kept
    assert not (run / LABEL / "neural_ti.npz").exists()
    assert (run / "earlier-1" / LABEL / "neural_ti.npz").is_file()
    assert (run / LABEL / "neural_windows.npz").is_file()
    assert said[-1].startswith(f"made again: neural_ti at {LABEL}; the old files are in ")
    # and there is no way back to an old number of another model
    opened(run, config, "estimates.neural_ti=null", "training.n_steps=21")
    _, kept = opened(run, config)
    assert not kept & {"neural_ti", "mbar_neural"}
    assert {path.name for path in run.glob("earlier-*")} == {"earlier-1", "earlier-2"}


def test_a_mistake_that_was_stored_does_not_block(run, config):
    stored = yaml.safe_load((run / "config.yaml").read_text())
    stored["estimates"]["windows"]["platform"] = "Cpu"
    stored["estimates"]["windows"]["n_windows"] = "many"
    (run / "config.yaml").write_text(yaml.safe_dump(stored))
    said, kept = opened(run, config)
    assert "estimates.windows.platform = Cpu there, Reference now" in said[0]
    assert {"mbar_softcore", "widom", "neural_ti"} <= kept
    assert "mbar_neural" not in kept
    assert (run / "model").is_dir()


def test_another_state_point_takes_the_old_one_away(run, config):
    said, kept = opened(run, config, "system.n_particles=[6, 7]")
    assert kept == CLASSICAL | {"widom"}  # the data of N = 6 stay, the model is of both
    assert "kept: reference data" in said[1]
    _, kept = opened(run, config, "system.n_particles=7")
    assert kept == set()
    assert not list((run / "reference").glob("*.h5"))


def test_a_trajectory_of_ones_own_stays(run, config, tmp_path, cli):
    (data,) = (run / "reference").glob("*.h5")
    frames = mdtraj.load(data)
    frames.save_dcd(tmp_path / "own.dcd")
    frames[0].save_pdb(tmp_path / "own.pdb")
    own = ["--trajectory", tmp_path / "own.dcd", "--topology", tmp_path / "own.pdb"]
    made = cli("generate", config, "--output", tmp_path / "own", *own)
    assert made.exit_code == 0, made.output
    (imported,) = (tmp_path / "own" / "reference").glob("*.h5")
    before = imported.read_bytes()
    changes = load_config(config, ["reference.n_frames=41", "seed=4"])
    open_run(tmp_path / "own", changes, resume=True)
    assert imported.read_bytes() == before
    other = load_config(config, ["system.temperature_star=1.3"])
    with pytest.raises(ConfigError, match=r"comes from a trajectory of your own.*system"):
        open_run(tmp_path / "own", other, resume=True)
    assert imported.read_bytes() == before


def test_workers_touch_nothing(run, config):
    assert Changes(RunDirectory(run), load_config(config, ["workers=2"])).settings == []


def test_a_change_is_refused_where_several_processes_train(run, config, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    before = contents(run)
    with pytest.raises(ConfigError, match=r"training.n_steps = 20 there, 21 now.*before torchrun"):
        opened(run, config, "training.n_steps=21")
    assert contents(run) == before


@pytest.mark.slow
def test_a_changed_run_has_the_numbers_of_a_new_one(run, config, tmp_path, cli, numbers):
    changed = ["--set", "training.n_steps=21"]
    for directory, more in ((run, ["--resume"]), (tmp_path / "new", [])):
        done = cli("run", config, "--output", directory, *changed, *more)
        assert done.exit_code == 0, done.output
    assert numbers(run / "results.json") == numbers(tmp_path / "new" / "results.json")
