"""`Crystal`: the lattice of a state point that is a solid, and the sites of its atoms.

The sites are fractions of the box, so they follow from the cell that repeats, how often it does,
and the density. Atoms are labelled by their sites: atom n is the one of site n.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import Field, ValidationError, field_validator, model_validator

from openmm_nti.fluid.box import SIZES, reduced_box
from openmm_nti.fluid.potentials.registry import first_problem
from openmm_nti.fluid.structures.cell import Cell
from openmm_nti.fluid.structures.site_files import read_sites
from openmm_nti.fluid.units import positive_number
from openmm_nti.settings import Settings

Lattice = Literal["fcc", "hcp", "bcc", "sc", "diamond"]
_LARGEST_STRAIN = 0.1
_BODY, _FACE = (0.5, 0.5, 0.5), [(0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0)]
_CUBE, _CORNER = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
_FCC = [_CORNER, *_FACE]
_CELLS = {
    "sc": Cell(edges=_CUBE, sites=(_CORNER,)),
    "bcc": Cell(edges=_CUBE, sites=(_CORNER, _BODY)),
    "fcc": Cell(edges=_CUBE, sites=tuple(_FCC)),
    "diamond": Cell(
        edges=_CUBE, sites=(*_FCC, *((x + 0.25, y + 0.25, z + 0.25) for x, y, z in _FCC))
    ),
    "hcp": Cell(
        edges=(1.0, math.sqrt(3), math.sqrt(8 / 3)),
        sites=(_CORNER, (0.5, 0.5, 0.0), (0.5, 5 / 6, 0.5), (0.0, 1 / 3, 0.5)),
    ),
}


class Crystal(Settings):
    """A lattice without vacancies that fills the box, as so many rectangular cells along each edge.

    The cells of `fcc` (4 sites), `bcc` (2), `sc` (1) and `diamond` (8) are cubes. That of `hcp` (4)
    has edges in the ratio of 1 to sqrt(3) to sqrt(8/3). Any other is given by its cell.

    Raises
    ------
    pydantic.ValidationError
        If no shift within the box takes the sites to themselves: that is no crystal.
    """

    lattice: Lattice | Cell = Field(
        description="`fcc`, `hcp`, `bcc`, `sc` (simple cubic) or `diamond`; or {edges, sites}."
    )
    cells: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field(
        min_length=3, max_length=3, description="Cells along each edge of the box: [x, y, z]."
    )

    @field_validator("lattice", mode="before")
    @classmethod
    def _name_or_cell(cls, value: Any) -> Any:
        """Return a name or a cell, with one message where it is neither."""
        if isinstance(value, Mapping):
            try:
                return Cell.model_validate(value)
            except ValidationError as error:
                raise ValueError(first_problem(error)) from None
        if not isinstance(value, Cell) and not (isinstance(value, str) and value in _CELLS):
            names = ", ".join(map(repr, get_args(Lattice)))
            raise ValueError(f"must be one of {names}, or a cell {{edges: ..., sites: ...}}")
        return value

    @model_validator(mode="after")
    def _repeats(self) -> Crystal:
        if self.n_primitive == 1 and self.n_sites > 1:
            raise ValueError(
                f"no shift takes the {self.n_sites} sites to themselves: they are of a snapshot or "
                "a melt, and not of a crystal at rest; `openmm-nti sites` averages a trajectory"
            )
        return self

    @property
    def cell(self) -> Cell:
        """The cell that repeats."""
        return self.lattice if isinstance(self.lattice, Cell) else _CELLS[self.lattice]

    @property
    def n_sites(self) -> int:
        """Number of sites, which is N."""
        return len(self.cell.sites) * math.prod(self.cells)

    @property
    def n_primitive(self) -> int:
        """Number of primitive cells: translations by which the lattice comes back to itself."""
        return self.cell.n_primitive * math.prod(self.cells)

    @property
    def shape(self) -> np.ndarray:
        """Edges of the box without strain, (3,), in the unit of the cell's edges."""
        return np.array(self.cells) * np.array(self.cell.edges)

    @property
    def fractions(self) -> np.ndarray:
        """The sites as fractions of the box, (N, 3); those of a cell are in a row."""
        basis = np.array(self.cell.sites)
        cells = np.stack(np.unravel_index(np.arange(math.prod(self.cells)), self.cells), axis=-1)
        return np.asarray((cells[:, np.newaxis] + basis).reshape(-1, 3) / np.array(self.cells))

    @property
    def label(self) -> str:
        """A short name for files: fcc4x4x4, or sites1a2b3c4d_1x1x1."""
        space = "_" if isinstance(self.lattice, Cell) else ""
        return f"{self.lattice}{space}" + "x".join(map(str, self.cells))


