"""The import of a user's own trajectory as a reference ensemble."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import mdtraj
import numpy as np

from openmm_nti.ensemble import Ensemble, check_positions
from openmm_nti.files import provenance, sha256_of
from openmm_nti.fluid.displacements import order_of_sites
from openmm_nti.fluid.energy import closest_pair_sigma, truncation_log_weights
from openmm_nti.fluid.state import StatePoint
from openmm_nti.fluid.structures.site_files import rectangular_edges
from openmm_nti.hdf5 import HDF5_SUFFIXES, DamagedError, read_trajectory
from openmm_nti.reference_md._chain import wrap
from openmm_nti.reference_md._findings import Findings
from openmm_nti.reference_md._rounding import judge_drift, rounding_step
from openmm_nti.reference_md._thinning import thin
from openmm_nti.reference_md.frame_checks import KEY, select_frames
from openmm_nti.reference_md.whole_files import check_whole

# What mdtraj reads without running anything that a file holds; HDF5 is read by `hdf5`.
_FORMATS = HDF5_SUFFIXES | {
    *(".dcd", ".xtc", ".trr", ".nc", ".ncdf", ".netcdf", ".ncrst", ".rst7", ".restrt", ".inpcrd"),
    *(".crd", ".mdcrd", ".binpos", ".dtr", ".lammpstrj", ".xyz", ".arc", ".gro", ".pdb", ".gz"),
    *(".cif", ".pdbx", ".gsd", ".prmtop", ".parm7", ".prm7", ".top", ".psf", ".mol2", ".hoomdxml"),
}
_BOX_TOLERANCE = 1e-4  # relative; PDB and DCD round the box
_CLOSEST_SIGMA = 0.75  # particles hardly come closer in any fluid
_SOME_FRAMES = 20
_log = logging.getLogger(__name__)


def from_trajectory(
    trajectory: str | Path,
    topology: str | Path | None,
    state: StatePoint,
    *,
    seed: int = 0,
    accept_frames: bool = False,
) -> Ensemble:
    """Read, check, equilibrate and thin a trajectory of molecular dynamics at constant N, V and T.

    Parameters
    ----------
    trajectory
        Path of the trajectory, in any format that mdtraj reads, with the unit cell of each frame.
        All of it is read into memory.
    topology
        Path of a file from which mdtraj reads the particles; None for formats that contain them,
        such as HDF5 and PDB.
    state
        The state point that was simulated. In the convention `truncated`, frames have the weights
        of `truncation_log_weights`.
    seed
        Random seed to record in the provenance.
    accept_frames
        Whether frames that do not look like this fluid are taken with a warning, not refused.

    Raises
    ------
    ValueError
        If the file is cut or cannot be read, has another number of particles, NaN, no unit cell, or
        a cell that changes or is not that of `state`. Unless `accept_frames`, also if there are
        several kinds of particles, bonds, mostly repeated or frozen frames, energies that no
        equilibrium shows, too few digits, or forces that tell another temperature.
    """
    loaded = load_trajectory(trajectory, topology)
    findings = Findings()
    try:
        loaded = in_order_of_species(loaded, state)
        check_whole(Path(trajectory), loaded.n_frames, loaded.n_atoms)
        check_positions(loaded.xyz, state)
        _check_cell(loaded, state)
        _check_unit(loaded.xyz, state)
        loaded = in_order_of_sites(loaded, state)
    except ValueError as error:
        raise ValueError(f"{trajectory}: {error}") from error
    _judge_topology(loaded.topology, state, findings)
    judge_drift(loaded.xyz, state, findings)
    frames_nm = wrap(loaded.xyz.astype(np.float64), state)
    positions_sigma = frames_nm.astype(np.float64) / state.sigma_nm
    rounding_sigma = rounding_step(loaded.xyz) / state.sigma_nm
    kept, energies = select_frames(positions_sigma, state, rounding_sigma, findings)
    findings.settle(str(trajectory), accept=accept_frames)
    facts = {
        **provenance(seed),
        "trajectory": Path(trajectory).name,
        "trajectory_sha256": sha256_of(trajectory),
        KEY: findings.numbers,
        "warnings": findings.warnings,
    }
    ensemble = thin(
        state,
        frames_nm[kept][np.newaxis],
        energies[np.newaxis],
        truncation_log_weights(positions_sigma[kept], state)[np.newaxis],
        n_frames=len(kept),
        provenance=facts,
    )
    for warning in ensemble.provenance["warnings"]:
        _log.warning("%s: %s", trajectory, warning)
    return ensemble


def load_trajectory(trajectory: str | Path, topology: str | Path | None) -> mdtraj.Trajectory:
    """Return a trajectory as mdtraj does, without running anything that a file holds.

    Parameters
    ----------
    trajectory, topology
        As for `from_trajectory`.

    Raises
    ------
    ValueError
        If a file does not exist, cannot be read, or is of another format than those that are read.
    """
    trajectory = Path(trajectory)
    for path in (trajectory, *(() if topology is None else (Path(topology),))):
        if not path.exists():
            raise ValueError(
                f"{path} does not exist: give the path of a trajectory and its topology"
            )
        if path.suffix.lower() not in _FORMATS:
            raise ValueError(
                f"{path}: {path.suffix or 'no suffix'} is none of the formats that are read: "
                f"{' '.join(sorted(_FORMATS))}; convert it with mdconvert, cpptraj or gmx trjconv"
            )
    top = None if topology is None else _topology(Path(topology))
    if trajectory.suffix.lower() in HDF5_SUFFIXES:
        try:
            return read_trajectory(trajectory)
        except DamagedError as error:
            raise ValueError(f"{error}: check that it is whole") from error
    try:
        return mdtraj.load(str(trajectory), **({} if top is None else {"top": top}))
    except Exception as error:  # each format raises its own kinds for a damaged file
        # HDF5 puts its stack before the reason.
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise ValueError(
            f"{trajectory} cannot be read ({reason[0]}): check that it is whole and that the "
            "topology belongs to it"
        ) from error


def in_order_of_species(loaded: mdtraj.Trajectory, state: StatePoint) -> mdtraj.Trajectory:
    """Return a mixture's trajectory with the atoms of each species in a row, as `state` has them.

    An atom belongs to the species that has its name, its element or its residue's name.

    Raises
    ------
    ValueError
        If that leaves atoms over, or other numbers of them than the composition.
    """
    if not state.is_mixture or loaded.n_atoms != state.n_particles:
        return loaded
    names = {name.lower(): number for number, name in enumerate(state.composition)}
    species = np.array([_species(atom, names) for atom in loaded.topology.atoms])
    numbers = [int((species == number).sum()) for number in range(len(names))]
    if numbers != list(state.composition.values()):
        found = Counter(str(atom.name) for atom in loaded.topology.atoms)
        shown, wanted = (
            ", ".join(f"{name} ({count})" for name, count in each.items())
            for each in (dict(found.most_common(5)), state.composition)
        )
        raise ValueError(
            f"the topology has the atoms {shown}, and the composition is {wanted}: give the "
            "species the names of the atoms, or a topology that has them"
        )
    ordered = loaded[:]  # its topology keeps the old order: only its counts are read after this
    ordered.xyz = loaded.xyz[:, np.argsort(species, kind="stable")]
    return ordered


def in_order_of_sites(loaded: mdtraj.Trajectory, state: StatePoint) -> mdtraj.Trajectory:
    """Return a crystal's trajectory with its atoms in the order of the sites; a fluid's as it is.

    Raises
    ------
    ValueError
        If the first frame is not of the crystal.
    """
    if state.crystal is None:
        return loaded
    first = loaded.xyz[0].astype(np.float64) / state.sigma_nm
    ordered = loaded[:]
    ordered.xyz = loaded.xyz[:, order_of_sites(first, state)]
    return ordered


def _species(atom: mdtraj.core.topology.Atom, names: Mapping[str, int]) -> int:
    """Return the number of an atom's species, -1 if it has none."""
    element = atom.element.symbol if atom.element is not None else ""
    for word in (str(atom.name), *_kind(atom)[1:2], element, str(atom.residue.name)):
        if word.lower() in names:
            return names[word.lower()]
    return -1


