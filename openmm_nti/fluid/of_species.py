"""What a state point knows about the species of its particles, and the kinds of their pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Self

import numpy as np

from openmm_nti.fluid.fluid import Fluid
from openmm_nti.settings import Settings


@lru_cache(maxsize=16)
def kind_table(n_species: int) -> np.ndarray:
    """Return the kind of pair of each two species, (n_species, n_species): aa, ab, ac, bb, ..."""
    first, second = np.triu_indices(n_species)
    table = np.empty((n_species, n_species), dtype=np.int64)
    table[first, second] = table[second, first] = np.arange(len(first))
    table.flags.writeable = False
    return table


class OfSpecies(Settings):
    """The part of `StatePoint` that is about species. Particles of one species are in a row."""

    @property
    def composition(self) -> dict[str, int]:
        """Number of particles of each species."""
        raise NotImplementedError

    @property
    def fluid(self) -> Fluid:
        """Species, pair potentials and cutoff, in real units."""
        raise NotImplementedError

    @property
    def is_mixture(self) -> bool:
        """Whether there are several species."""
        return len(self.composition) > 1

    @property
    def species_of_particles(self) -> np.ndarray:
        """Species of each particle, as an index into `composition`, (N,); equal ones in a row."""
        return np.repeat(np.arange(len(self.composition)), list(self.composition.values()))

    @property
    def masses_dalton(self) -> np.ndarray:
        """Mass of each particle, (N,), Da."""
        masses = np.array([kind.mass_dalton for kind in self.fluid.species])
        return np.asarray(masses[self.species_of_particles])

    def kinds(self, first: Any, second: Any) -> np.ndarray | None:
        """Return the kinds of the pairs of two arrays of particles; None where there is one kind.

        Both are numbers, arrays of indices or slices; their shapes broadcast. A kind is an index
        into `pair_potential.kinds`.
        """
        if not self.is_mixture:
            return None
        species = self.species_of_particles
        return np.asarray(kind_table(len(self.composition))[species[first], species[second]])

    def kinds_with(self, species: int) -> np.ndarray | None:
        """Return the kinds of the pairs of an atom of a species with all particles, (N,).

        None where there is one kind.
        """
        if not self.is_mixture:
            return None
        table = kind_table(len(self.composition))
        return np.asarray(table[species, self.species_of_particles])

    def number_of_species(self, name: str | None) -> int:
        """Return the place of a species in `composition`; None serves where there is one species.

        Raises
        ------
        ValueError
            If there is no such species, or none is given for a mixture.
        """
        names = list(self.composition)
        if name is None and not self.is_mixture:
            return 0
        if name not in names:
            what = "is missing" if name is None else f"= {name} is none of the fluid's"
            raise ValueError(f"species {what}: choose from {', '.join(names)}")
        return names.index(name)

    def with_numbers(self, numbers: Sequence[int]) -> Self:
        """Return the same state with other numbers of particles of each species."""
        update: dict[str, Any] = {"n_particles": sum(numbers)}
        mixture = getattr(self, "mixture", None)
        if mixture is not None:
            update["mixture"] = mixture.model_copy(update={"composition": tuple(numbers)})
        return self.model_copy(update=update)

    def one_more(self, species: str | None = None) -> Self:
        """Return the same state with one more particle of a species; see `number_of_species`."""
        return self._changed(species, 1)

    def one_less(self, species: str | None = None) -> Self:
        """Return the same state with one particle of a species less; see `number_of_species`."""
        return self._changed(species, -1)

    def _changed(self, species: str | None, change: int) -> Self:
        numbers = list(self.composition.values())
        numbers[self.number_of_species(species)] += change
        return self.with_numbers(numbers)
