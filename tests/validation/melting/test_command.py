"""The command `coexistence`: what it writes, takes up again and refuses."""

import json

import pytest
import yaml
from models import CRYSTAL
from typer.testing import CliRunner

from openmm_nti.cli.app import app

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
    for row in found["states"]:
        assert row["pressure_star"] == row["pressure_as_simulated"]
    crystal = found["states"][3]
    assert crystal["density_star"] == pytest.approx(CRYSTAL.density_star)
    assert crystal["a"]["value"] == pytest.approx(
        crystal["beta_a_per_particle"] + crystal["to_infinite_size"]["value"]
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "coexistence.json",
        "coexistence.csv",
        "coexistence.svg",
    }
    full = call(tmp_path, *options, "--quiet")
    assert full.exit_code == 0, full.output
    assert "full potential: " in full.stdout
    written = json.loads((tmp_path / "out" / "coexistence.json").read_text())
    for row, cut in zip(written["states"], found["states"], strict=True):
        assert row["pressure_as_simulated"] == cut["pressure_star"]
        assert row["pressure_star"]["value"] < cut["pressure_star"]["value"] - 0.01
        assert row.get("beta_f_ex") == cut.get("beta_f_ex")


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        ([], {"system": FLUIDS}, "0 densities of the crystal: list state points at 2 densities"),
        ([], {"system": [FLUIDS[0], *CRYSTALS]}, "1 densities of the fluid"),
        (
            [],
            {"system": [{**one, "convention": "truncated"} for one in TINY["system"]]},
            "convention = truncated: the energy jumps at the cutoff",
        ),
        (
            [],
            {"system": [*FLUIDS, *CRYSTALS[:1], {**CRYSTALS[1], "temperature_star": 0.8}]},
            "differ in temperature",
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
