r"""`FamilyRange`: what a model of several fluids was trained for, in what its network is told.

A network sees distances in units of each pair's own length d, at which the pair has 2 kT, and it
knows the depth of the wells in kT. So two fluids are alike to it if these numbers are:

- the depth of the wells of atoms of one species, from the shallowest to the deepest;
- the ratio of the largest to the smallest d of atoms of one species;
- how densely the atoms are packed, \sum_a N_a d_a^3 / V.

Cutoffs, units and names are not among them. Thinner fluids than those of the training are inside:
there all but the exact two-body term vanishes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from openmm_nti.fluid.of_species import kind_table
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian.length_scale import lengths_of, packing
from openmm_nti.hamiltonian.networks.atom_traits import depths_of

_ROUNDING = 1e-3
_WORDS = {
    "depth_kt": "wells {} kT deep",
    "length_ratio": "atoms that differ in size by a factor {}",
    "packing": "packed to N d^3 / V = {}",
}


@dataclass(frozen=True)
class FamilyRange:
    """The least and the largest of each number over the fluids of a training.

    Attributes
    ----------
    potentials
        Types of pair potentials.
    depth_kt, length_ratio, packing
        As the module says; kT, and pure numbers.
    """

    potentials: tuple[str, ...]
    depth_kt: tuple[float, float]
    length_ratio: tuple[float, float]
    packing: tuple[float, float]

    @classmethod
    def of(cls, states: Sequence[StatePoint]) -> Self:
        """Return the range of the states of a training, one or more."""
        each = [_numbers_of(state) for state in states]
        ranges = {
            name: (min(one[name][0] for one in each), max(one[name][1] for one in each))
            for name in _WORDS
        }
        return cls(tuple(sorted({kind for state in states for kind in _types(state)})), **ranges)

    def differences(self, state: StatePoint) -> list[str]:
        """Return in words where a state lies outside, and how far; nothing if it is inside."""
        found = [
            f"potential: {kind}, the model knows {', '.join(self.potentials)}"
            for kind in _types(state)
            if kind not in self.potentials
        ]
        for name, (lowest, highest) in _numbers_of(state).items():
            low, high = getattr(self, name)
            margin = _ROUNDING * abs(high)
            below = name != "packing" and lowest < low - margin
            outside, edge = (lowest, low) if below else (highest, high)
            if below or not outside <= high + margin:
                far = abs(outside / edge - 1.0)
                said = _WORDS[name].format(f"{outside:.3g}")
                found.append(
                    f"{said}, {far:.0%} outside of {low:.3g} to {high:.3g}, which the model knows"
                )
        return found

    def card(self) -> dict[str, Any]:
        """Return the range as an entry of a model's card."""
        return asdict(self)

    @classmethod
    def from_card(cls, card: dict[str, Any]) -> Self:
        """Return the range that a model's card contains, as written by `card`."""
        return cls(**{field.name: tuple(card[field.name]) for field in fields(cls)})


def _types(state: StatePoint) -> list[str]:
    return sorted({pair.type for pair in state.fluid.pairs})


def _numbers_of(state: StatePoint) -> dict[str, tuple[float, float]]:
    """Return the least and the largest of each number in one fluid."""
    potential = state.pair_potential
    alike = kind_table(potential.n_species).diagonal()
    depths, lengths = (
        [of_kinds[kind] for kind in alike]
        for of_kinds in (depths_of(potential), lengths_of(potential))
    )
    ratio = max(lengths) / min(lengths)
    return {
        "depth_kt": (min(depths), max(depths)),
        "length_ratio": (ratio, ratio),
        "packing": (packing(state),) * 2,
    }
