"""`Cell`: the rectangular cell that a crystal repeats, with the sites of its atoms."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from openmm_nti.fluid.structures.translations import (
    averaged,
    generators,
    nearest_distances,
    orbits,
)
from openmm_nti.settings import Settings

TOLERANCE = 2e-3  # nearest distances; a PDB rounds by a tenth of this
_MOST_SITES = 8000
_Edge = Annotated[float, Field(gt=0, le=1e6)]
_Fraction = Annotated[float, Field(ge=-10, le=10)]


class Cell(Settings):
    """A rectangular cell, and the sites in it.

    Raises
    ------
    pydantic.ValidationError
        If two sites are in one place, or a shift repeats the sites nearly, and not quite.
    """

    edges: tuple[_Edge, _Edge, _Edge] = Field(
        description="Edges of the cell, of which only the ratio counts."
    )
    sites: tuple[tuple[_Fraction, _Fraction, _Fraction], ...] = Field(
        min_length=1, max_length=_MOST_SITES, description="Sites as fractions of the edges."
    )

    @model_validator(mode="after")
    def _repeats_clearly(self) -> Self:
        _ = self.n_primitive
        return self

    @classmethod
    def of(cls, sites: np.ndarray, edges: np.ndarray, tolerance: float | None = None) -> Cell:
        """Return the cell of sites that are known with errors, averaged over those that repeat.

        Parameters
        ----------
        sites
            Fractions of the edges, (n, 3).
        edges
            Edges, (3,), in any unit.
        tolerance
            Largest error of a site, in the unit of the edges; by default that of a rounded number.

        Raises
        ------
        ValueError
            As for the class.
        """
        if tolerance is None:
            tolerance = TOLERANCE * float(np.median(nearest_distances(sites, edges)))
        exact = averaged(sites, generators(sites, edges, tolerance))
        return cls(edges=tuple(edges.tolist()), sites=tuple(map(tuple, exact.tolist())))

    @property
    def n_primitive(self) -> int:
        """Number of primitive cells: shifts that take the sites to themselves."""
        return int((_first(self) == 0).sum())

    @property
    def distinct(self) -> list[int]:
        """The sites that differ in their surroundings: one of each that shifts do not join."""
        return [int(site) for site in np.unique(_first(self))]

    def __str__(self) -> str:
        """Return a short name that other sites do not have."""
        return "sites" + hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]


@lru_cache(maxsize=64)
def _first(cell: Cell) -> np.ndarray:
    """Return the index of the first site that each site repeats, (n,)."""
    sites, edges = np.array(cell.sites), np.array(cell.edges)
    tolerance = TOLERANCE * float(np.median(nearest_distances(sites, edges)))
    return orbits(generators(sites, edges, tolerance), len(sites)).first
