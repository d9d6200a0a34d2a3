"""The command `coexistence`: what it writes, takes up again and refuses."""

import json
from pathlib import Path

import pytest
import yaml
from models import CRYSTAL
from typer.testing import CliRunner

from openmm_nti.cli.app import app
from openmm_nti.cli.commands.coexistence import _usual
from openmm_nti.model_files import shipped_models

EXAMPLES = Path(__file__).parents[3] / "examples"
CUTOFF = {"temperature_star": 0.7, "cutoff_sigma": 1.5, "switch_sigma": 1.25}
FLUIDS = [{"n_particles": 8, "density_star": rho, **CUTOFF} for rho in (0.2, 0.25)]
CRYSTALS = [
    {"crystal": {"lattice": "fcc", "cells": [2, 2, 2]}, "density_star": rho, **CUTOFF}
    for rho in (1.05, 1.1)
]
WINDOWS = {
    "n_windows": 6,
    "n_chains": 2,
    "n_frames": 20,
    "steps_between": 5,
    "equilibration": 100,
    "platform": "Reference",
}
TINY = {
    "system": [*FLUIDS, *CRYSTALS],
    "reference": {
        "n_frames": 24,
        "n_replicas": 2,
        "friction_star": 5.0,
        "equilibration_steps": 100,
        "frame_interval": 50,
        "segment_frames": 20,
        "max_steps": 4000,
        "platform": "Reference",
    },
    "estimates": {"softcore": WINDOWS, "frenkel_ladd": WINDOWS},
}


def call(folder, *options, **changes):
    path = folder / "melting.yaml"
    path.write_text(yaml.safe_dump(TINY | changes))
    return CliRunner().invoke(app, ["coexistence", str(path), *map(str, options)])


@pytest.mark.filterwarnings("ignore")
def test_it_writes_its_files_and_goes_on_from_them(tmp_path):
    options = ("--output", tmp_path / "out")
    done = call(tmp_path, *options, "--json", "--as-simulated")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["convention"] == "switched"
    assert [row["phase"] for row in found["states"]] == ["fluid"] * 2 + ["crystal"] * 2
    assert ["a" in row for row in found["states"]] == [False, True, False, True]
    assert [row["temperature_star"] for row in found["temperatures"]] == [0.7]
    for row in found["states"]:
        size = row.get("to_infinite_size", {"by_density": 0.0})
        more = row["pressure_star"]["value"] - row["pressure_as_simulated"]["value"]
        assert more == pytest.approx(0.7 * row["density_star"] ** 2 * size["by_density"])
        assert (more > 0.01) == (row["phase"] == "crystal")
    crystal = found["states"][3]
    assert crystal["density_star"] == pytest.approx(CRYSTAL.density_star)
    assert crystal["a"]["value"] == pytest.approx(
        crystal["beta_a_per_particle"] + crystal["to_infinite_size"]["a"]
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "coexistence.json",
        "coexistence.csv",
        "coexistence.svg",
    }
    full = call(tmp_path, *options, "--quiet")
    assert full.exit_code == 0, full.output
    assert "Coexistence, full potential" in full.stdout
    assert "T* = 0.7: " in full.stdout
    written = json.loads((tmp_path / "out" / "coexistence.json").read_text())
    for row, cut in zip(written["states"], found["states"], strict=True):
        assert row["pressure_as_simulated"] == cut["pressure_as_simulated"]
        assert row["pressure_star"]["value"] < cut["pressure_star"]["value"] - 0.01
        assert row.get("beta_f_ex") == cut.get("beta_f_ex")


@pytest.mark.filterwarnings("ignore")
def test_several_temperatures_make_a_line(tmp_path):
    """The example at tiny size: 32 particles, two temperatures, no model."""
    example = yaml.safe_load((EXAMPLES / "melting_line.yaml").read_text())
    system = [row for row in example["system"] if row["temperature_star"] < 1.5]
    for row in system:
        row |= {"cutoff_sigma": 1.45, "switch_sigma": 1.25}
        row["density_star"] = row["density_star"][:2]
        if "crystal" in row:
            row["crystal"]["cells"] = [2, 2, 2]
        else:
            row["n_particles"] = 24
    quick = WINDOWS | {"n_frames": 8, "equilibration": 40}
    reference = TINY["reference"] | {"n_frames": 12, "frame_interval": 20, "segment_frames": 10}
    changes = {"estimates": {"frenkel_ladd": quick}, "reference": reference, "system": system}
    known = ("--published", EXAMPLES / "melting_line_published.csv")
    options = ("--output", tmp_path / "out", *known, "--fluid-method", "eos", "--json")
    done = call(tmp_path, *options, **changes)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [row["temperature_star"] for row in found["temperatures"]] == [1.0, 1.25]
    assert len(found["states"]) == 8
    with_a = [(row["phase"], row["temperature_star"]) for row in found["states"] if "a" in row]
    assert with_a == [("fluid", 1.0), ("crystal", 1.0)]
    assert found["published"][0]["pressure_star"] is None
    table = (tmp_path / "out" / "coexistence.csv").read_text().splitlines()
    assert len(table) == 3
    assert table[0].startswith("temperature_star,rho_fluid,rho_fluid_std_err,rho_crystal,")


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        (
            [],
            {"system": FLUIDS},
            "0 densities of the crystal at T* = 0.7: list",
        ),
        ([], {"system": [FLUIDS[0], *CRYSTALS]}, "1 densities of the fluid"),
        (
            [],
            {"system": [{**one, "convention": "truncated"} for one in TINY["system"]]},
            "convention = truncated: the energy jumps at the cutoff",
        ),
        (
            [],
            {"system": [*FLUIDS, *CRYSTALS[:1], {**CRYSTALS[1], "temperature_star": 0.8}]},
            "1 densities of the crystal at T* = 0.7",
        ),
        (["--crystal-method", "harmonics"], {}, "unknown method harmonics; did you mean harmonic?"),
        (["--crystal-method", "crystal_bound"], {}, "crystal_bound gives no beta F_ex to compare"),
        (["--crystal-method", "crystal_path_bar"], {}, "crystal_path_bar needs a model: give"),
        (["--crystal-method", "mbar_softcore"], {}, "mbar_softcore serves fluids"),
        (["--fluid-method", "frenkel_ladd"], {}, "frenkel_ladd serves crystals"),
        (["--model", "none"], {}, "no model at none"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, options, changes, said):
    done = call(tmp_path, "--output", tmp_path / "out", *options, **changes)
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_a_dense_fluid_takes_stages_where_the_model_has_an_energy():
    model = shipped_models()["lj-fluid-t1.25"]
    assert _usual("fluid", str(model)) == "path_stages"
    assert _usual("fluid", str(model / "denoiser")) == "path_bar"
    assert _usual("crystal", str(model)) == "crystal_path_bar"
    assert [_usual(phase, None) for phase in ("fluid", "crystal")] == [
        "mbar_softcore",
        "frenkel_ladd",
    ]