def with_sites_of_file(data: Mapping[str, Any], sigma_nm: float) -> dict[str, Any]:
    """Return the keys of a state point with the cell that the file `crystal: {sites: ...}` holds.

    The box is that of the file, unless another size is given.

    Raises
    ------
    ValueError
        In one line that names the file, if it holds no sites of a crystal.
    """
    given = data["crystal"]
    if not isinstance(given, Mapping) or "sites" not in given:
        return dict(data)
    if others := sorted(set(given) - {"sites", "cells"}):
        raise ValueError(f"crystal: {others[0]} stands beside sites: leave one of them out")
    if not isinstance(given["sites"], str | Path) or not str(given["sites"]):
        raise ValueError(f"crystal: sites = {given['sites']!r} must be the path of a PDB")
    try:
        cells = Crystal(lattice="sc", cells=given.get("cells", (1, 1, 1))).cells
        edges = _edges_nm(data, sigma_nm)
        cell = read_sites(given["sites"], None if edges is None else edges / cells)
    except ValidationError as error:
        raise ValueError(f"crystal: {first_problem(error)}") from None
    except ValueError as error:
        raise ValueError(f"crystal: sites: {error}") from None
    found = {**data, "crystal": {"lattice": cell, "cells": cells}}
    if not any(data.get(name) is not None for name in SIZES):
        found["box_nm"] = (np.array(cell.edges) * cells).tolist()
    return found


def _edges_nm(data: Mapping[str, Any], sigma_nm: float) -> np.ndarray | None:
    """Return the edges of the box that is given, (3,), nm; None if there is none, or a density."""
    sizes = {name: data[name] for name in SIZES if data.get(name) is not None}
    if len(sizes) != 1 or "density_star" in sizes:
        return None
    box = reduced_box(sizes, sigma_nm)
    return np.array(box.get("box_sigma", [box["box_length_sigma"]] * 3)) * sigma_nm


def with_numbers_of_crystal(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a state point, with N and the box that follow from its key `crystal`.

    Raises
    ------
    ValueError
        If N or the box is given and does not fit the lattice.
    """
    try:
        crystal = Crystal.model_validate(data["crystal"])
    except ValidationError as error:
        raise ValueError(f"crystal: {first_problem(error)}") from None
    n = crystal.n_sites
    if data.get("n_particles") not in (None, n):
        raise ValueError(
            f"crystal: {crystal.lattice} with cells = {list(crystal.cells)} has {n} sites, and "
            f"n_particles = {data['n_particles']}: leave n_particles out"
        )
    found = {**data, "crystal": crystal, "n_particles": n}
    shape = crystal.shape
    if "density_star" in data and np.ptp(shape) > 1e-9 * shape.max():
        density = positive_number("density_star", found.pop("density_star"), largest=10.0)
        edges = shape * (n / density / shape.prod()) ** (1 / 3)
        found["box_sigma"] = edges.tolist()
    return found


def check_strain(crystal: Crystal, box: np.ndarray) -> None:
    """Refuse a box, with edges (3,) in any unit, in whose shape the lattice is not recognised."""
    strain = box / crystal.shape
    worst = float(np.abs(strain / strain.prod() ** (1 / 3) - 1).max())
    if not worst <= _LARGEST_STRAIN:
        ratio = " : ".join(f"{edge:.4g}" for edge in crystal.shape / crystal.shape[0])
        raise ValueError(
            f"crystal: {crystal.lattice} with cells = {list(crystal.cells)} needs a box with edges "
            f"in the ratio {ratio}, and this one is off by {worst:.0%}: give density_star alone, "
            "or other cells"
        )
