"""`analyze` on a crystal: its sites by name or from its own trajectory, and its methods."""

import json
import re

import numpy as np
import pytest
import yaml
from models import CRYSTAL
from site_files import trajectory

from openmm_nti.cli.commands import choice
from openmm_nti.cli.commands.analysis import Analysis
from openmm_nti.cli.results import _quote
from openmm_nti.free_energy import Verdict, uncertain
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.references.einstein_crystal import beta_f_ex
from openmm_nti.validation.estimators.crystals import frenkel_ladd
from openmm_nti.validation.estimators.crystals.conventions import (
    crystal_free_energy,
    crystal_numbers,
)
from openmm_nti.validation.estimators.crystals.crystal_path_bar import CrystalPathDiagnostics
from openmm_nti.validation.estimators.crystals.frenkel_ladd import FrenkelLaddConfig
from openmm_nti.validation.estimators.registry import sections
from openmm_nti.validation.pace import Pace

NAMED = {"crystal": {"lattice": "fcc", "cells": [2, 2, 2]}, "density_star": 1.1}
REST = {"temperature_star": 0.7, "cutoff_sigma": 1.5, "switch_sigma": 1.25}
NETWORK = {"n_radial": 4, "n_channels": 2, "width": 8, "cutoff_sigma": 1.45}
TINY = {
    "network": {"kind": "denoiser", **NETWORK},
    "training": {"n_steps": 4},
    "estimates": {
        "crystal_bound": {"n_levels": 8, "n_pairs": 16},
        "crystal_paths": {"n_paths": 16, "n_steps": 40},
    },
    "workers": 1,
}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder with a trajectory of a crystal that drifts, with its atoms in another order."""
    folder = tmp_path_factory.mktemp("own")
    config = ReferenceConfig(
        n_frames=160,
        n_replicas=4,
        equilibration_steps=400,
        frame_interval=60,
        segment_frames=40,
        friction_star=5.0,
        max_steps=14_000,
        platform="CPU",
    )
    (made,) = generate([CRYSTAL], config, seed=1, directory=folder, progress=False)
    rng = np.random.default_rng(2)
    positions = made.positions_sigma[:, rng.permutation(CRYSTAL.n_particles)]
    positions += np.cumsum(rng.uniform(-0.05, 0.2, (len(positions), 1, 3)), axis=0)
    found = trajectory(positions % CRYSTAL.edges_sigma, CRYSTAL)
    found.save_dcd(str(folder / "run.dcd"))
    found[0].save_pdb(str(folder / "run.pdb"))
    in_nm = {"box_nm": CRYSTAL.edges_nm.tolist(), "n_particles": 32}
    (folder / "crystal.yaml").write_text(yaml.safe_dump(TINY | {"system": in_nm | REST}))
    return folder


def call(cli, own, output, *more, config="crystal"):
    files = ["--trajectory", own / "run.dcd", "--topology", own / "run.pdb", "--output", output]
    return cli("analyze", own / f"{config}.yaml", *files, *more)


@pytest.mark.filterwarnings("ignore")
def test_a_trajectory_of_a_crystal_gives_its_free_energy(own, tmp_path, cli):
    result = call(cli, own, tmp_path / "out", "--json", "--crystal")
    assert result.exit_code == 0, result.output
    (point,) = json.loads(result.stdout)["state_points"]
    found = point["beta_f_ex"]
    assert set(found) == {"crystal_bound", "crystal_path_bar"}
    exact = found["crystal_path_bar"]
    quick = FrenkelLaddConfig(n_windows=8, n_chains=2, equilibration=200, platform="CPU")
    classical = frenkel_ladd.estimate(CRYSTAL, quick, seed=1)
    facts = exact["diagnostics"]
    assert facts["lower"] < classical.value < facts["upper"]
    assert found["crystal_bound"]["value"] < classical.value
    counted = exact["value"] - facts["minus_log_z_rel"]
    assert counted == pytest.approx(beta_f_ex(0.0, CRYSTAL), abs=1e-2)
    assert "32 shifts repeat them" in result.stderr


def test_the_number_to_quote_is_told_as_the_literature_has_it():
    known = crystal_numbers(-20.0, 0.1, CRYSTAL)
    facts = CrystalPathDiagnostics(
        **known,
        overlap=0.5,
        lower=-21.0,
        lower_err=0.1,
        upper=-19.0,
        upper_err=0.1,
        bootstrap_err=0.1,
    )
    verdict = Verdict("good", "good")
    found = crystal_free_energy(-20.0, 0.1, CRYSTAL, "crystal_path_bar", facts, verdict)
    said = _quote([found])
    shown = uncertain(known["beta_a_per_particle"], 0.1 / 32)
    assert f"(beta A / N = {shown} for Lambda = sigma)" in said


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ({"n_particles": 32, "density_star": 1.1}, "use `openmm-nti analyze --crystal`"),
        (NAMED | {"crystal": {"lattice": "sc", "cells": [4, 4, 4]}}, "hold 32 particles, but"),
        (NAMED | {"crystal": {"lattice": "fcc", "cells": [2, 2, 3]}}, "hold 32 particles, but"),
        (NAMED | {"density_star": 1.0}, "the unit cell has an edge of"),
    ],
)
def test_what_the_trajectory_is_not_of_is_refused(own, tmp_path, cli, system, message):
    given = {"system": REST | system, "network": NETWORK}
    (own / "other.yaml").write_text(yaml.safe_dump(given))
    result = call(cli, own, tmp_path / "out", config="other")
    said = " ".join(result.output.split())
    assert result.exit_code == 2, said
    assert re.search(message, said), said


PACE = Pace((0.0, 1e-5), (0.0, 4e-7))


def test_the_time_decides_on_the_effort_for_a_crystal(tmp_path):
    path = tmp_path / "crystal.yaml"
    path.write_text(yaml.safe_dump({"system": NAMED | REST}))
    asked = Analysis(path, ["workers=2"], tmp_path / "out", 3.0)
    config = asked.config()
    used = {name for name in sections() if getattr(config.estimates, name) is not None}
    assert used == {"crystal_bound", "crystal_paths"}
    assert asked._open(CRYSTAL) == {"model", "crystal_bound", "crystal_paths"}
    few, many = (choice._efforts(config, CRYSTAL, PACE, seconds, 0.3) for seconds in (-5, 1e9))
    assert few == {"n_paths": 16, "n_pairs": 32}
    assert many == {"n_paths": choice._paths_for(0.3), "n_pairs": 192}
