"""`ReducedPotential`: the interacting end of a path in reduced units, at one temperature.

Lengths are in sigma and energies in epsilon, both of a reference species, or in kT.
"""

from __future__ import annotations

import math
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
from openmm_nti.fluid.potentials.base import PairPotential
from openmm_nti.fluid.potentials.registry import PotentialForm
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
        if self.potential == LENNARD_JONES:
            values.pop("potential", None)
        return values

    @property
    def pair(self) -> PairPotential:
        """The pair potential with lengths in sigma and energies in epsilon."""
        return _parts(self).pair

    @property
    def pair_in_kt(self) -> PairPotential:
        """The pair potential with lengths in sigma and energies in kT."""
        return _parts(self).pair_in_kt

    @property
    def cutoff(self) -> Cutoff:
        """The cutoff with lengths in sigma."""
        return _parts(self).cutoff

    @property
    def energy_at_cutoff(self) -> float:
        """The energy at the cutoff before truncation and after any shift, in epsilon."""
        return _parts(self).energy_at_cutoff

    @property
    def is_continuous(self) -> bool:
        """Whether the energy goes to zero at the cutoff without a jump."""
        return self.convention != "truncated" or self.energy_at_cutoff == 0.0

    def differing(self, other: ReducedPotential) -> list[str]:
        """Return the names of the fields in which `other` differs by more than rounding."""
        return [
            name
            for name in type(self).model_fields
            if not _same(getattr(self, name), getattr(other, name))
        ]

    def pair_energy(self, r_squared: np.ndarray) -> np.ndarray:
        """Return u(r) S(r) of any shape, in epsilon, from squared distances in sigma^2.

        It is infinite, or the potential's own limit, for atoms in one place; never NaN.
        """
        parts = _parts(self)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            r_squared = np.asarray(r_squared, dtype=np.float64)
            return np.asarray(parts.pair.energy_numpy(r_squared) * parts.cutoff.factor(r_squared))


def _same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, float) and isinstance(theirs, float):
        return math.isclose(mine, theirs, rel_tol=1e-9)
    return bool(mine == theirs)


class _Parts(NamedTuple):
    pair: PairPotential
    pair_in_kt: PairPotential
    cutoff: Cutoff
    energy_at_cutoff: float


@lru_cache(maxsize=64)
def _parts(reduced: ReducedPotential) -> _Parts:
    """Return what a reduced potential is made of, once for all that ask."""
    cutoff = Cutoff(
        cutoff_nm=reduced.cutoff_sigma,
        switch_nm=reduced.switch_sigma,
        convention=reduced.convention,
    )
    pair = cutoff.ended(reduced.potential.build(1.0, 1.0))
    return _Parts(
        pair,
        pair.in_units(1.0, reduced.temperature_star),
        cutoff,
        float(pair.energy(reduced.cutoff_sigma**2)),
    )
