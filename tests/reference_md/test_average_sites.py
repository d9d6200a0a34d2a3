"""Sites as mean places of atoms: the lattice they came from, and trajectories that are refused."""

import json

import numpy as np
import pytest
from site_files import trajectory, vibrating
from typer.testing import CliRunner

from openmm_nti import StatePoint
from openmm_nti.cli.app import app
from openmm_nti.fluid.displacements import displacements, sites_sigma
from openmm_nti.reference_md.average_sites import average_sites
from openmm_nti.reference_md.trajectory import from_trajectory

CUTOFF = {"cutoff_sigma": 1.3, "switch_sigma": 1.1, "temperature_star": 0.7}
FCC = StatePoint(crystal={"lattice": "fcc", "cells": (2, 2, 2)}, density_star=1.1, **CUTOFF)


def written(folder, frames, state=FCC, names="Ar"):
    found = trajectory(frames, state, names)
    found.save_dcd(str(folder / "run.dcd"))
    found[0].save_pdb(str(folder / "run.pdb"))
    return folder / "run.dcd", folder / "run.pdb"


@pytest.mark.parametrize(
    ("lattice", "cells"), [("fcc", (2, 2, 2)), ("hcp", (3, 2, 2)), ("bcc", (3, 3, 3))]
)
def test_mean_places_are_the_lattice(tmp_path, lattice, cells):
    given = {"crystal": {"lattice": lattice, "cells": cells}, "density_star": 1.0}
    state = StatePoint(**(given | CUTOFF))
    order = np.random.default_rng(1).permutation(state.n_particles)
    files = written(tmp_path, vibrating(state, 120, 2)[:, order], state)
    found = average_sites(*files)
    assert found.cell.n_primitive == state.crystal.n_primitive
    assert found.vibration_nm == pytest.approx(0.06 * state.sigma_nm, rel=0.05)
    assert found.error_nm == pytest.approx(found.vibration_nm / 120**0.5, rel=0.15)
    found.save(tmp_path / "sites.pdb", files[0])
    read = StatePoint(crystal={"sites": tmp_path / "sites.pdb"}, **CUTOFF)
    assert read.crystal.n_primitive == state.crystal.n_primitive
    assert read.edges_sigma == pytest.approx(state.edges_sigma, rel=1e-6)
    # Averaged over all that repeat, they are the lattice, in the order of the atoms.
    off = displacements(sites_sigma(read)[np.argsort(order)][None], state)
    assert np.abs(off).max() * state.sigma_nm < 6 * found.error_nm / found.cell.n_primitive**0.5


def test_the_trajectory_itself_is_read_with_its_sites(tmp_path):
    """From the command to the frames about their sites."""
    moved = vibrating(FCC, 150, 3, spread=0.05)
    files = written(tmp_path, moved)
    arguments = ["--trajectory", str(files[0]), "--topology", str(files[1])]
    output = tmp_path / "sites.pdb"
    done = CliRunner().invoke(app, ["sites", *arguments, "-o", str(output), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["n_translations"] == 32
    twice = CliRunner().invoke(app, ["sites", *arguments, "-o", str(output)])
    assert (twice.exit_code, "exists already" in twice.output) == (2, True)
    state = StatePoint(crystal={"sites": output}, **CUTOFF)
    read = from_trajectory(*files, state, accept_frames=True)
    assert (displacements(read.positions_sigma, state) ** 2).mean() == pytest.approx(
        0.05**2, rel=0.05
    )


def melted(frames):
    steps = np.random.default_rng(1).normal(0, 0.2, frames.shape)
    return (frames + np.cumsum(steps, axis=0)) % FCC.edges_sigma


def hopped(frames):
    frames[100:, 5] += [0.0, 0.8, 0.0]
    return frames


def exchanged(frames):
    frames[100:, [0, 1]] = frames[100:, [1, 0]]
    return frames


def nan(frames):
    frames[3, 4] = np.nan
    return frames


BAD = {
    "melted": (melted, "the crystal has melted|nearer to another site"),
    "hopped": (hopped, "atom 5 has left its site"),
    "exchanged": (exchanged, "has left its site"),
    "NaN": (nan, "frame 3 holds NaN"),
    "vacancy": (lambda frames: frames[:, 1:], "repeats 30 of the 31 sites"),
    "few": (lambda frames: frames[:20], "20 frames are too few"),
    "still": (lambda frames: frames[:1].repeat(60, axis=0), "has melted, or does not move"),
    "displaced": (
        lambda frames: frames + 0.06 * (np.arange(32) % 8 == 0)[:, None],
        "nearly repeats the sites",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_other_trajectories_are_refused_in_one_line(tmp_path, what):
    spoil, message = BAD[what]
    files = written(tmp_path, spoil(vibrating(FCC, 200, 4, spread=0.05)))
    with pytest.raises(ValueError, match=message) as refused:
        average_sites(*files)
    assert "\n" not in str(refused.value)
    assert "run.dcd" in str(refused.value)


def test_errors_decide_what_repeats(tmp_path):
    """A distortion below the errors of few frames is seen in many."""
    apart = 0.03 * (np.arange(32) % 8 == 0)[:, None]
    few = written(tmp_path, vibrating(FCC, 60, 5) + apart)
    assert average_sites(*few).cell.n_primitive == 32
    many = written(tmp_path, vibrating(FCC, 3000, 5) + apart)
    with pytest.raises(ValueError, match="nearly repeats the sites"):
        average_sites(*many)


def test_changing_boxes_and_mixtures_are_refused(tmp_path):
    frames = vibrating(FCC, 60, 6)
    with pytest.raises(ValueError, match="atoms of 2 kinds"):
        average_sites(*written(tmp_path, frames, names=["Ar"] * 31 + ["Kr"]))
    found = trajectory(frames, FCC)
    found.unitcell_lengths = found.unitcell_lengths * np.linspace(1, 1.01, 60)[:, None]
    found.save_dcd(str(tmp_path / "run.dcd"))
    with pytest.raises(ValueError, match="the box changes"):
        average_sites(tmp_path / "run.dcd", tmp_path / "run.pdb")
