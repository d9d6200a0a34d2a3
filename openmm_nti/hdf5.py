"""HDF5 files of any origin, read without running anything that they hold.

PyTables, and mdtraj with it, unpickles attributes of a file when it opens it, and a pickle is a
program. So files are read by h5py, and only plain arrays and texts that lie in the file itself. A
file of which it is not known that it is whole is first opened by another process: the HDF5 library
may crash at a damaged one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openmm_nti.files import is_sealed

if TYPE_CHECKING:
    import mdtraj

HDF5_SUFFIXES = frozenset({".h5", ".hdf5"})
_FILTERS = {"gzip", "shuffle", "fletcher32", None}
_LARGEST_RATIO = 1100  # of contents to file: zlib cannot compress more
_SECONDS = 300
_TRIAL = """
import sys, h5py
with h5py.File(sys.argv[1], "r") as file:
    list(file.attrs.items())
    for name in sys.argv[2:]:
        if isinstance(file.get(name, getlink=True), h5py.HardLink):
            file[name][()]
"""


class DamagedError(ValueError):
    """A file is not whole, or not HDF5 at all."""


class MissingError(ValueError):
    """An HDF5 file lacks something that was asked for."""


def read_hdf5(
    path: str | Path,
    arrays: Sequence[str],
    *,
    texts: Sequence[str] = (),
    optional: Sequence[str] = (),
    optional_texts: Sequence[str] = (),
) -> dict[str, Any]:
    """Return arrays and texts of an HDF5 file by name.

    Parameters
    ----------
    path
        Path of the file.
    arrays
        Names of data sets of numbers, or of bytes, at the root.
    texts
        Names of attributes of the root.
    optional, optional_texts
        Names of data sets and of attributes to return if they are there.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedError
        If the file is not whole.
    MissingError
        If one of `arrays` or `texts` is missing.
    ValueError
        If the file has changed since it was written, or holds anything but plain data of its
        own under these names.
    """
    import h5py

    path = Path(path)
    if not is_sealed(path):
        _open_elsewhere(path, [*arrays, *optional])
    try:
        with h5py.File(path, "r") as file:
            present = [name for name in optional if name in file]
            found = {name: _array(file, name, path) for name in (*arrays, *present)}
            written = [name for name in optional_texts if name in file.attrs]
            return found | {name: _text(file, name, path) for name in (*texts, *written)}
    except (OSError, RuntimeError, KeyError) as error:
        raise DamagedError(f"{path} is truncated or not HDF5") from error


def read_trajectory(path: str | Path) -> mdtraj.Trajectory:
    """Return a trajectory in mdtraj's HDF5 layout, as `mdtraj.load` would.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_hdf5`.
    """
    import mdtraj

    found = read_hdf5(
        path, ["coordinates", "topology"], optional=["cell_lengths", "cell_angles", "time"]
    )
    text = b"".join(found["topology"].ravel().tolist())
    try:
        topology = _topology(json.loads(text))
        return mdtraj.Trajectory(
            found["coordinates"],
            topology,
            time=found.get("time"),
            unitcell_lengths=found.get("cell_lengths"),
            unitcell_angles=found.get("cell_angles"),
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} holds no trajectory in mdtraj's layout ({error})") from error


def _open_elsewhere(path: Path, names: list[str]) -> None:
    """Refuse a file at which the HDF5 library crashes or never ends."""
    with path.open("rb"):  # a missing or forbidden file says so itself
        pass
    command = [sys.executable, "-c", _TRIAL, str(path), *names]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise DamagedError(f"{path} cannot be read within {_SECONDS} s: it is damaged") from None
    if done.returncode < 0:
        raise DamagedError(f"{path} is damaged: reading it crashes the HDF5 library")


def _array(file: Any, name: str, path: Path) -> np.ndarray:
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        raise MissingError(f"{path} has no data set {name}")
    data = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(data, h5py.Dataset) or data.is_virtual or data.external is not None:
        raise ValueError(f"{path}: {name} does not lie in the file itself, as plain data")
    if data.dtype.kind not in "fiuS" or data.compression not in _FILTERS:
        raise ValueError(f"{path}: {name} is {data.dtype}, not an array of numbers")
    if data.nbytes > _LARGEST_RATIO * path.stat().st_size:
        raise ValueError(f"{path}: {name} has {data.nbytes} bytes, more than the file can hold")
    return np.asarray(data[()])


def _text(file: Any, name: str, path: Path) -> str:
    import h5py

    if name not in file.attrs:
        raise MissingError(f"{path} has no attribute {name}")
    kind = file.attrs.get_id(name)
    if kind.shape not in ((), None) or h5py.check_string_dtype(kind.dtype) is None:
        raise ValueError(f"{path}: the attribute {name} is not a text")
    value = file.attrs[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def _topology(description: dict[str, Any]) -> mdtraj.Topology:
    """Return the topology that mdtraj describes by JSON in its HDF5 files."""
    import mdtraj

    topology, atoms = mdtraj.Topology(), {}
    for chain_of in sorted(description["chains"], key=lambda each: int(each["index"])):
        chain = topology.add_chain()
        for residue_of in sorted(chain_of["residues"], key=lambda each: int(each["index"])):
            residue = topology.add_residue(
                str(residue_of["name"]), chain, resSeq=int(residue_of["resSeq"])
            )
            for atom in sorted(residue_of["atoms"], key=lambda each: int(each["index"])):
                symbol = str(atom["element"])
                element = mdtraj.element.get_by_symbol(symbol) if symbol else None
                added = topology.add_atom(
                    str(atom["name"]), element or mdtraj.element.virtual, residue
                )
                atoms[int(atom["index"])] = added
    for first, second in description["bonds"]:
        topology.add_bond(atoms[int(first)], atoms[int(second)])
    return topology
