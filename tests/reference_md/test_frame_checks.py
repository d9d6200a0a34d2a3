"""Frames that are not this fluid: each kind is refused in one line, or kept if the user insists."""

import runpy
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from contexts import simulated

from openmm_nti import Ensemble, StatePoint
from openmm_nti.cli.run_directory import RunDirectory
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.reference_md import from_trajectory
from openmm_nti.reference_md._findings import Findings
from openmm_nti.reference_md._motion import distinct_frames
from openmm_nti.reference_md._rounding import rounding_step
from openmm_nti.reference_md.configurational import configurational_temperature, curvature
from openmm_nti.reference_md.frame_checks import KEY, _wild, checked, summary

STATE = StatePoint(n_particles=40, box_length_sigma=6, temperature_star=1.25)
DENSE = StatePoint(n_particles=80, box_length_sigma=6, temperature_star=1.25)
BOX = STATE.box_length_nm


@pytest.fixture(scope="module")
def frames():
    return simulated(STATE, 60)


@pytest.fixture
def read(tmp_path):
    def save_and_read(trajectory, state=STATE, **options):
        trajectory.save_hdf5(str(tmp_path / "own.h5"))
        return from_trajectory(tmp_path / "own.h5", None, state, **options)

    return save_and_read


def changed(frames, xyz=None, topology=None):
    return mdtraj.Trajectory(
        frames.xyz.copy() if xyz is None else xyz,
        topology or frames.topology,
        unitcell_lengths=np.full((len(frames.xyz if xyz is None else xyz), 3), BOX),
        unitcell_angles=np.full((len(frames.xyz if xyz is None else xyz), 3), 90.0),
    )


def test_good_frames_pass_and_say_what_was_measured(frames, read):
    facts = read(frames).provenance
    numbers = facts[KEY]
    assert (numbers["n_read"], numbers["n_repeated"], numbers["n_wild_at_start"]) == (60, 0, 0)
    assert 0.8 < numbers["closest_pair_sigma"] < 1
    assert abs(numbers["configurational_z"]) < 4
    assert list(numbers["kinds"].values()) == [40]
    assert "T* =" in summary(facts)


def test_two_elements(frames, read):
    topology = frames.topology.copy()
    for atom in list(topology.atoms)[:15]:
        atom.element = mdtraj.element.krypton
    mixture = changed(frames, topology=topology)
    with pytest.raises(
        ValueError, match=r"own\.h5: .* 2 kinds of atoms: (Ar|Kr) \(\d+\), .*insist"
    ):
        read(mixture)
    kept = read(mixture, accept_frames=True).provenance
    assert "2 kinds of atoms" in kept[KEY]["kept_in_spite_of"][0]
    assert any("2 kinds of atoms" in warning for warning in kept["warnings"])


def test_bonds(frames, read):
    topology = frames.topology.copy()
    topology.add_bond(topology.atom(0), topology.atom(1))
    with pytest.raises(ValueError, match="has 1 bonds, and the fluid is of single atoms"):
        read(changed(frames, topology=topology))


@pytest.mark.parametrize("copies", [5, 50])
def test_one_frame_many_times(frames, read, copies):
    with pytest.raises(ValueError, match=rf"{copies - 1} of {copies} frames repeat others"):
        read(changed(frames, np.repeat(frames.xyz[:1], copies, axis=0)))


def noised(xyz, scale_nm=1e-6):
    noise = np.random.default_rng(1).normal(scale=scale_nm, size=xyz.shape)
    return (xyz + noise).astype(np.float32)


def test_a_trajectory_appended_to_itself_counts_once(frames, read):
    once = read(frames)
    twice = read(changed(frames, np.concatenate([frames.xyz, noised(frames.xyz)[::-1]])))
    assert twice.provenance[KEY]["n_repeated"] == 60
    assert any("60 of 120 frames repeat" in line for line in twice.provenance["warnings"])
    np.testing.assert_array_equal(twice.positions_nm, once.positions_nm)


def test_copies_between_the_frames_count_once(frames, read):
    both = np.stack([frames.xyz, noised(frames.xyz)], axis=1).reshape(-1, 40, 3)
    assert distinct_frames(both / STATE.sigma_nm, STATE).tolist() == list(range(0, 120, 2))
    with pytest.raises(ValueError, match="45 of 50 frames repeat others"):
        read(changed(frames, np.concatenate([noised(frames.xyz[:5]) for _ in range(10)])))


