"""`PairKinds`: which kind of pair two atoms of a mixture are.

Atoms of a species are in a row, in the order of the composition. Kinds are numbered as in
`ReducedPotential.kinds`. A fluid of one species has one kind, and then nothing here costs time.
"""

import numpy as np
import torch
from torch import Tensor, nn

from openmm_nti.fluid.of_species import kind_table
from openmm_nti.hamiltonian.geometry import Pairs


class PairKinds(nn.Module):
    """Finds the kinds of pairs, and their numbers.

    Parameters
    ----------
    n_species
        Number of species.
    numbers
        Number of atoms of each species; None while it is unknown. A fluid of one species needs
        none.

    Attributes
    ----------
    n_kinds
        Number of kinds of pairs.
    """

    species: Tensor
    table: Tensor
    counts: Tensor

    def __init__(self, n_species: int, numbers: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.numbers = numbers
        table = kind_table(n_species)
        self.n_kinds = int(table.max()) + 1
        counted = numbers if n_species > 1 and numbers is not None else (0,) * n_species
        species = np.repeat(np.arange(n_species), counted)
        self.n_atoms = len(species)
        self._constant("table", torch.tensor(table))
        self._constant("species", torch.tensor(species))
        first, second = np.triu_indices(n_species)
        counts = np.bincount(species, minlength=n_species).astype(np.float64)
        ordered = counts[first] * np.where(
            first == second, 0.5 * (counts[first] - 1.0), counts[second]
        )
        self._constant("counts", torch.tensor(ordered))

    def _constant(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)

    @torch.jit.unused
    def is_of(self, numbers: tuple[int, ...] | None) -> bool:
        """Return whether the numbers of atoms of each species are these; None for one species."""
        return self.numbers == numbers

    def check(self, n_atoms: int) -> None:
        """Raise ValueError unless the species of so many atoms are known."""
        if self.n_kinds > 1 and self.n_atoms != n_atoms:
            raise ValueError(
                "the model of a mixture is made for another number of atoms: take model.bind(state)"
            )

    def of(self, pairs: Pairs, n_atoms: int) -> Tensor:
        """Return the kind of each pair, (P,); empty for one species.

        Parameters
        ----------
        pairs
            Pairs of a batch of configurations of `n_atoms` atoms each.
        n_atoms
            Number of atoms N.
        """
        self.check(n_atoms)
        if self.n_kinds == 1:
            return pairs.first[:0]
        first = self.species[pairs.first % n_atoms]
        second = self.species[pairs.second % n_atoms]
        return self.table[first, second]

    def rows(self, pairs: Pairs, n_atoms: int) -> Tensor:
        """Return the row of each pair in tables of all configurations and kinds, (P,).

        Configuration b and kind k have row b n_kinds + k. Arguments are those of `of`.
        """
        configuration = torch.div(pairs.first, n_atoms, rounding_mode="floor")
        if self.n_kinds == 1:
            return configuration
        return configuration * self.n_kinds + self.of(pairs, n_atoms)

    def n_pairs(self, n_atoms: int) -> Tensor:
        """Return the number of pairs of each kind among `n_atoms` atoms, (n_kinds,)."""
        self.check(n_atoms)
        if self.n_kinds == 1:
            return torch.full_like(self.counts, 0.5 * n_atoms * (n_atoms - 1))
        return self.counts