def _judge_topology(topology: mdtraj.Topology, state: StatePoint, findings: Findings) -> None:
    """Refuse particles of several kinds, by element, name and residue, and molecules with bonds."""
    kinds = Counter(_kind(atom) for atom in topology.atoms)
    findings.numbers["kinds"] = {" ".join(kind): count for kind, count in kinds.items()}
    if len(kinds) > 1 and not state.is_mixture:
        elements = Counter(kind[0] for kind in kinds.elements())
        shown = elements if len(elements) > 1 else Counter(" ".join(k) for k in kinds.elements())
        named = ", ".join(f"{name} ({count})" for name, count in shown.most_common(5))
        findings.refusals.append(
            f"the topology has {len(shown)} kinds of atoms: {named}, and the state point one: "
            "select the atoms of one fluid that was simulated alone"
        )
    if topology.n_bonds:
        findings.refusals.append(
            f"the topology has {topology.n_bonds} bonds, and the fluid is of single atoms: "
            "molecules cannot be calculated"
        )


def _kind(atom: mdtraj.core.topology.Atom) -> tuple[str, str, str]:
    """Return element, name and residue of an atom, without the numbers that some programs add."""
    element = atom.element.symbol if atom.element is not None else "no element"
    words = ("".join(c for c in str(n) if not c.isdigit()) for n in (atom.name, atom.residue.name))
    name, residue = words
    return element, name, residue


