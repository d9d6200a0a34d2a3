"""Sites of a crystal as the mean places of its atoms in a trajectory.

The drift of the whole crystal is taken out, also where it goes through the boundary. Blocks of the
trajectory tell the errors of the sites. Sites that repeat each other to within these are averaged.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from openmm_nti.files import sha256_of
from openmm_nti.fluid.crystal import Crystal
from openmm_nti.fluid.displacements import check_sites, without_drift
from openmm_nti.fluid.structures.cell import Cell
from openmm_nti.fluid.structures.site_files import rectangular_edges, write_sites
from openmm_nti.fluid.structures.translations import nearest_distances
from openmm_nti.reference_md.trajectory import load_trajectory

_FEWEST_FRAMES = 50
_BLOCKS = 10
_ROUNDS = 6  # in which the mean places are found
_MOLTEN = 0.25  # rms displacement, in units of the cube root of the volume of an atom
_RESTLESS = 2.5  # rms displacement of an atom, in units of the median
_GONE = 0.6  # nearest distances, beyond which an atom has left its site
_ERRORS = 10.0  # standard errors of a coordinate, by which sites that repeat may differ
_LARGEST_TOLERANCE = 0.15  # nearest distances
_BOX_TOLERANCE = 1e-4


@dataclass(frozen=True)
class AverageSites:
    """Mean places of atoms.

    Attributes
    ----------
    cell
        The sites, in the order of the atoms, and the box as edges in nm.
    name
        Of the atoms.
    n_frames
        Frames that were averaged.
    error_nm
        Standard error of a coordinate before those that repeat are averaged.
    vibration_nm
        Root mean square displacement of a coordinate.
    """

    cell: Cell
    name: str
    n_frames: int
    error_nm: float
    vibration_nm: float

    def __str__(self) -> str:
        n, m = len(self.cell.sites), self.cell.n_primitive
        return (
            f"{n} sites from {self.n_frames} frames; {m} shifts repeat them, so a primitive cell "
            f"has {n // m}; a coordinate vibrates by {self.vibration_nm:.2g} nm, and its mean has "
            f"an error of {self.error_nm:.2g} nm, or {self.error_nm / math.sqrt(m):.2g} nm over "
            "all that repeat"
        )

    def as_setting(self) -> str:
        """Return the value of the key `crystal` of a state point, as JSON."""
        return json.dumps({"lattice": self.cell.model_dump(), "cells": [1, 1, 1]})

    def save(self, path: str | Path, trajectory: str | Path) -> None:
        """Write the sites as a PDB that names the trajectory and its SHA-256."""
        origin = f"{Path(trajectory).name} sha256 {sha256_of(trajectory)}"
        write_sites(path, self.cell, self.name, [f"mean places of atoms in {origin}"])


def average_sites(trajectory: str | Path, topology: str | Path | None) -> AverageSites:
    """Return the mean places of the atoms of a crystal.

    Parameters
    ----------
    trajectory, topology
        As for `reference_md.from_trajectory`.

    Raises
    ------
    ValueError
        In one line that names the trajectory, if it cannot be read, has few frames, no constant
        rectangular box, NaN or several kinds of atoms; if the crystal has melted, an atom leaves
        its site, or is missing; or if it cannot be told how often the crystal repeats.
    """
    loaded = load_trajectory(trajectory, topology)
    try:
        edges = rectangular_edges(loaded)
        names = {str(atom.name).strip("0123456789") for atom in loaded.topology.atoms}
        _check(loaded.xyz, edges, names)
        box = edges.mean(axis=0)
        moved, sites = _mean_places(loaded.xyz.astype(np.float64), box)
        vibration = math.sqrt((moved**2).mean())
        _check_motion(moved, sites, box)
        blocks = np.array([part.mean(axis=0) for part in np.array_split(moved, _BLOCKS)])
        std_err = math.sqrt(blocks.var(axis=0, ddof=1).mean() / _BLOCKS)
        tolerance, nearest = (
            _ERRORS * std_err,
            float(np.median(nearest_distances(sites / box, box))),
        )
        if not tolerance <= _LARGEST_TOLERANCE * nearest:
            raise ValueError(
                f"the mean places of the atoms have an error of {std_err:.2g} nm a coordinate, and "
                f"{_LARGEST_TOLERANCE * nearest / _ERRORS:.2g} nm is the most: simulate longer"
            )
        cell = Cell.of(sites / box, box, tolerance)
        Crystal(lattice=cell, cells=(1, 1, 1))
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"{trajectory}: {reason}") from None
    except ValueError as error:
        raise ValueError(f"{trajectory}: {error}") from error
    return AverageSites(cell, names.pop(), len(moved), std_err, vibration)


def _check(positions: np.ndarray, edges: np.ndarray, names: set[str]) -> None:
    """Refuse frames (F, N, 3) that cannot be averaged."""
    if len(positions) < _FEWEST_FRAMES:
        raise ValueError(
            f"{len(positions)} frames are too few for mean places: {_FEWEST_FRAMES} or more"
        )
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=(1, 2)))
    if len(bad):
        raise ValueError(f"frame {bad[0]} holds NaN or infinity: leave it out")
    if np.ptp(edges / edges[0], axis=0).max() > _BOX_TOLERANCE:
        raise ValueError("the box changes: the run must be at constant volume")
    if len(names) > 1:
        raise ValueError(
            f"atoms of {len(names)} kinds ({', '.join(sorted(names)[:5])}): crystals have one "
            "species"
        )


def _mean_places(positions: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return displacements (F, N, 3) from the mean places, and those (N, 3), in the box."""
    sites = positions[0]
    for _ in range(_ROUNDS):
        moved = without_drift(positions, sites, box)
        sites = sites + moved.mean(axis=0)
    return without_drift(positions, sites, box), sites % box


def _check_motion(moved: np.ndarray, sites: np.ndarray, box: np.ndarray) -> None:
    """Refuse atoms that do not stay at their places."""
    rms, apart = math.sqrt((moved**2).sum(axis=-1).mean()), (box.prod() / len(sites)) ** (1 / 3)
    if not 0 < rms < _MOLTEN * apart:
        raise ValueError(
            f"the atoms move by {rms:.2g} nm about their mean places, and are {apart:.2g} nm "
            "apart: the crystal has melted, or does not move at all"
        )
    of_atoms = np.sqrt((moved**2).sum(axis=-1).mean(axis=0))
    if of_atoms.max() > _RESTLESS * np.median(of_atoms):
        raise _left(int(np.argmax(of_atoms)))
    check_sites(moved, sites, box)
    far = np.sqrt((moved**2).sum(axis=-1)) / nearest_distances(sites / box, box)
    if far.max() > _GONE:
        raise _left(int(np.unravel_index(int(np.argmax(far)), far.shape)[1]))


def _left(atom: int) -> ValueError:
    return ValueError(
        f"atom {atom} has left its site: atoms that diffuse, or vacancies, are not in the free "
        "energy of a crystal; leave the frames out, or simulate it colder"
    )
