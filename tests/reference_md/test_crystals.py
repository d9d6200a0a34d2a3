"""Reference MD of crystals: frames about the sites, and what is said where the crystal melts."""

import mdtraj
import numpy as np
import pytest

from openmm_nti import Ensemble, StatePoint
from openmm_nti.fluid.displacements import check_mean_positions, displacements, sites_sigma
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.reference_md._motion import distinct_frames
from openmm_nti.reference_md.trajectory import from_trajectory
from openmm_nti.runtime.tasks import TaskError

GIVEN = {"density_star": 1.1, "temperature_star": 0.7, "cutoff_sigma": 1.5, "switch_sigma": 1.25}
QUICK = ReferenceConfig(
    n_frames=40,
    n_replicas=2,
    equilibration_steps=300,
    frame_interval=60,
    segment_frames=20,
    max_steps=2400,
    platform="CPU",
)


def test_frames_are_about_their_sites(tmp_path):
    state = StatePoint(crystal={"lattice": "fcc", "cells": (2, 2, 2)}, **GIVEN)
    generate([state], QUICK, seed=1, directory=tmp_path, progress=False)
    found = Ensemble.load(tmp_path / f"{state.label}.h5")
    assert found.state == state
    moved = displacements(found.positions_sigma, state)
    check_mean_positions(moved, state)
    assert found.positions_sigma == pytest.approx(sites_sigma(state) + moved, abs=1e-6)
    assert 0.001 < (moved**2).mean() < 0.01
    energies = reduced_potential_numpy(found.positions_sigma, state)
    assert energies == pytest.approx(found.reduced_potentials, abs=1e-3)
    assert np.ptp(energies) > 1.0
    assert "n_repeated" not in found.provenance["frame_checks"]


def test_copies_of_frames_are_found():
    state = StatePoint(crystal={"lattice": "fcc", "cells": (2, 2, 2)}, **GIVEN)
    moved = 0.05 * np.random.default_rng(1).standard_normal((300, state.n_particles, 3))
    frames = sites_sigma(state) + moved
    assert len(distinct_frames(frames, state)) == 300
    twice = np.concatenate([frames, frames[:40] + 0.3])
    assert (distinct_frames(twice, state) == np.arange(300)).all()


def test_a_crystal_that_melts_is_refused_in_one_line(tmp_path):
    crystal = {"lattice": "sc", "cells": (3, 3, 3)}
    state = StatePoint(crystal=crystal, **{**GIVEN, "density_star": 0.8, "temperature_star": 3.0})
    with pytest.raises(TaskError, match="melted or has another lattice|left its site") as refused:
        generate([state], QUICK, seed=1, directory=tmp_path, progress=False)
    assert "\n" not in str(refused.value)


def test_a_trajectory_of_a_crystal_is_read_in_any_order(tmp_path):
    state = StatePoint(crystal={"lattice": "fcc", "cells": (2, 2, 2)}, **GIVEN)
    (made,) = generate([state], QUICK, seed=2, directory=tmp_path, progress=False)
    rng = np.random.default_rng(1)
    shuffle = rng.permutation(state.n_particles)
    file = mdtraj.load(str(tmp_path / f"{state.label}.h5"))
    file.xyz = ((file.xyz[:, shuffle] + rng.uniform(-1, 1, 3)) % state.edges_nm).astype(np.float32)
    file.save_dcd(str(tmp_path / "own.dcd"))
    file[0].save_pdb(str(tmp_path / "own.pdb"))
    read = from_trajectory(tmp_path / "own.dcd", tmp_path / "own.pdb", state)
    assert (displacements(read.positions_sigma, state) ** 2).mean() == pytest.approx(
        (displacements(made.positions_sigma, state) ** 2).mean(), rel=0.1
    )
    assert read.reduced_potentials == pytest.approx(
        reduced_potential_numpy(read.positions_sigma, state), abs=1e-3
    )
