"""`Fluid`: which atoms there are and how each pair of species interacts; nothing of N, box or T."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations_with_replacement

from pydantic import Field, model_validator

from openmm_nti.fluid.cutoff import Cutoff
from openmm_nti.fluid.potentials.base import PairPotential
from openmm_nti.fluid.potentials.registry import AnyPotential
from openmm_nti.fluid.species import Species
from openmm_nti.settings import Settings


class Fluid(Settings):
    """Species, one pair potential for each pair of species, and the cutoff of all of them."""

    species: tuple[Species, ...] = Field(min_length=1, description="The kinds of atoms.")
    pairs: tuple[AnyPotential, ...] = Field(
        description="Potentials of the pairs a <= b of species, in the order of `species`: "
        "aa, ab, ac, bb, bc, cc."
    )
    cutoff: Cutoff = Field(description="Where all potentials end.")

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
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the species."""
        return tuple(kind.name for kind in self.species)

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
