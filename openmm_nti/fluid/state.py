"""`StatePoint`: the thermodynamic state of a fluid, in reduced and real units.

Reduced units: length in sigma, temperature T* = kT / epsilon, density rho* = N sigma^3 / V, energy
in kT. Real units default to argon (sigma = 0.3405 nm, epsilon / k = 119.8 K, 39.948 Da).
"""

from __future__ import annotations

import math
from typing import Any

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from openmm_nti.fluid.box import SIZES, Edges, OfBox, reduced_box
from openmm_nti.fluid.crystal import (
    Crystal,
    check_strain,
    with_numbers_of_crystal,
    with_sites_of_file,
)
from openmm_nti.fluid.cutoff import Convention, Cutoff
from openmm_nti.fluid.fluid import Fluid
from openmm_nti.fluid.mixture import Mixture
from openmm_nti.fluid.of_species import OfSpecies
from openmm_nti.fluid.potentials.base import PairPotential
from openmm_nti.fluid.potentials.registry import PotentialForm, described, natural_units
from openmm_nti.fluid.reduced import LENNARD_JONES, ReducedPotential, reduced_potential
from openmm_nti.fluid.species_form import plain_form
from openmm_nti.fluid.units import (
    DALTON_NM2_PS2_IN_KJ_MOL,
    GAS_CONSTANT_KJ_MOL_K,
    positive_number,
    require_one,
)

__all__ = ["GAS_CONSTANT_KJ_MOL_K", "Convention", "PairPotential", "StatePoint"]
_ARGON = "Ar"
_TEMPERATURES = ("temperature_star", "temperature_kelvin")


