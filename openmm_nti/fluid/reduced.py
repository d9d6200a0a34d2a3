"""`ReducedPotential`: the interacting end of a path in reduced units, at one temperature.

Lengths are in sigma and energies in epsilon, both of a reference species, or in kT.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from openmm_nti.fluid.cutoff import Convention, Cutoff
from openmm_nti.fluid.fluid import Fluid
from openmm_nti.fluid.potentials.base import PairPotential
from openmm_nti.fluid.potentials.registry import AnyPotential, PotentialForm
from openmm_nti.settings import Settings

LENNARD_JONES = PotentialForm()


class ReducedPotential(Settings):
    """What a model is made of: a pair potential, its cutoff and the temperature.

    Two state points with equal `ReducedPotential` share a model: it holds everything but N and the
    box.
    """

    temperature_star: float = Field(gt=0, description="T* = kT / epsilon.")
    cutoff_sigma: float = Field(default=3.0, gt=1.2, description="Spherical cutoff, in sigma.")
    switch_sigma: float = Field(
        default=2.5, gt=1.0, description="Where the switching function starts, in sigma."
    )
    convention: Convention = Field(
        default="switched",
        description="`switched`: OpenMM's switching function from switch_sigma to cutoff_sigma; "
        "`truncated`: plain spherical truncation at cutoff_sigma; `shifted`: truncated, and raised "
        "to end at zero; `force_shifted`: the same for its force.",
    )
    potential: PotentialForm = Field(
        default=LENNARD_JONES, description="The kind of potential; Lennard-Jones if left out."
    )
    species: tuple[str, ...] = Field(
        default=(), description="Names of the species of a mixture; empty for one species."
    )
    pairs: tuple[AnyPotential, ...] = Field(
        default=(),
        description="Potentials of a mixture's kinds of pairs a <= b, in sigma and epsilon: aa, "
        "ab, ac, bb, bc, cc; empty for one species.",
    )
    cutoffs: tuple[Cutoff, ...] = Field(
        default=(),
        description="Where each of `pairs` ends, in sigma; empty if all end at cutoff_sigma.",
    )

    @model_validator(mode="after")
    def _each_pair_once(self) -> ReducedPotential:
        n_pairs = len(self.species) * (len(self.species) + 1) // 2
        if len(self.pairs) != n_pairs:
            raise ValueError(
                f"pairs holds {len(self.pairs)} potentials for {len(self.species)} species: "
                f"give {n_pairs}, one for each kind of pair"
            )
        return self

    @model_validator(mode="after")
    def _switch_below_cutoff(self) -> ReducedPotential:
        if self.convention == "switched" and not self.switch_sigma < self.cutoff_sigma:
            raise ValueError(
                f"switch_sigma = {self.switch_sigma:g} must be below cutoff_sigma = "
                f"{self.cutoff_sigma:g}: "
                "lower switch_sigma or choose convention: truncated"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if self.potential == LENNARD_JONES or self.pairs:
            values.pop("potential", None)
        if not self.pairs:
            values.pop("species", None)
            values.pop("pairs", None)
        if not self.cutoffs:
            values.pop("cutoffs", None)
        return values

    @property
    def kinds(self) -> tuple[PairKind, ...]:
        """The kinds of pairs a <= b of species, in the order of `pairs`; one for one species."""
        return _kinds(self)

    @property
    def n_species(self) -> int:
        """Number of species."""
        return max(1, len(self.species))

    @property
    def pair(self) -> PairPotential:
        """The one pair potential with lengths in sigma and energies in epsilon."""
        return self.only_kind.pair

    @property
    def pair_in_kt(self) -> PairPotential:
        """The one pair potential with lengths in sigma and energies in kT."""
        return self.only_kind.pair_in_kt

    @property
    def energy_at_cutoff(self) -> float:
        """The energy at the cutoff before truncation and after any shift, in epsilon."""
        return self.only_kind.energy_at_cutoff

    @property
    def is_continuous(self) -> bool:
        """Whether the energy goes to zero at the cutoff without a jump."""
        return self.convention != "truncated" or not any(k.energy_at_cutoff for k in self.kinds)

    @property
    def only_kind(self) -> PairKind:
        """The one kind of pair; ValueError for a mixture."""
        if len(self.kinds) > 1:
            raise ValueError(
                f"a mixture of {', '.join(self.species)} has {len(self.kinds)} kinds of pairs, and "
                "this works with one kind only"
            )
        return self.kinds[0]

    def differing(self, other: ReducedPotential) -> list[str]:
        """Return the names of the fields in which `other` differs by more than rounding."""
        return [
            name
            for name in type(self).model_fields
            if not _same(getattr(self, name), getattr(other, name))
        ]

    def pair_energy(self, r_squared: np.ndarray, kind: np.ndarray | None = None) -> np.ndarray:
        """Return u(r) S(r) of any shape, in epsilon, from squared distances in sigma^2.

        It is infinite, or the potential's own limit, for atoms in one place; never NaN.

        Parameters
        ----------
        r_squared
            Squared distances. Any shape, sigma^2.
        kind
            Kind of each pair, as an index into `kinds`; broadcasts with `r_squared`. None where
            there is one kind.
        """
        return by_kind(self, PairKind.energy, np.asarray(r_squared, dtype=np.float64), kind)


def _same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, float) and isinstance(theirs, float):
        return math.isclose(mine, theirs, rel_tol=1e-9)
    return bool(mine == theirs)


class PairKind(NamedTuple):
    """One kind of pair in reduced units: its potential within the cutoff, and the cutoff."""

    pair: PairPotential  # sigma and epsilon
    pair_in_kt: PairPotential  # sigma and kT
    cutoff: Cutoff  # sigma
    energy_at_cutoff: float  # before truncation and after any shift, epsilon

    def energy(self, r_squared: np.ndarray) -> np.ndarray:
        """Return u(r) S(r) of any shape, in epsilon, from squared distances in sigma^2."""
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            return np.asarray(self.pair.energy_numpy(r_squared) * self.cutoff.factor(r_squared))


def by_kind(
    potential: ReducedPotential,
    function: Callable[[PairKind, np.ndarray], np.ndarray],
    values: np.ndarray,
    kind: np.ndarray | None,
) -> np.ndarray:
    """Return `function(kind, values)` of each value by its own kind of pair.

    Parameters
    ----------
    potential
        Supplies the kinds.
    function
        Takes a kind and an array, and returns an array of the same shape, or several of them one
        after the other.
    values
        One value for each pair. Any shape.
    kind
        Kind of each pair; broadcasts with `values`. None where there is one kind.
    """
    if kind is None:
        return function(potential.only_kind, values)
    kind = np.broadcast_to(kind, values.shape)
    parts = [
        (kind == n, function(each, values[kind == n])) for n, each in enumerate(potential.kinds)
    ]
    found = np.empty((*parts[0][1].shape[:-1], *values.shape))
    for where, part in parts:
        found[..., where] = part
    return found


@lru_cache(maxsize=64)
def _kinds(reduced: ReducedPotential) -> tuple[PairKind, ...]:
    """Return the kinds of pairs of a reduced potential, once for all that ask."""
    cutoff = Cutoff(
        cutoff_nm=reduced.cutoff_sigma,
        switch_nm=reduced.switch_sigma,
        convention=reduced.convention,
    )
    found = []
    bare_pairs = reduced.pairs or (reduced.potential.build(1.0, 1.0),)
    for bare, own in zip(bare_pairs, reduced.cutoffs or (cutoff,) * len(bare_pairs), strict=True):
        pair = own.ended(bare)
        in_kt = pair.in_units(1.0, reduced.temperature_star)
        found.append(PairKind(pair, in_kt, own, float(pair.energy(own.cutoff_nm**2))))
    return tuple(found)


@lru_cache(maxsize=64)
def reduced_potential(
    temperature_star: float,
    cutoff_sigma: float,
    switch_sigma: float,
    convention: Convention,
    potential: PotentialForm,
    fluid: Fluid | None,
    units: tuple[float, float],
) -> ReducedPotential:
    """Return the reduced potential of a state, once for all that ask.

    `fluid` has the species in real units, of which `units` is one sigma and one epsilon; None for
    one species.
    """
    mixture = fluid if fluid is not None and len(fluid.species) > 1 else None
    return ReducedPotential(
        temperature_star=temperature_star,
        cutoff_sigma=cutoff_sigma,
        switch_sigma=switch_sigma,
        convention=convention,
        potential=potential,
        species=mixture.names if mixture else (),
        pairs=tuple(pair.in_units(*units) for pair in mixture.pairs) if mixture else (),
        cutoffs=(
            tuple(cutoff.in_units(units[0]) for cutoff in mixture.pair_cutoffs) if mixture else ()
        ),
    )
