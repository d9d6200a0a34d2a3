"""A user's own trajectory: accepted when it is what the state point says, otherwise one clear
message.
"""

import mdtraj
import numpy as np
import pytest
from contexts import simulated
from models import mixture

from openmm_nti import StatePoint
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.reference_md import from_trajectory

STATE = StatePoint(n_particles=40, box_length_sigma=6, temperature_star=1.25)
BOX = STATE.box_length_nm


@pytest.fixture(scope="module")
def frames():
    return simulated(STATE, 100, interval=100)


@pytest.fixture
def trajectory(frames):
    moved = frames[:]
    moved.xyz = moved.xyz - np.float32(BOX)  # another image
    return moved


@pytest.fixture
def read(tmp_path):
    def save_and_read(trajectory, state=STATE):
        trajectory.save_dcd(str(tmp_path / "own.dcd"))
        trajectory[0].save_pdb(str(tmp_path / "own.pdb"))
        return from_trajectory(tmp_path / "own.dcd", tmp_path / "own.pdb", state, seed=4)

    return save_and_read


def test_frames_are_wrapped_and_get_their_energies(trajectory, read):
    ensemble = read(trajectory)
    assert 10 <= ensemble.n_frames <= 50  # most are correlated
    assert ensemble.positions_nm.min() >= 0
    assert ensemble.positions_nm.max() <= BOX * (1 + 1e-6)
    expected = reduced_potential_numpy(ensemble.positions_sigma, STATE)
    np.testing.assert_allclose(ensemble.reduced_potentials, expected, rtol=1e-12)
    assert ensemble.provenance["trajectory"] == "own.dcd"
    assert ensemble.provenance["seed"] == 4


def test_hdf5_needs_no_topology(trajectory, tmp_path):
    trajectory.save_hdf5(str(tmp_path / "own.h5"))
    assert from_trajectory(tmp_path / "own.h5", None, STATE).n_frames >= 10


def test_another_number_of_particles(trajectory, read):
    other = StatePoint(n_particles=41, box_length_sigma=6, temperature_star=1.25)
    with pytest.raises(
        ValueError, match=r"own\.dcd: positions hold 40 particles, but .* n_particles = 41"
    ):
        read(trajectory, other)


def test_nan_positions(trajectory, read):
    trajectory.xyz[3, 1] = np.nan
    with pytest.raises(
        ValueError,
        match=r"own\.dcd: positions hold NaN or infinity in 1 of 100 frames .first: frame 3",
    ):
        read(trajectory)


def test_no_unit_cell(trajectory, read):
    trajectory.unitcell_vectors = None
    with pytest.raises(ValueError, match=r"own\.dcd: it has no unit cell: save it with"):
        read(trajectory)


def test_another_box(trajectory, read):
    trajectory.unitcell_lengths[7] *= 1.02
    with pytest.raises(
        ValueError, match="an edge of 2.08386 nm, but the box of the state point is 2.043 nm"
    ):
        read(trajectory)


def test_a_box_of_unequal_edges(read):
    edges = [2.35, 2.2, 2.043]
    given = {"n_particles": 20, "temperature_star": 1.25}
    state = StatePoint(**given, box_nm=edges)
    trajectory = simulated(state, 60, interval=100)
    ensemble = read(trajectory, state)
    assert (ensemble.positions_nm >= 0).all()
    assert (ensemble.positions_nm <= np.array(edges) * (1 + 1e-6)).all()
    expected = reduced_potential_numpy(ensemble.positions_sigma, state)
    np.testing.assert_allclose(ensemble.reduced_potentials, expected, rtol=1e-12)
    other = StatePoint(**given, box_nm=[2.35, 2.043, 2.2])
    with pytest.raises(ValueError, match=r"an edge of 2\.2 nm, but .* is 2\.043 nm"):
        read(trajectory, other)
    cube = StatePoint(**given, box_length_nm=2.2)
    with pytest.raises(ValueError, match=r"an edge of 2\.043 nm, .* box_nm for three edges"):
        read(trajectory, cube)
    trajectory.unitcell_lengths[-1, 2] *= 1.01
    with pytest.raises(ValueError, match=r"edges go from 2\.043 to 2\.06343 nm"):
        read(trajectory, state)


def test_a_box_that_is_not_rectangular(trajectory, read):
    trajectory.unitcell_angles[:] = 80
    with pytest.raises(ValueError, match="the unit cell is not rectangular: simulate in a rect"):
        read(trajectory)


def test_positions_in_another_unit(trajectory, read):
    trajectory.xyz = trajectory.xyz / 10
    with pytest.raises(
        ValueError,
        match=r"two particles are 0\.\d+ sigma apart, because .* ten times too small",
    ):
        read(trajectory)


def test_a_truncated_file(trajectory, tmp_path):
    path = tmp_path / "own.h5"
    trajectory.save_hdf5(str(path))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(
        ValueError, match=r"own\.h5 is truncated or not HDF5: check that it is whole"
    ):
        from_trajectory(path, None, STATE)


def test_a_truncated_dcd(trajectory, read, tmp_path):
    read(trajectory)
    path = tmp_path / "own.dcd"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(ValueError, match=r"own\.dcd cannot be read .*: check that it is whole"):
        from_trajectory(path, tmp_path / "own.pdb", STATE)


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"own\.dcd does not exist: give the path"):
        from_trajectory(tmp_path / "own.dcd", None, STATE)


def test_atoms_of_a_mixture_are_put_in_the_order_of_its_species(tmp_path):
    state = mixture(8, 12)
    order = np.random.default_rng(2).permutation(20)
    frames = simulated(state, 60, interval=100)
    assert [atom.name for atom in frames.topology.atoms] == ["Ar"] * 8 + ["Kr"] * 12
    mixed = frames.atom_slice(np.arange(20))
    mixed.topology = topology_of([frames.topology.atom(int(index)).name for index in order])
    mixed.xyz = frames.xyz[:, order]
    mixed.save_dcd(str(tmp_path / "own.dcd"))
    mixed[0].save_pdb(str(tmp_path / "own.pdb"))
    ensemble = from_trajectory(tmp_path / "own.dcd", tmp_path / "own.pdb", state)
    expected = reduced_potential_numpy(frames.xyz / state.sigma_nm, state)
    for energy in ensemble.reduced_potentials[:5]:
        assert np.abs(expected - energy).min() < 1e-3
    other = mixture(9, 11)
    with pytest.raises(ValueError, match=r"has the atoms .*composition is Ar \(9\), Kr \(11\)"):
        from_trajectory(tmp_path / "own.dcd", tmp_path / "own.pdb", other)


def topology_of(names):
    top = mdtraj.Topology()
    chain = top.add_chain()
    for name in names:
        top.add_atom(name, mdtraj.element.get_by_symbol(name), top.add_residue("MIX", chain))
    return top