class StatePoint(OfSpecies, OfBox):
    """N particles of a fluid in a periodic box at one temperature.

    Give the size of the box once (`box_length_sigma`, `box_length_nm` or `density_star` of a cube,
    `box_sigma` or `box_nm` for three edges) and the temperature once (`temperature_star` or
    `temperature_kelvin`). Both are stored in reduced units.
    The form with named species (`openmm_nti.fluid.species_form`) is read as well.

    Raises
    ------
    pydantic.ValidationError
        With a message that says what to change, for a box under two cutoffs, fewer than two
        particles, a negative density, an unknown key, or a size or temperature given twice or not
        at all.
    """

    n_particles: int = Field(ge=2, le=10_000_000, description="Number of particles N.")
    box_length_sigma: float = Field(
        gt=0,
        le=1e6,
        description="Edge of the cubic box, in sigma; of unequal edges, that of the cube of the "
        "same volume.",
    )
    box_sigma: Edges | None = Field(
        default=None, repr=False, description="Edges of a box that is no cube, in sigma."
    )
    temperature_star: float = Field(ge=1e-3, le=1e4, description="T* = kT / epsilon.")
    sigma_nm: float = Field(
        default=0.3405, ge=1e-3, le=1e3, description="Lennard-Jones sigma, in nm (argon)."
    )
    epsilon_kj_mol: float = Field(
        default=119.8 * GAS_CONSTANT_KJ_MOL_K,
        ge=1e-6,
        le=1e6,
        description="Lennard-Jones epsilon, in kJ/mol (argon).",
    )
    mass_dalton: float = Field(
        default=39.948, ge=1e-6, le=1e9, description="Particle mass, in Da (argon)."
    )
    cutoff_sigma: float = Field(
        default=3.0, gt=1.2, le=1000, description="Spherical cutoff, in sigma."
    )
    switch_sigma: float = Field(
        default=2.5, gt=1.0, le=1000, description="Where the switching function starts, in sigma."
    )
    convention: Convention = Field(
        default="switched",
        description="`switched` (default), `truncated`, `shifted` or `force_shifted`.",
    )
    potential: PotentialForm = Field(
        default=LENNARD_JONES, description="Kind of the pair potential, as {type: ...}."
    )
    species_name: str = Field(
        default=_ARGON, min_length=1, description="What the atoms are called."
    )
    mixture: Mixture | None = Field(
        default=None, repr=False, description="Several species; read from `species:`."
    )
    crystal: Crystal | None = Field(
        default=None,
        repr=False,
        description="A solid, as {lattice: fcc, cells: [4, 4, 4]} or {sites: crystal.pdb}.",
    )

    @model_validator(mode="before")
    @classmethod
    def _to_reduced_units(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = {
            **data,
            **({"potential": described(data["potential"])} if data.get("potential") else {}),
        }
        data = plain_form(data) if "species" in data else data
        data = {**natural_units(data.get("potential")), **data}
        if set(data) - set(cls.model_fields) - {*SIZES, *_TEMPERATURES}:
            return data  # the unknown key is what to say, not what is missing without it
        units = {name: cls.model_fields[name].default for name in ("sigma_nm", "epsilon_kj_mol")}
        sigma, epsilon = (
            positive_number(name, data.get(name, default)) for name, default in units.items()
        )
        is_crystal = data.get("crystal") is not None
        data = with_sites_of_file(data, sigma) if is_crystal else data
        require_one(data, SIZES, "the size of the box")
        require_one(data, _TEMPERATURES, "the temperature")
        data = with_numbers_of_crystal(data) if is_crystal else data
        box = reduced_box(data, sigma)
        data = {**{name: value for name, value in data.items() if name not in SIZES}, **box}
        if "temperature_kelvin" in data:
            kelvin = positive_number("temperature_kelvin", data.pop("temperature_kelvin"))
            data["temperature_star"] = kelvin * GAS_CONSTANT_KJ_MOL_K / epsilon
        return data

    @model_validator(mode="after")
    def _box_holds_two_cutoffs(self) -> StatePoint:
        shortest = self.shortest_edge_sigma
        if not self.cutoff_sigma <= 0.5 * shortest * (1 + 1e-9):
            edge = "the box" if self.box_sigma is None else "the box's shortest edge"
            enlarge = "enlarge the box" if self.crystal is None else "take more cells"
            raise ValueError(
                f"{edge}, {shortest:g} sigma ({shortest * self.sigma_nm:g} nm), is under two "
                f"cutoffs ({2 * self.cutoff_sigma:g} sigma): {enlarge}, lower the density, "
                f"or set cutoff_sigma to at most {shortest / 2:g} (cutoff_nm to "
                f"{shortest * self.sigma_nm / 2:g})"
            )
        if self.crystal is not None:
            check_strain(self.crystal, self.edges_sigma)
            if self.mixture is not None:
                names = ", ".join(self.composition)
                raise ValueError(f"crystal: crystals have one species, and this has {names}")
        _ = self.pair_potential
        fluid = self.fluid
        for pair, cutoff in zip(fluid.pairs, fluid.cutoffs, strict=True):
            pair.check_end(cutoff.cutoff_nm, self.kt_kj_mol, self.convention)
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        said = {
            "potential": self.potential != LENNARD_JONES,
            "species_name": self.species_name != _ARGON,
            "mixture": self.mixture is not None,
            "crystal": self.crystal is not None,
            "box_length_sigma": self.box_sigma is None,
            "box_sigma": self.box_sigma is not None,
        }
        return {name: value for name, value in values.items() if said.get(name, True)}

    def __repr_args__(self) -> Any:
        """Yield what files hold, so that unequal edges are seen."""
        yield from ((name, getattr(self, name)) for name in self.model_dump())

    @property
    def pair_potential(self) -> ReducedPotential:
        """The interacting end of the path in reduced units, without N and the box."""
        return reduced_potential(
            self.temperature_star,
            self.cutoff_sigma,
            self.switch_sigma,
            self.convention,
            self.potential.in_units(self.sigma_nm, self.epsilon_kj_mol),
            self.mixture.fluid if self.mixture is not None else None,
            (self.sigma_nm, self.epsilon_kj_mol),
        )

    @property
    def is_continuous(self) -> bool:
        """Whether the pair energy goes to zero at the cutoff without a jump."""
        return self.pair_potential.is_continuous

    @property
    def fluid(self) -> Fluid:
        """Species, pair potentials and cutoff, in real units."""
        if self.mixture is not None:
            return self.mixture.fluid
        pair = self.potential.build(self.sigma_nm, self.epsilon_kj_mol)
        return Fluid.mixture({self.species_name: (self.mass_dalton, pair)}, self.cutoff)

    @property
    def cutoff(self) -> Cutoff:
        """Where the pair potential ends, in nm."""
        return Cutoff(
            cutoff_nm=self.cutoff_nm, switch_nm=self.switch_nm, convention=self.convention
        )

    @property
    def pairs(self) -> tuple[PairPotential, ...]:
        """The pair potentials of all kinds of pairs within the cutoff, in real units."""
        fluid = self.fluid
        return tuple(
            cutoff.ended(pair) for pair, cutoff in zip(fluid.pairs, fluid.cutoffs, strict=True)
        )

    @property
    def composition(self) -> dict[str, int]:
        """Number of particles of each species."""
        if self.mixture is None:
            return {self.species_name: self.n_particles}
        return dict(zip(self.mixture.fluid.names, self.mixture.composition, strict=True))

    @property
    def density_star(self) -> float:
        """rho* = N sigma^3 / V."""
        return self.n_particles / self.volume_sigma3

    @property
    def cutoff_nm(self) -> float:
        """Cutoff in nm, never above half an edge by rounding (OpenMM refuses that)."""
        return min(self.cutoff_sigma * self.sigma_nm, 0.5 * float(self.edges_nm.min()))

    @property
    def switch_nm(self) -> float:
        """Start of the switching function, in nm."""
        return self.switch_sigma * self.sigma_nm

    @property
    def kt_kj_mol(self) -> float:
        """kT, in kJ/mol."""
        return self.temperature_star * self.epsilon_kj_mol

    @property
    def temperature_kelvin(self) -> float:
        """Temperature, in K."""
        return self.kt_kj_mol / GAS_CONSTANT_KJ_MOL_K

    @property
    def time_unit_ps(self) -> float:
        """The Lennard-Jones time sigma sqrt(m / epsilon), in ps (2.156 ps for argon).

        Of a mixture it is that of the quickest species.
        """
        if self.is_mixture:
            fluid = self.fluid
            return min(
                _time_unit_ps(
                    fluid.pair(kind.name, kind.name).size,
                    kind.mass_dalton,
                    getattr(
                        fluid.pair(kind.name, kind.name), "epsilon_kj_mol", self.epsilon_kj_mol
                    ),
                )
                for kind in fluid.species
            )
        return _time_unit_ps(self.sigma_nm, self.mass_dalton, self.epsilon_kj_mol)

    @property
    def label(self) -> str:
        """A short name for files: N40_L6_T1.25_switched."""
        end: str = self.convention
        if self.potential != LENNARD_JONES:
            end = "_".join([self.potential.type, *self.potential.parameter_label(), end])
        numbers = "".join(f"{n}{name}" for name, n in self.composition.items())
        n = numbers if self.is_mixture else f"{self.n_particles}"
        n += "" if self.crystal is None else f"_{self.crystal.label}"
        return f"N{n}_L{self.box_text}_T{self.temperature_star:.6g}_{end}"

    def __str__(self) -> str:
        return (
            f"N = {self.n_particles}, L = {self.box_text} sigma (rho* = "
            f"{self.density_star:.4g}), "
            f"T* = {self.temperature_star:g}, {self.convention}"
            + ("" if self.potential == LENNARD_JONES else f", {self.potential.type}")
            + (f", {_numbers_of(self)}" if self.is_mixture else "")
            + ("" if self.crystal is None else f", {self.crystal.label}")
        )


def _time_unit_ps(sigma_nm: float, mass_dalton: float, epsilon_kj_mol: float) -> float:
    return sigma_nm * math.sqrt(mass_dalton * DALTON_NM2_PS2_IN_KJ_MOL / epsilon_kj_mol)


def _numbers_of(state: StatePoint) -> str:
    return " + ".join(f"{n} {name}" for name, n in state.composition.items())
