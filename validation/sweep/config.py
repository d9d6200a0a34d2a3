"""`SweepConfig`: the key `sweep` of a configuration."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from openmm_nti.fluid.state import StatePoint
from openmm_nti.fluid.units import require_one
from openmm_nti.settings import Settings
from openmm_nti.validation.estimators.registry import estimator
from openmm_nti.validation.sweep.beside import check_method

_KEYS = ("temperature_star", "temperature_kelvin")
Star = Annotated[float, Field(ge=1e-3, le=1e4)]
Kelvin = Annotated[float, Field(ge=1e-3, le=1e6)]


class SweepConfig(Settings):
    """The temperatures at which a sweep shows the fluid, and what stands beside the data."""

    temperature_star: tuple[Star, ...] | None = Field(
        default=None, min_length=1, description="Temperatures T* = kT / epsilon."
    )
    temperature_kelvin: tuple[Kelvin, ...] | None = Field(
        default=None, min_length=1, description="The temperatures in K instead."
    )
    method: str | None = Field(
        default=None,
        description="Estimator by which the model stands beside the data, such as path_bar.",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_list(cls, data: Any) -> Any:
        """Read a list as temperatures T*."""
        if isinstance(data, list | tuple):
            return {"temperature_star": data}
        if not isinstance(data, dict):
            raise ValueError(  # noqa: TRY004 (pydantic reports no TypeError)
                "must be a list of temperatures T*, such as [1.25, 1.5, 2]"
            )
        return data

    @model_validator(mode="after")
    def _complete(self) -> Self:
        require_one(dict(self), _KEYS, "the temperatures of `sweep`")
        if self.method is not None:
            check_method(estimator(self.method))
        return self

    def temperatures(self, state: StatePoint) -> list[float]:
        """Return the temperatures T* for the fluid of `state`."""
        if self.temperature_star is not None:
            return list(self.temperature_star)
        unit = state.temperature_star / state.temperature_kelvin
        return [unit * kelvin for kelvin in self.temperature_kelvin or ()]
