"""`FreeEnergy`: one number as it should be published."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Quantity = Literal["beta_f_ex", "beta_mu_ex"]


@dataclass(frozen=True)
class FreeEnergy:
    """An estimate with everything that must stand beside it.

    Attributes
    ----------
    value
        The estimate, in kT.
    std_err
        Its standard error from decorrelated data, in kT. NaN is refused; infinity says honestly
        "unknown".
    method
        The estimator's name: `mbar_neural`, `ti_neural_md`, `neural_ti`, `neural_ti_bound`,
        `mbar_softcore`, ...
    convention
        The Hamiltonian at lambda = 1: `switched`, `truncated` or `full`.
    n_particles
        N of the system.
    quantity
        `beta_f_ex` for -ln(Z_N / V^N), `beta_mu_ex` for its difference from N to N + 1.
    diagnostics
        JSON-ready facts that let a reader judge the estimate (overlap, sample counts, warnings,
        costs).
    """

    value: float
    std_err: float
    method: str
    convention: str
    n_particles: int
    quantity: Quantity = "beta_f_ex"
    diagnostics: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(
                f"{self.method}: the estimate is {self.value}; look at its inputs for NaN or no "
                "overlap"
            )
        if math.isnan(self.std_err) or self.std_err < 0:
            raise ValueError(
                f"{self.method}: the standard error is {self.std_err}; it must be a number >= 0"
            )

    def to_dict(self) -> dict[str, Any]:
        """All fields as a plain dictionary, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> FreeEnergy:
        """The inverse of `to_dict`."""
        return cls(**data)

    def __str__(self) -> str:
        return (
            f"{self.quantity} = {self.value:.4g} +- {self.std_err:.2g} kT ({self.method}, "
            f"{self.convention})"
        )