def test_copies_in_a_stored_ensemble_are_left_out(frames):
    positions = np.concatenate([frames.xyz, noised(frames.xyz)]).astype(np.float64)
    energies = reduced_potential_numpy(positions / STATE.sigma_nm, STATE)
    found = checked(Ensemble(STATE, positions, energies, {}), "data")
    assert found.n_frames == found.n_independent == found.provenance[KEY]["n_repeated"] == 60
    np.testing.assert_array_equal(found.reduced_potentials, energies[:60])


def test_frames_a_step_apart_are_no_copies():
    """Neighbours are alike because the fluid has not moved on yet, not because it came back."""
    positions = simulated(STATE, 40, interval=1).xyz.astype(np.float64) / STATE.sigma_nm
    assert len(distinct_frames(positions, STATE)) == 40


def test_nearly_frozen_frames(frames, read):
    noise = np.random.default_rng(0).normal(scale=1e-3, size=(30, 40, 3))
    with pytest.raises(ValueError, match="over the whole trajectory, less than 0.1"):
        read(changed(frames, (frames.xyz[0] + noise).astype(np.float32)))


def test_fixed_particles(frames, read):
    xyz = frames.xyz.copy()
    xyz[:, :2] = xyz[0, :2]
    with pytest.raises(ValueError, match="2 particles never move|cannot be of the equilibrium"):
        read(changed(frames, xyz))


@pytest.mark.parametrize("where", [0, 30])
def test_a_wild_frame(frames, read, where):
    xyz = frames.xyz.copy()
    xyz[where, 1] = xyz[where, 0] + np.array([0.71 * STATE.sigma_nm, 0, 0], dtype=np.float32)
    if where:
        with pytest.raises(ValueError, match=r"frame 30 cannot be of the equilibrium"):
            read(changed(frames, xyz))
        return
    facts = read(changed(frames, xyz)).provenance
    assert facts[KEY]["n_wild_at_start"] == 1
    assert any("frame 0 of the trajectory" in warning for warning in facts["warnings"])


def test_coordinates_far_from_the_box(frames, read):
    shift = np.float32(round(1e6 / BOX) * BOX)
    with pytest.raises(ValueError, match=r"own\.h5: coordinates reach 1e\+06 nm.*wrap the traj"):
        read(changed(frames, frames.xyz + shift))


@pytest.mark.parametrize("bad", [np.nan, 0.0])
def test_a_box_that_is_no_number(frames, read, bad):
    broken = changed(frames)
    broken.unitcell_lengths[3] = bad
    with pytest.raises(ValueError, match=r"the unit cell of frame 3 .* is no box"):
        read(broken)


def test_a_box_in_angstrom(frames, read):
    broken = changed(frames)
    broken.unitcell_lengths *= 10
    with pytest.raises(ValueError, match="angstrom and nm are mixed up, a factor of ten"):
        read(broken)


def test_frames_of_another_temperature():
    """Half the temperature is told apart by 60 frames; the right one passes."""
    positions = simulated(DENSE, 60, interval=25).xyz.astype(np.float64) / DENSE.sigma_nm
    for temperature, refused in ((1.25, False), (0.8, True)):
        state = DENSE.model_copy(update={"temperature_star": temperature})
        energies = reduced_potential_numpy(positions, state)
        ensemble = Ensemble(state, positions * state.sigma_nm, energies, {})
        if refused:
            with pytest.raises(ValueError, match=r"data: the forces between .* say T\* = 1\.\d"):
                checked(ensemble, "data")
            kept = checked(ensemble, "data", accept_frames=True)
            assert kept.provenance[KEY]["configurational_z"] > 5
            assert "KEPT in spite of 1 refusal" in summary(kept.provenance)
        else:
            found = checked(ensemble, "data")
            assert found.provenance[KEY]["configurational_temperature_star"][0] > 0
            assert checked(found, "data") is found


@pytest.mark.slow
def test_frames_of_1_5_in_a_configuration_of_1_25(read):
    hot = StatePoint(n_particles=40, box_length_sigma=6, temperature_star=1.5)
    with pytest.raises(ValueError, match=r"say T\* = 1\.[45]"):
        read(simulated(hot, 1500, interval=20))


def test_few_frames_give_no_verdict(frames):
    few = frames.xyz[:4].astype(np.float64) / STATE.sigma_nm
    found = configurational_temperature(curvature(few, STATE), STATE)
    assert found.value > 0
    assert (found.std_err, found.z) == (None, None)