def _topology(path: Path) -> mdtraj.Topology | str:
    """Return a topology for mdtraj; HDF5 files are not read by mdtraj, which would run code."""
    return read_trajectory(path).topology if path.suffix.lower() in HDF5_SUFFIXES else str(path)


def _check_cell(loaded: mdtraj.Trajectory, state: StatePoint) -> None:
    lengths = rectangular_edges(loaded)
    edges = state.edges_nm
    frame, axis = np.unravel_index(np.argmax(np.abs(lengths - edges)), lengths.shape)
    worst, wanted = float(lengths[frame, axis]), float(edges[axis])
    if abs(worst / wanted - 1) <= _BOX_TOLERANCE:
        return
    low, high = lengths.min(axis=0), lengths.max(axis=0)
    changing = int(np.argmax(high / low))
    reason = "the run must be at constant volume"
    if high[changing] / low[changing] - 1 > _BOX_TOLERANCE:
        reason = f"edges go from {low[changing]:g} to {high[changing]:g} nm, but {reason}"
    if any(abs(worst / wanted / factor - 1) < 0.02 for factor in (0.1, 10)):
        reason = f"angstrom and nm are mixed up, a factor of ten; {reason}"
    raise ValueError(
        f"the unit cell has an edge of {worst:g} nm, but the box of the state point is {wanted:g} "
        f"nm ({wanted / state.sigma_nm:g} x sigma_nm = {state.sigma_nm:g}): {reason}; set "
        "box_length_nm, or box_nm for three edges, and sigma_nm to those of the run, and mind that "
        "mdtraj reads DCD in angstrom"
    )


def _check_unit(positions_nm: np.ndarray, state: StatePoint) -> None:
    """Refuse positions that become those of a fluid when angstrom and nm are exchanged."""
    some = positions_nm[:_SOME_FRAMES].astype(np.float64) / state.sigma_nm

    def closest(factor: float) -> float:
        return float(closest_pair_sigma(some * factor, state).min())

    contact = _CLOSEST_SIGMA * min(1.0, *(pair.size / state.sigma_nm for pair in state.pairs))
    if closest(1) >= contact:
        return
    for factor, word in ((10, "small"), (0.1, "large")):
        if closest(factor) >= contact:
            raise ValueError(
                f"two particles are {closest(1):.3g} sigma apart, because the positions are ten "
                f"times too {word} for the box: angstrom and nm are mixed up; save positions and "
                "box in the same unit"
            )
