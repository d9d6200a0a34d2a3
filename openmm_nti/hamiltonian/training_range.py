"""`TrainingRange`: the range of states that a model was trained for."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from openmm_nti.fluid.reduced import ReducedPotential
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian.family_range import FamilyRange

if TYPE_CHECKING:
    from openmm_nti.hamiltonian.known_terms import NoisedFluid

Model = TypeVar("Model", bound="NoisedFluid")
_RELATIVE = 1e-5  # rounding of a density, or of units


@dataclass(frozen=True)
class TrainingRange:
    """The temperatures and densities that the training data cover.

    Attributes
    ----------
    temperature_star
        Lowest and highest T*; equal for a model of one temperature.
    density_star
        Lowest and highest rho*; None where no data are known.
    family
        What several fluids have in common, if the training had several.
    """

    temperature_star: tuple[float, float]
    density_star: tuple[float, float] | None = None
    family: FamilyRange | None = None

    @classmethod
    def of(cls, potential: ReducedPotential, trained_on: Sequence[StatePoint]) -> Self:
        """Return the range of a model of `potential` with data at the states `trained_on`."""
        temperatures = [potential.temperature_star, *(s.temperature_star for s in trained_on)]
        densities = [state.density_star for state in trained_on]
        several = len({state.pair_potential for state in trained_on}) > 1
        return cls(
            (min(temperatures), max(temperatures)),
            (min(densities), max(densities)) if densities else None,
            FamilyRange.of(trained_on) if several else None,
        )

    def differences(self, potential: ReducedPotential, state: StatePoint) -> list[str]:
        """Return in words how `state` differs from what a model of `potential` serves.

        Kind of potential, species, cutoff and convention must be equal; the temperature must be in
        range. A model of several fluids has a `FamilyRange` instead.
        """
        if self.family is not None:
            return self.family.differences(state)
        theirs = state.pair_potential
        low, high = self.temperature_star
        inside = low * (1 - _RELATIVE) <= theirs.temperature_star <= high * (1 + _RELATIVE)
        return [
            f"{name} = {_shown(getattr(potential, name))} in the model, "
            f"{_shown(getattr(theirs, name))} in the state"
            for name in potential.differing(theirs)
            if not (name == "temperature_star" and inside)
            and not (name == "pairs" and potential.species != theirs.species)
        ]

    def holds_density(self, state: StatePoint) -> bool:
        """Return whether the density is in range, or the range is unknown."""
        if self.density_star is None or self.family is not None:
            return True  # in units of sigma it says nothing of other fluids
        low, high = self.density_star
        return low * (1 - _RELATIVE) <= state.density_star <= high * (1 + _RELATIVE)

    def card(self) -> dict[str, Any]:
        """Return the range as an entry of a model's card."""
        densities = self.density_star
        return {
            "temperature_star": list(self.temperature_star),
            "density_star": None if densities is None else list(densities),
            **({"family": self.family.card()} if self.family is not None else {}),
        }

    @classmethod
    def from_card(cls, card: dict[str, Any]) -> Self:
        """Return the range that a model's card contains, as written by `card`."""
        low, high = card["temperature_star"]
        densities = card["density_star"]
        return cls(
            (float(low), float(high)),
            None if densities is None else (float(densities[0]), float(densities[1])),
            FamilyRange.from_card(card["family"]) if "family" in card else None,
        )


def check_model_fits(model: NoisedFluid, state: StatePoint) -> None:
    """Warn if a state lies outside of what the model's network was trained for.

    Its tables are made for the state, so whatever is exact stays exact.
    """
    if not model.has_network:
        return
    trained = model.training_range
    differences = trained.differences(model.potential, state)
    if not differences and not trained.holds_density(state):
        low, high = trained.density_star or (0.0, 0.0)
        outside = f"rho* = {state.density_star:.4g} is outside of the model's training range"
        differences = [f"{outside}, {low:.4g} to {high:.4g}"]
    if differences:
        other = "other fluids" if trained.family is not None else "another fluid"
        warnings.warn(
            f"the network was trained for {other}: {', '.join(differences)}. Bounds and "
            "exact estimators (path_bar, mbar_neural) stay right with larger errors, neural_ti "
            "does not",
            stacklevel=3,
        )


def fit_model(model: Model, state: StatePoint) -> Model:
    """Return `model` with the tables of `state`, after the warning of `check_model_fits`.

    Raises
    ------
    ValueError
        If the box is too small for the model.
    """
    check_model_fits(model, state)
    return model.bind(state)


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return ", ".join(str(_shown(one)) for one in value) or "one"
    return getattr(value, "type", value)