def test_curvature_is_that_of_finite_differences(frames):
    x = frames.xyz[:1].astype(np.float64) / STATE.sigma_nm
    step = 2e-4

    def energy(positions):
        return reduced_potential_numpy(positions, STATE)[0] * STATE.temperature_star

    squared = laplacian = 0.0
    for index in np.ndindex(x.shape[1:]):
        ahead, behind = x.copy(), x.copy()
        ahead[0][index] += step
        behind[0][index] -= step
        up, down = energy(ahead), energy(behind)
        squared += ((up - down) / (2 * step)) ** 2
        laplacian += (up + down - 2 * energy(x)) / step**2
    found = curvature(x, STATE)
    np.testing.assert_allclose(found.squared_gradient, squared, rtol=1e-4)
    np.testing.assert_allclose(found.laplacian, laplacian, rtol=1e-4)


@pytest.mark.parametrize("step", [1e-2, 1e-3, 1e-4])
def test_the_step_of_rounded_coordinates_is_found(frames, step):
    rounded = (np.round(frames.xyz / step) * step).astype(np.float32)
    assert rounding_step(rounded) == pytest.approx(step, rel=1e-3)
    assert rounding_step(frames.xyz) < 1e-6


@pytest.mark.parametrize(
    "kind", ["dcd", "xtc", "trr", "nc", "h5", "pdb", "gro", "mdcrd", "lammpstrj"]
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # mdtraj's files
@pytest.mark.filterwarnings("ignore:Warning. The .netCDF4. Python package:UserWarning")
def test_a_file_cut_within_a_frame(frames, kind, tmp_path):
    whole, top = tmp_path / f"own.{kind}", tmp_path / "top.pdb"
    frames[::3].save(str(whole))
    frames[0].save_pdb(str(top))
    topology = None if kind in {"h5", "pdb", "gro"} else top
    assert from_trajectory(whole, topology, STATE).provenance[KEY]["n_read"] == 20
    content = whole.read_bytes()
    for share in (0.52, 0.91, 0.997):
        whole.write_bytes(content[: int(share * len(content)) - 3])
        with pytest.raises(ValueError, match=rf"own\.{kind}"):
            from_trajectory(whole, topology, STATE)


def test_a_reference_file_of_another_state_is_named(frames, tmp_path):
    hot = STATE.model_copy(update={"temperature_star": 1.5})
    positions = frames.xyz[:5].astype(np.float64)
    directory = RunDirectory(tmp_path)
    directory.reference.mkdir()
    ensemble = Ensemble(hot, positions, reduced_potential_numpy(positions / hot.sigma_nm, hot), {})
    ensemble.save(directory.reference / f"{STATE.label}.h5")
    with pytest.raises(ValueError, match=r"\.h5 holds frames of another .*temperature_star = 1\.5"):
        directory.ensemble(STATE)


def test_the_example_says_in_one_line_that_a_file_is_missing(monkeypatch):
    path = Path(__file__).parents[2] / "examples" / "own_trajectory.py"
    monkeypatch.setattr("sys.argv", [str(path), "nothing.dcd"])
    with pytest.raises(SystemExit, match=r"nothing\.dcd does not exist: give the path"):
        runpy.run_path(str(path), run_name="__main__")


def test_crowded_soft_particles_are_no_wild_frames():
    """A close pair counts against the usual ones, and as such where all particles overlap."""
    soft = StatePoint(
        n_particles=8,
        box_length_sigma=6.0,
        temperature_star=0.02,
        cutoff_sigma=3.0,
        potential={"type": "uhlenbeck_ford"},
    )
    corners = 3.0 * np.indices((2, 2, 2)).reshape(3, 8).T * soft.sigma_nm

    def wild(usual, closest):
        frames = np.repeat(corners[None], 40, axis=0)
        frames[:, 0, 0] = corners[4, 0] - usual * soft.sigma_nm
        frames[7, 0, 0] = corners[4, 0] - closest * soft.sigma_nm
        return list(_wild(frames / soft.sigma_nm, soft, np.zeros(40), Findings()))

    assert wild(1.1, 0.93) == []
    assert wild(2.0, 0.93) == [7]
    assert wild(1.1, 0.5) == [7]
    assert wild(0.3, 0.3) == list(range(40))
