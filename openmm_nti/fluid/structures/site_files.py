"""Sites of a crystal in a file that other programs read as well: a PDB with its box.

A PDB rounds to 0.0001 nm. Sites that repeat are averaged when they are read, so that they repeat
exactly. A file that this package has written has a checksum, and is refused if it has changed. It
also has the edges of the box with all digits, for the free energy feels a rounded volume.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from openmm_nti.files import write_text
from openmm_nti.fluid.structures.cell import Cell

if TYPE_CHECKING:
    import mdtraj

_SEAL = "REMARK  99 openmm_nti sha256 "
_EDGES = "REMARK  99 edges in nm: "
_DUMMY_NM = np.float32(0.1)  # edges of a box that some programs write where there is none
_SUFFIXES = {".pdb", ".ent"}


def read_sites(path: str | Path, edges_nm: np.ndarray | None = None) -> Cell:
    """Return the cell in a PDB: its atoms in their order, and its box as edges, in nm.

    Parameters
    ----------
    path
        The file, with one model.
    edges_nm
        Edges of the cell, (3,), nm, for a file without a box (the record CRYST1).

    Raises
    ------
    ValueError
        In one line with the file, if it cannot be read, has several models or kinds of atoms, no
        box or no rectangular one, or no sites of a crystal.
    """
    path = Path(path)
    loaded, text = _load(path)
    try:
        if loaded.unitcell_lengths is not None and (loaded.unitcell_lengths == _DUMMY_NM).all():
            loaded.unitcell_vectors = None
        if loaded.unitcell_lengths is not None or edges_nm is None:
            edges_nm = _all_digits(rectangular_edges(loaded)[0], text)
        positions = loaded.xyz[0].astype(np.float64).round(5)  # single precision has more digits
        return Cell.of(positions / edges_nm, edges_nm)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"{path}: {reason}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _load(path: Path) -> tuple[mdtraj.Trajectory, str]:
    """Return the only model of a PDB of one kind of atoms, and the text of the file."""
    import mdtraj

    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"{path}: sites are read from a .pdb; convert it, or use openmm-nti sites")
    try:
        text = path.read_text(encoding="utf-8")
        _check_atoms(text)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = mdtraj.load_pdb(str(path), no_boxchk=True)
    except Exception as error:  # mdtraj raises many kinds for a damaged file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} cannot be read as a PDB ({reason})") from error
    _check_seal(path, text)
    if loaded.n_frames != 1:
        raise ValueError(
            f"{path} has {loaded.n_frames} models of {loaded.n_atoms} atoms: give one; openmm-nti "
            "sites averages a trajectory"
        )
    kinds = {str(atom.name).strip("0123456789") for atom in loaded.topology.atoms}
    if len(kinds) != 1:
        raise ValueError(
            f"{path} has atoms of {len(kinds)} kinds ({', '.join(sorted(kinds)[:5])}): crystals "
            "have one species"
        )
    return loaded, text


def _check_atoms(text: str) -> None:
    """Refuse lines of atoms that have no numbers as coordinates."""
    atoms = [line for line in text.splitlines() if line.startswith(("ATOM", "HETATM"))]
    if not atoms:
        raise ValueError("there are no atoms")
    for line in atoms:
        try:
            place = [float(line[start : start + 8]) for start in (30, 38, 46)]
        except ValueError:
            place = [float("nan")]
        if not np.isfinite(place).all():
            raise ValueError(f"line {line[:54].strip()!r} has no coordinates")


def _all_digits(edges: np.ndarray, text: str) -> np.ndarray:
    """Return edges (3,), nm, as `write_sites` has written them; as they are in other files."""
    for line in text.splitlines():
        if line.startswith(_EDGES):
            return np.array([float(word) for word in line.removeprefix(_EDGES).split()])
    return edges


def rectangular_edges(loaded: mdtraj.Trajectory) -> np.ndarray:
    """Return the edges of the box of each frame, (F, 3), nm, float64.

    Raises
    ------
    ValueError
        If there is no box, a number is not finite, or the box is not rectangular.
    """
    lengths, angles = loaded.unitcell_lengths, loaded.unitcell_angles
    if lengths is None or angles is None:
        raise ValueError("it has no unit cell: save it with its periodic box")
    bad = ~(np.isfinite(lengths).all(axis=1) & np.isfinite(angles).all(axis=1))
    bad |= ~(lengths > 0).all(axis=1)
    if bad.any():
        number = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"the unit cell of frame {number} has the edges {lengths[number].tolist()} nm, which "
            "is no box: save the trajectory with its periodic box"
        )
    if not np.allclose(angles, 90, atol=1e-3):
        raise ValueError("the unit cell is not rectangular: simulate in a rectangular box")
    return np.asarray(lengths, dtype=np.float64).round(6)


def write_sites(path: str | Path, cell: Cell, name: str, remarks: list[str]) -> None:
    """Write a cell with edges in nm as a PDB with a checksum, atomically.

    Parameters
    ----------
    path, cell
        The file, and what it holds.
    name
        Of the atoms, such as Ar.
    remarks
        Lines of text on where the sites come from.
    """
    x, y, z = (10 * edge for edge in cell.edges)
    lines = [f"REMARK  99 {line}" for line in remarks]
    lines.append(_EDGES + " ".join(map(repr, cell.edges)))
    lines.append(f"CRYST1{x:9.3f}{y:9.3f}{z:9.3f}  90.00  90.00  90.00 P 1           1 ")
    for number, site in enumerate(np.array(cell.sites) * np.array(cell.edges) * 10):
        place = "".join(f"{x:8.3f}" for x in site)
        residue = f"{name.upper()[:3]:>3} A{number % 10_000:4d}    "
        lines.append(
            f"ATOM  {(number + 1) % 100_000:5d}  {name[:3]:<3} {residue}{place}  1.00  0.00"
            f"          {name[:2]:>2}  "
        )
    text = "\n".join([*lines, "END", ""])
    write_text(path, f"{_SEAL}{_digest(text)}\n{text}")


def _check_seal(path: Path, text: str) -> None:
    """Refuse a file that has changed since `write_sites` wrote it."""
    first, _, rest = text.partition("\n")
    sealed = first.startswith(_SEAL)
    if sealed != (_EDGES in text) or (sealed and first[len(_SEAL) :].strip() != _digest(rest)):
        raise ValueError(
            f"{path} is damaged or was edited: its sites are not those of its checksum; make it "
            "again, or delete all its lines with REMARK to take them as they are"
        )


def _digest(text: str) -> str:
    return hashlib.sha256("\n".join(text.split()).encode()).hexdigest()[:32]
