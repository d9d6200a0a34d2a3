"""`Ensemble`: a file that mdtraj reads, exact round trips, and one clear message for each kind of
damage.
"""

import mdtraj
import numpy as np
import pytest
import tables

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import seal
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint

STATE = StatePoint(n_particles=10, box_length_sigma=6, temperature_star=1.25)


@pytest.fixture
def ensemble():
    positions = np.array([lattice_positions_nm(STATE, seed) for seed in range(4)]).astype(
        np.float32
    )
    energies = reduced_potential_numpy(positions.astype(float) / STATE.sigma_nm, STATE)
    return Ensemble(STATE, positions, energies, {"seed": 3, "warnings": []})


@pytest.fixture
def saved(ensemble, tmp_path):
    path = tmp_path / "ensemble.h5"
    ensemble.save(path)
    return path


def test_round_trip_is_exact(ensemble, saved):
    loaded = Ensemble.load(saved)
    assert loaded.state == STATE
    assert loaded.provenance == ensemble.provenance
    assert loaded.positions_nm.dtype == np.float64
    np.testing.assert_array_equal(loaded.positions_nm, ensemble.positions_nm)
    np.testing.assert_array_equal(loaded.reduced_potentials, ensemble.reduced_potentials)
    np.testing.assert_allclose(
        loaded.positions_sigma * STATE.sigma_nm, loaded.positions_nm, rtol=1e-14
    )
    assert [path.name for path in saved.parent.iterdir()] == ["ensemble.h5"]


def test_mdtraj_reads_the_file(ensemble, saved):
    trajectory = mdtraj.load(str(saved))
    assert trajectory.n_frames == 4
    assert trajectory.topology.atom(0).element.symbol == "Ar"
    np.testing.assert_array_equal(trajectory.xyz, ensemble.positions_nm.astype(np.float32))
    np.testing.assert_allclose(trajectory.unitcell_lengths, STATE.box_length_nm, rtol=1e-6)


def test_nan_positions_are_refused(ensemble):
    positions = ensemble.positions_nm.copy()
    positions[2, 0, 0] = np.nan
    with pytest.raises(
        ValueError, match="NaN or infinity in 1 of 4 frames .first: frame 2.: remove"
    ):
        Ensemble(STATE, positions, ensemble.reduced_potentials, {})


def test_another_number_of_particles_is_refused(ensemble):
    with pytest.raises(
        ValueError, match="hold 9 particles, but the state point has n_particles = 10: change"
    ):
        Ensemble(STATE, ensemble.positions_nm[:, :9], ensemble.reduced_potentials, {})


@pytest.mark.parametrize("shape", [(10, 3), (4, 10, 2), (0, 10, 3)])
def test_positions_of_another_shape_are_refused(shape):
    with pytest.raises(
        ValueError, match="positions have shape .*: expected .frames, particles, 3."
    ):
        Ensemble(STATE, np.zeros(shape), np.zeros(len(np.zeros(shape))), {})


def test_energies_must_belong_to_the_frames(ensemble):
    with pytest.raises(ValueError, match=r"reduced_potentials has shape \(3,\) for 4 frames"):
        Ensemble(STATE, ensemble.positions_nm, ensemble.reduced_potentials[:3], {})
    with pytest.raises(ValueError, match="reduced_potentials holds NaN or infinity: remove frames"):
        Ensemble(STATE, ensemble.positions_nm, np.full(4, np.inf), {})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no ensemble at .*nothing\.h5: make it"):
        Ensemble.load(tmp_path / "nothing.h5")


@pytest.mark.parametrize("size", [0, 100, 0.5, 0.97])
def test_a_truncated_file_is_named(saved, size):
    content = saved.read_bytes()
    saved.write_bytes(content[: size if isinstance(size, int) else int(size * len(content))])
    with pytest.raises(
        ValueError, match=r"ensemble\.h5 is truncated or not HDF5: delete it and generate it again"
    ):
        Ensemble.load(saved)


def test_a_trajectory_of_another_program_is_sent_to_the_right_door(ensemble, saved):
    mdtraj.load(str(saved)).save_hdf5(str(saved))
    with pytest.raises(
        ValueError, match="was not written by openmm_nti: read a trajectory .* --trajectory"
    ):
        Ensemble.load(saved)


def test_another_box_in_the_file_is_refused(saved):
    with tables.open_file(str(saved), "a") as file:
        file.root.cell_lengths[1, 2] *= 1.01
    seal(saved)
    with pytest.raises(
        ValueError, match="a frame's box is 2.06343 nm, but the state point's is 2.043 nm"
    ):
        Ensemble.load(saved)


def test_nan_in_the_file_is_refused(saved):
    with tables.open_file(str(saved), "a") as file:
        file.root.coordinates[1, 2, 0] = np.nan
    seal(saved)
    with pytest.raises(ValueError, match=r"ensemble\.h5: positions hold NaN"):
        Ensemble.load(saved)
