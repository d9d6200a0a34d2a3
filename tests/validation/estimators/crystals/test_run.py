"""`run` on a crystal: its own estimates, from training to the report."""

import json

import pytest
import yaml
from models import CRYSTAL
from typer.testing import CliRunner

from openmm_nti.cli.app import app
from openmm_nti.cli.run_config import RunConfig

TINY = {
    "system": {
        "crystal": {"lattice": "fcc", "cells": [2, 2, 2]},
        "density_star": 1.1,
        "temperature_star": 0.7,
        "cutoff_sigma": 1.5,
        "switch_sigma": 1.25,
    },
    "reference": {
        "n_frames": 64,
        "n_replicas": 4,
        "equilibration_steps": 100,
        "frame_interval": 60,
        "segment_frames": 20,
        "friction_star": 5.0,
        "platform": "Reference",
    },
    "network": {
        "kind": "denoiser",
        "n_radial": 4,
        "n_channels": 2,
        "width": 8,
        "cutoff_sigma": 1.45,
    },
    "training": {"n_steps": 4},
    "estimates": {
        "crystal_bound": {"n_levels": 8, "n_pairs": 16},
        "crystal_paths": {"n_paths": 8, "n_steps": 10},
    },
}


def test_a_crystal_has_the_estimates_of_crystals():
    asked = RunConfig.model_validate({"system": TINY["system"]}).estimates
    made = {name for name in type(asked).model_fields if getattr(asked, name) is not None}
    assert made == {"crystal_bound", "crystal_paths"}
    few = RunConfig.model_validate(
        {"system": [CRYSTAL], "estimates": {"crystal_bound": None, "frenkel_ladd": {}}}
    ).estimates
    assert few.crystal_bound is None
    assert few.frenkel_ladd is not None
    again = RunConfig.model_validate(
        RunConfig.model_validate({"system": TINY["system"]}).model_dump(mode="json")
    )
    assert again.estimates == asked


@pytest.mark.filterwarnings("ignore")
def test_run_gives_bound_and_path_weights_of_a_crystal(tmp_path):
    path = tmp_path / "crystal.yaml"
    path.write_text(yaml.safe_dump(TINY))
    options = ["run", str(path), "--output", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 0, done.output
    (point,) = json.loads(done.stdout)["state_points"]
    found = point["beta_f_ex"]
    assert set(found) == {"crystal_bound", "crystal_path_bar"}
    facts = found["crystal_path_bar"]["diagnostics"]
    assert facts["lower"] < found["crystal_path_bar"]["value"] < facts["upper"]
    report = (tmp_path / "out" / "report.html").read_text()
    assert "works" in report
    assert "No figures of" not in report


def test_estimates_of_a_fluid_are_refused(tmp_path):
    path = tmp_path / "crystal.yaml"
    path.write_text(yaml.safe_dump(TINY | {"estimates": {"widom": {}}}))
    done = CliRunner().invoke(app, ["run", str(path), "--output", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "estimates: widom: widom serves fluids" in " ".join(done.output.split())
