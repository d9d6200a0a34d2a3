r"""`LengthScale`: the lengths in which a network sees the pairs of a fluid.

A network learns what atoms do that are as large as those of its training. In another fluid, it is
given distances in units of the distance d at which a pair has 2 kT, relative to d of the pair that
it was trained for,

.. math:: \ell_{ab} = d_{ab} / d_{home}, \qquad \beta u_{ab}(d_{ab}) = 2 .

The noise, and forces that the network returns, are in one length for all atoms, the mean of
\ell_{aa} over the atoms. So for one species all this is a change of units. For the fluid of the
training every length is 1, and nothing is computed.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

from openmm_nti.fluid.of_species import kind_table
from openmm_nti.fluid.reduced import PairKind, ReducedPotential
from openmm_nti.fluid.state import StatePoint

CONTACT_KT = 2.0  # found by trials at other temperatures and in mixtures
_SOFT = 1e-3  # sigma: below this a pair hardly repels


class LengthScale(nn.Module):
    """Holds the lengths of a fluid's kinds of pairs, relative to those of the training.

    Parameters
    ----------
    potential
        The fluid.
    home_length
        Distance of 2 kT of the pair that the network was trained for, sigma.
    numbers
        Number of atoms of each species of a mixture; None for one species, or if unknown.

    Attributes
    ----------
    differs
        Whether any length is not 1.
    length, longest
        The common length of all atoms, and the largest length of a kind of pair.
    """

    of_kinds: Tensor

    def __init__(
        self, potential: ReducedPotential, home_length: float, numbers: tuple[int, ...] | None
    ) -> None:
        super().__init__()
        found = [length / home_length for length in lengths_of(potential)]
        alike = [found[kind] for kind in kind_table(potential.n_species).diagonal()]
        weights = numbers or (1,) * len(alike)
        self.differs = any(length != 1.0 for length in found)
        self.several = len(found) > 1
        self.length = sum(n * d for n, d in zip(weights, alike, strict=True)) / sum(weights)
        self.log_length = math.log(self.length)
        self.longest = max(found)
        self.register_buffer("of_kinds", torch.tensor(found, dtype=torch.float64), persistent=False)

    def shortened(self, vectors: Tensor, kind: Tensor) -> Tensor:
        """Return the vectors of pairs (3, P) in the lengths of their kinds (P,)."""
        if not self.differs:
            return vectors
        lengths = self.of_kinds.to(vectors.dtype)
        if not self.several:
            return vectors / lengths
        return vectors / lengths[kind]


def lengths_of(potential: ReducedPotential) -> list[float]:
    """Return the distances at which the kinds of pairs have 2 kT, in sigma.

    A pair that never has as much counts as one that touches at 1 sigma.
    """
    return [_length(kind) for kind in potential.kinds]


def packing(state: StatePoint) -> float:
    r"""Return how densely the atoms are packed, \sum_a N_a d_a^3 / V with d of atoms alike."""
    potential = state.pair_potential
    alike = kind_table(potential.n_species).diagonal()
    numbers, lengths = state.composition.values(), lengths_of(potential)
    sizes = [n * lengths[kind] ** 3 for n, kind in zip(numbers, alike, strict=True)]
    return math.fsum(sizes) / state.volume_sigma3


@lru_cache(maxsize=64)
def _length(kind: PairKind) -> float:
    core: float = kind.pair_in_kt.core(CONTACT_KT)[0]
    return core if core > _SOFT else 1.0
