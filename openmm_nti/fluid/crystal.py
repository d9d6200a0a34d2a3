"""`Crystal`: the lattice of a state point that is a solid, and the sites of its atoms.

The sites are fractions of the box, so they follow from lattice, cells and density. Atoms are
labelled by their sites: atom n is the one of site n.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, ValidationError

from openmm_nti.fluid.potentials.registry import first_problem
from openmm_nti.fluid.units import positive_number
from openmm_nti.settings import Settings

Lattice = Literal["fcc", "hcp", "bcc", "sc", "diamond"]
_LARGEST_STRAIN = 0.1
_FACES = 1.7  # nearest distances; faces of Voronoi cells are between sites that are closer
_BODY, _FACE = [(0.5, 0.5, 0.5)], [(0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]


class _Cell(NamedTuple):
    """A rectangular cell: its sites as fractions of its edges, and how many primitive cells it is.

    Edges are in units of the first one.
    """

    edges: tuple[float, float, float]
    basis: Sequence[tuple[float, ...]]
    n_primitive: int


_FCC = [(0.0, 0.0, 0.0), *_FACE]
_CELLS: dict[str, _Cell] = {
    "sc": _Cell((1, 1, 1), [(0, 0, 0)], 1),
    "bcc": _Cell((1, 1, 1), [(0, 0, 0), *_BODY], 2),
    "fcc": _Cell((1, 1, 1), _FCC, 4),
    "diamond": _Cell((1, 1, 1), [*_FCC, *(tuple(x + 0.25 for x in site) for site in _FCC)], 4),
    "hcp": _Cell(
        (1, math.sqrt(3), math.sqrt(8 / 3)),
        [(0, 0, 0), (0.5, 0.5, 0), (0.5, 5 / 6, 0.5), (0, 1 / 3, 0.5)],
        2,
    ),
}


class Crystal(Settings):
    """A lattice without vacancies that fills the box, as so many rectangular cells along each edge.

    The cells of `fcc` (4 sites), `bcc` (2), `sc` (1) and `diamond` (8) are cubes. That of `hcp` (4)
    has edges in the ratio of 1 to sqrt(3) to sqrt(8/3).
    """

    lattice: Lattice = Field(description="`fcc`, `hcp`, `bcc`, `sc` (simple cubic) or `diamond`.")
    cells: tuple[Annotated[int, Field(ge=2, le=100)], ...] = Field(
        min_length=3, max_length=3, description="Cells along each edge of the box: [x, y, z]."
    )

    @property
    def n_sites(self) -> int:
        """Number of sites, which is N."""
        return len(_CELLS[self.lattice].basis) * math.prod(self.cells)

    @property
    def n_primitive(self) -> int:
        """Number of primitive cells: translations by which the lattice comes back to itself."""
        return _CELLS[self.lattice].n_primitive * math.prod(self.cells)

    @property
    def shape(self) -> np.ndarray:
        """Edges of the box without strain, (3,), in units of the cell's first edge."""
        return np.array(self.cells) * np.array(_CELLS[self.lattice].edges)

    @property
    def fractions(self) -> np.ndarray:
        """The sites as fractions of the box, (N, 3); those of a cell are in a row."""
        basis = np.array(_CELLS[self.lattice].basis)
        cells = np.stack(np.unravel_index(np.arange(math.prod(self.cells)), self.cells), axis=-1)
        return np.asarray((cells[:, np.newaxis] + basis).reshape(-1, 3) / np.array(self.cells))

    @property
    def label(self) -> str:
        """A short name for files: fcc4x4x4."""
        return self.lattice + "x".join(map(str, self.cells))

    def neighbours(self, box: np.ndarray) -> list[np.ndarray]:
        """Return the vectors to the sites around each site of a cell, the nearest distance too.

        Parameters
        ----------
        box
            Edges of the box, (3,), sigma.

        Returns
        -------
        list[np.ndarray]
            Vectors, (K, 3), sigma, for each site of a cell: to all sites with which it may share a
            face of its Voronoi cell.
        """
        edges = box / np.array(self.cells)
        basis = np.array(_CELLS[self.lattice].basis)
        images = np.array(list(product((-2, -1, 0, 1, 2), repeat=3)))
        around = (basis + images[:, np.newaxis]).reshape(-1, 3)
        found = []
        for site in basis:
            vectors = (around - site) * edges
            lengths = np.linalg.norm(vectors, axis=-1)
            nearest = lengths[lengths > 0].min()
            found.append(vectors[(lengths > 0) & (lengths < _FACES * nearest)])
        return found


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
