"""`Fluid`: which atoms there are and how each pair of species interacts; nothing of N, box or T."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations_with_replacement
from typing import Any, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from openmm_nti.fluid.cutoff import Cutoff
from openmm_nti.fluid.potentials.base import PairPotential
from openmm_nti.fluid.potentials.registry import AnyPotential
from openmm_nti.fluid.species import Species
from openmm_nti.settings import Settings


class Fluid(Settings):
    """Species, one pair potential for each pair of species, and where these end."""

    species: tuple[Species, ...] = Field(min_length=1, description="The kinds of atoms.")
    pairs: tuple[AnyPotential, ...] = Field(
        description="Potentials of the pairs a <= b of species, in the order of `species`: "
        "aa, ab, ac, bb, bc, cc."
    )
    cutoff: Cutoff = Field(description="Where all potentials end, or the longest of them.")
    pair_cutoffs: tuple[Cutoff, ...] = Field(
        default=(), description="Where each of `pairs` ends; empty if all end alike."
    )

    @model_validator(mode="after")
    def _each_pair_once(self) -> Fluid:
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"species = {', '.join(self.names)}: give each name once")
        n_pairs = len(self.species) * (len(self.species) + 1) // 2
        if len(self.pairs) != n_pairs:
            raise ValueError(
                f"pairs holds {len(self.pairs)} potentials for {len(self.species)} species: "
                f"give {n_pairs}, one for each pair"
            )
        if self.pair_cutoffs and len(self.pair_cutoffs) != n_pairs:
            raise ValueError(
                f"pair_cutoffs holds {len(self.pair_cutoffs)} cutoffs: give {n_pairs} or none"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if not self.pair_cutoffs:
            values.pop("pair_cutoffs", None)
        return values

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the species."""
        return tuple(kind.name for kind in self.species)

    @property
    def cutoffs(self) -> tuple[Cutoff, ...]:
        """Where each of `pairs` ends."""
        return self.pair_cutoffs or (self.cutoff,) * len(self.pairs)

    def cut_in_sigma(self, cutoff_sigma: float, switch_sigma: float) -> Self:
        """Return the fluid with each pair's cutoff in units of the pair's own sigma.

        Raises
        ------
        ValueError
            If a potential has no sigma, or the energy jumps at the cutoffs.
        """
        if self.cutoff.convention == "truncated":
            raise ValueError(
                "convention: truncated needs one cutoff for all pairs: choose switched, shifted or "
                "force_shifted, or give cutoff_nm"
            )
        sizes = [getattr(pair, "sigma_nm", None) for pair in self.pairs]
        if None in sizes:
            kind = self.pairs[sizes.index(None)].type
            raise ValueError(f"cutoff_sigma: a {kind} has no sigma: give cutoff_nm")
        cutoffs = [
            Cutoff(
                cutoff_nm=cutoff_sigma * size,
                switch_nm=switch_sigma * size,
                convention=self.cutoff.convention,
            )
            for size in sizes
            if size is not None
        ]
        longest = max(cutoffs, key=lambda cutoff: cutoff.cutoff_nm)
        return self.model_copy(update={"cutoff": longest, "pair_cutoffs": tuple(cutoffs)})

    def pair(self, first: str, second: str) -> PairPotential:
        """Return the potential between two species; the order of the names does not matter."""
        for name in (first, second):
            if name not in self.names:
                raise ValueError(
                    f"species = {name!r} is unknown: choose from {', '.join(self.names)}"
                )
        wanted = {first, second}
        places = combinations_with_replacement(self.names, 2)
        return next(
            potential
            for names, potential in zip(places, self.pairs, strict=True)
            if set(names) == wanted
        )

    @classmethod
    def mixture(
        cls,
        species: Mapping[str, tuple[float, PairPotential]],
        cutoff: Cutoff,
        pairs: Mapping[frozenset[str], PairPotential] | None = None,
    ) -> Fluid:
        """Return a fluid whose unlike pairs follow the rule of Lorentz and Berthelot.

        Parameters
        ----------
        species
            Mass in Da and potential between two alike atoms, by name.
        cutoff
            Where all potentials end.
        pairs
            Potentials of pairs that do not follow the rule, by the pair of names.
        """
        given = pairs or {}
        filled = []
        for first, second in combinations_with_replacement(species, 2):
            one_kind, other_kind = species[first][1], species[second][1]
            own = one_kind if first == second else None
            names = frozenset((first, second))
            filled.append(given.get(names) or own or one_kind.mixed(other_kind))
        atoms = [Species(name=name, mass_dalton=mass) for name, (mass, _) in species.items()]
        return cls(species=tuple(atoms), pairs=tuple(filled), cutoff=cutoff)
