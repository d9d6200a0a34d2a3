"""Whether a trajectory file is whole: programs that were stopped leave half a frame at its end.

mdtraj tells of some cut files and silently reads the whole frames of others. A file cut exactly
between two frames is a shorter trajectory, unless the format says how long it should be.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

_ADVICE = "copy it again, or write its whole frames to another file"
_LINES_OF_TEXT = (".gro", ".lammpstrj", ".mdcrd", ".crd", ".xyz", ".arc", ".pdb", ".cif", ".pdbx")
_CONTROL = 20  # integers of a DCD header
_HEADER_OF = {".gro": 3, ".lammpstrj": 9, ".xyz": 2}  # lines of a frame besides those of atoms


def check_whole(path: Path, n_frames: int, n_particles: int) -> None:
    """Refuse a file that ends within a frame, or holds fewer frames than it says.

    Parameters
    ----------
    path
        The trajectory.
    n_frames, n_particles
        What was read from it.

    Raises
    ------
    ValueError
        If the file was cut.
    """
    if not path.is_file():
        return  # Desmond's trajectories are folders
    kind = path.suffix.lower()
    if kind == ".dcd":
        _check_dcd(path, n_frames)
    elif kind in _LINES_OF_TEXT:
        _check_text(path, kind, n_frames, n_particles)


def _check_dcd(path: Path, n_frames: int) -> None:
    """Compare the size of a DCD file with its header; unusual kinds are left to mdtraj."""
    with path.open("rb") as file:
        start = file.read(4)
        order = next((end for end in "<>" if start == struct.pack(f"{end}i", 84)), None)
        if order is None or file.read(4) != b"CORD":
            return
        control = struct.unpack(f"{order}{_CONTROL}i", file.read(4 * _CONTROL))
        file.seek(4, 1)
        (title,) = struct.unpack(f"{order}i", file.read(4))
        file.seek(title + 8, 1)
        (n_atoms,) = struct.unpack(f"{order}i", file.read(4))
        header = file.tell() + 4
    claimed, fixed, has_cell, has_fourth = control[0], control[8], control[10], control[11]
    if fixed:
        return
    frame = (3 + bool(has_fourth)) * (4 * n_atoms + 8) + (56 if has_cell else 0)
    left = (path.stat().st_size - header) % frame
    if left:
        raise ValueError(f"the file ends within frame {n_frames}: {_ADVICE}")
    if claimed > n_frames:
        raise ValueError(
            f"the file says that it holds {claimed} frames, and {n_frames} are there: {_ADVICE}"
        )


def _check_text(path: Path, kind: str, n_frames: int, n_particles: int) -> None:
    n_lines, last = 0, b""
    for line in _lines(path):
        n_lines += 1
        last = line
    if kind == ".pdb":
        if not last.startswith(b"END"):
            raise ValueError(f"the file does not end with END, but within a frame: {_ADVICE}")
        return
    if not last.endswith(b"\n"):
        raise ValueError(f"the last line of the file has no end, so it may be cut: {_ADVICE}")
    per_frame = None
    if kind in _HEADER_OF:
        per_frame = n_particles + _HEADER_OF[kind]
    elif kind in {".mdcrd", ".crd"}:
        n_lines -= 1  # the title
        per_frame = -(-3 * n_particles // 10) + 1
    if per_frame is not None and n_lines != n_frames * per_frame:
        raise ValueError(
            f"the file has {n_lines} lines where {n_frames} frames take {n_frames * per_frame}, so "
            f"it ends within a frame: {_ADVICE}"
        )


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines up to the last one that is not blank."""
    blank: list[bytes] = []
    with path.open("rb") as file:
        for line in file:
            blank.append(line)
            if line.strip():
                yield from blank
                blank.clear()
