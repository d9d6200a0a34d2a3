"""The thermodynamic state of a Lennard-Jones fluid, in reduced and real units.

Reduced units: length in sigma, temperature T* = kT / epsilon, density rho* = N sigma^3 / V, energy
in kT. Real units default to argon (sigma = 0.3405 nm, epsilon / k = 119.8 K, 39.948 Da).
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Convention = Literal["switched", "truncated"]

GAS_CONSTANT_KJ_MOL_K = 8.31446261815324e-3
_DALTON_NM2_PS2_IN_KJ_MOL = 1.0  # 1 Da nm^2 / ps^2 is 1 kJ/mol: OpenMM's unit system is coherent.


class PairPotential(BaseModel):
    """The interacting end of the path: one Lennard-Jones pair potential in units of kT and sigma.

    Two state points with the same `PairPotential` share a model: it holds everything but N and the
    box.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature_star: float = Field(gt=0, description="T* = kT / epsilon.")
    cutoff_sigma: float = Field(default=3.0, gt=1.2, description="Spherical cutoff, in sigma.")
    switch_sigma: float = Field(
        default=2.5, gt=1.0, description="Where the switching function starts, in sigma."
    )
    convention: Convention = Field(
        default="switched",
        description="`switched`: OpenMM's switching function from switch_sigma to cutoff_sigma; "
        "`truncated`: plain spherical truncation at cutoff_sigma.",
    )

    @model_validator(mode="after")
    def _switch_below_cutoff(self) -> PairPotential:
        if self.convention == "switched" and self.switch_sigma >= self.cutoff_sigma:
            raise ValueError(
                f"switch_sigma = {self.switch_sigma:g} must be below cutoff_sigma = "
                f"{self.cutoff_sigma:g}: "
                "lower switch_sigma or choose convention: truncated"
            )
        return self


class StatePoint(BaseModel):
    """N particles of a Lennard-Jones fluid in a cubic periodic box at one temperature.

    Give the size of the box once (`box_length_sigma`, `box_length_nm` or `density_star`) and the
    temperature once (`temperature_star` or `temperature_kelvin`); both are stored in reduced units.

    Raises
    ------
    pydantic.ValidationError
        With a message that says what to change, for a box under two cutoffs, fewer than two
        particles, a negative density, an unknown key, or a size or temperature given twice or not
        at all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_particles: int = Field(ge=2, description="Number of particles N.")
    box_length_sigma: float = Field(gt=0, description="Edge of the cubic box, in sigma.")
    temperature_star: float = Field(gt=0, description="T* = kT / epsilon.")
    sigma_nm: float = Field(default=0.3405, gt=0, description="Lennard-Jones sigma, in nm (argon).")
    epsilon_kj_mol: float = Field(
        default=119.8 * GAS_CONSTANT_KJ_MOL_K,
        gt=0,
        description="Lennard-Jones epsilon, in kJ/mol (argon).",
    )
    mass_dalton: float = Field(default=39.948, gt=0, description="Particle mass, in Da (argon).")
    cutoff_sigma: float = Field(default=3.0, gt=1.2, description="Spherical cutoff, in sigma.")
    switch_sigma: float = Field(
        default=2.5, gt=1.0, description="Where the switching function starts, in sigma."
    )
    convention: Convention = Field(
        default="switched", description="`switched` (default) or `truncated`."
    )

    @model_validator(mode="before")
    @classmethod
    def _to_reduced_units(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        sigma = float(data.get("sigma_nm", cls.model_fields["sigma_nm"].default))
        epsilon = float(data.get("epsilon_kj_mol", cls.model_fields["epsilon_kj_mol"].default))
        _require_one(
            data, ("box_length_sigma", "box_length_nm", "density_star"), "the size of the box"
        )
        _require_one(data, ("temperature_star", "temperature_kelvin"), "the temperature")
        if "box_length_nm" in data:
            data["box_length_sigma"] = float(data.pop("box_length_nm")) / sigma
        if "density_star" in data:
            density = float(data.pop("density_star"))
            if density <= 0:
                raise ValueError(
                    f"density_star = {density:g} must be positive: it is N sigma^3 / V"
                )
            data["box_length_sigma"] = (int(data.get("n_particles", 0)) / density) ** (1 / 3)
        if "temperature_kelvin" in data:
            data["temperature_star"] = (
                float(data.pop("temperature_kelvin")) * GAS_CONSTANT_KJ_MOL_K / epsilon
            )
        return data

    @model_validator(mode="after")
    def _box_holds_two_cutoffs(self) -> StatePoint:
        if self.cutoff_sigma > 0.5 * self.box_length_sigma * (1 + 1e-9):
            raise ValueError(
                f"the box, {self.box_length_sigma:g} sigma, is under two cutoffs "
                f"({2 * self.cutoff_sigma:g} sigma): "
                "enlarge the box, lower the density, or set cutoff_sigma to at most "
                f"{self.box_length_sigma / 2:g}"
            )
        _ = self.pair_potential
        return self

    @property
    def pair_potential(self) -> PairPotential:
        """The Lennard-Jones end of the path, without N and the box."""
        return PairPotential(
            temperature_star=self.temperature_star,
            cutoff_sigma=self.cutoff_sigma,
            switch_sigma=self.switch_sigma,
            convention=self.convention,
        )

    @property
    def density_star(self) -> float:
        """rho* = N sigma^3 / V."""
        return self.n_particles / self.box_length_sigma**3

    @property
    def box_length_nm(self) -> float:
        """Edge of the box, in nm."""
        return self.box_length_sigma * self.sigma_nm

    @property
    def cutoff_nm(self) -> float:
        """Cutoff in nm, never above half the box by rounding (OpenMM refuses that)."""
        return min(self.cutoff_sigma * self.sigma_nm, 0.5 * self.box_length_nm)

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
        """The Lennard-Jones time sigma sqrt(m / epsilon), in ps (2.156 ps for argon)."""
        return self.sigma_nm * math.sqrt(
            self.mass_dalton * _DALTON_NM2_PS2_IN_KJ_MOL / self.epsilon_kj_mol
        )

    @property
    def label(self) -> str:
        """A short name for files: N40_L6_T1.25_switched."""
        return f"N{self.n_particles}_L{self.box_length_sigma:.6g}_T{self.temperature_star:.6g}_{self.convention}"

    def __str__(self) -> str:
        return (
            f"N = {self.n_particles}, L = {self.box_length_sigma:g} sigma (rho* = "
            f"{self.density_star:.4g}), "
            f"T* = {self.temperature_star:g}, {self.convention}"
        )


def _require_one(data: dict[str, Any], names: tuple[str, ...], what: str) -> None:
    given = [name for name in names if data.get(name) is not None]
    if len(given) != 1:
        found = "none of them is" if not given else f"{' and '.join(given)} are"
        raise ValueError(f"give {what} once, as one of {', '.join(names)}: {found} given")
