"""`FreeEnergy`: one number as it should be published, with a verdict and its diagnostics.

`uncertain` writes a number and its standard error as text, for reports, tables and verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

Quantity = Literal["beta_f_ex", "beta_mu_ex"]
Level = Literal["none", "good", "warn", "bad"]


@dataclass(frozen=True)
class Verdict:
    """A judgement on a number.

    Attributes
    ----------
    level
        `good`; `warn`: usable, with the caution that `text` gives; `bad`: not to be used; `none`:
        the question does not apply, or nobody judged.
    text
        Why, in a sentence.

    Raises
    ------
    ValueError
        If `level` is none of these.
    """

    level: Level
    text: str

    def __post_init__(self) -> None:
        if self.level not in get_args(Level):
            raise ValueError(f"level = {self.level!r}: choose one of {', '.join(get_args(Level))}")

    @classmethod
    def good_if(cls, condition: bool, good: str, otherwise: Verdict) -> Verdict:
        """Return `good` only where `condition` is true; NaN and other numbers are not."""
        return cls("good", good) if bool(condition == True) else otherwise  # noqa: E712


NOT_JUDGED = Verdict("none", "not judged")
_ROUNDING = 1e-12  # of a number, relative
_LARGE_KT = 10.0
TOO_LARGE = Verdict("bad", "unreliable: with an error this large the number says nothing")
NO_ERROR = Verdict("bad", "unreliable: the samples give no error; they are all equal, or too few")


class Diagnostics(BaseModel):
    """Facts that let a reader judge an estimate; each estimator has a subclass with its own fields.

    Fields can be read as attributes and, as in results.json, by name: `found["n_samples"]`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __getitem__(self, name: str) -> Any:
        """Return the field called `name`; KeyError where there is none."""
        if name not in self.keys():
            raise KeyError(name)
        return getattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def keys(self) -> list[str]:
        """Return the names of all fields."""
        return [*type(self).model_fields, *(self.model_extra or {})]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the field called `name`, or `default` where there is none."""
        return self[name] if name in self.keys() else default

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield names and values of all fields."""
        return ((name, self[name]) for name in self.keys())


class OtherDiagnostics(Diagnostics):
    """Diagnostics without a class of their own: any fields."""

    model_config = ConfigDict(frozen=True, extra="allow")


@dataclass(frozen=True)
class FreeEnergy:
    """An estimate with everything that must stand beside it.

    Attributes
    ----------
    value
        The estimate, in kT.
    std_err
        Its standard error from decorrelated data, in kT. Infinity says honestly "unknown". Zero, up
        to rounding, is no error: only samples that are all equal give it, so it becomes infinity.
    method
        Name of the estimator, such as `mbar_neural`.
    convention
        The Hamiltonian at lambda = 1: `switched`, `truncated` or `full`.
    n_particles
        N of the system.
    quantity
        `beta_f_ex` for -ln(Z_N / V^N), `beta_mu_ex` for its difference from N to N + 1.
    verdict
        What the estimator itself thinks of the number. Without an error it is never `good`.
    species
        Whose chemical potential it is, in a mixture; otherwise None.
    diagnostics
        Facts to judge the number by. A mapping given here becomes `OtherDiagnostics`.

    Raises
    ------
    ValueError
        If the value is not finite, or the standard error is negative or NaN.
    """

    value: float
    std_err: float
    method: str
    convention: str
    n_particles: int
    quantity: Quantity = "beta_f_ex"
    verdict: Verdict = NOT_JUDGED
    diagnostics: Diagnostics = field(default_factory=OtherDiagnostics)
    species: str | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(
                f"{self.method}: the estimate is {self.value}; look at its inputs for NaN or no "
                "overlap"
            )
        if not self.std_err >= 0:
            raise ValueError(
                f"{self.method}: the standard error is {self.std_err}; it must be a number >= 0"
            )
        if self.std_err <= _ROUNDING * max(1.0, abs(self.value)):
            object.__setattr__(self, "std_err", math.inf)
        if self.verdict.level == "good" and not self.std_err <= self._most_useful_error:
            object.__setattr__(self, "verdict", TOO_LARGE if self.has_error else NO_ERROR)
        object.__setattr__(self, "diagnostics", _typed(self.diagnostics))

    @property
    def _most_useful_error(self) -> float:
        """The error, in kT, above which a number says nothing: one wild sample can make it so."""
        particles = self.n_particles if self.quantity == "beta_f_ex" else 1
        return max(_LARGE_KT, float(particles))

    @property
    def has_error(self) -> bool:
        """Whether the standard error is a finite number."""
        return math.isfinite(self.std_err)

    @property
    def label(self) -> str:
        """The method, and of a mixture's chemical potential the species: `widom (Kr)`."""
        return self.method if self.species is None else f"{self.method} ({self.species})"

    @property
    def platform(self) -> str | None:
        """OpenMM's platform on which MD made the samples; None where none did, or nobody knows."""
        return self.diagnostics.get("platform")

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as a plain dictionary.

        The verdict's text is in the diagnostics as well, where readers of schema 1 look for it.
        """
        return {
            "value": self.value,
            "std_err": self.std_err,
            "method": self.method,
            "convention": self.convention,
            "n_particles": self.n_particles,
            "quantity": self.quantity,
            **({} if self.species is None else {"species": self.species}),
            "verdict": {"level": self.verdict.level, "text": self.verdict.text},
            "diagnostics": {**self.diagnostics.model_dump(), **self._verdict_of_schema_1()},
        }

    def _verdict_of_schema_1(self) -> dict[str, str]:
        return {} if self.verdict == NOT_JUDGED else {"verdict": self.verdict.text}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FreeEnergy:
        """Return the estimate that `to_dict` wrote; null stands for an infinite standard error.

        Keys of newer versions are ignored.
        """
        data = {key: value for key, value in data.items() if key in cls.__dataclass_fields__}
        facts = dict(data.get("diagnostics", {}))
        text = facts.pop("verdict", None)
        if "verdict" in data:
            data["verdict"] = Verdict(**data["verdict"])
        elif text is not None:  # a file of 0.1.0, whose verdict was a sentence and nothing else
            data["verdict"] = Verdict("none", text)
        if data["std_err"] is None:
            data["std_err"] = math.inf
        return cls(**{**data, "diagnostics": OtherDiagnostics(**facts)})

    def __str__(self) -> str:
        return (
            f"{self.quantity} = {minus(f'{self.value:.4g}')} ± {self.std_err:.2g} kT "
            f"({self.label}, {self.convention})"
        )


def _typed(diagnostics: Diagnostics | Mapping[str, Any]) -> Diagnostics:
    return OtherDiagnostics(**diagnostics) if isinstance(diagnostics, Mapping) else diagnostics


def uncertain(value: float, std_err: float | None) -> str:
    """Return a value and its standard error with two digits of the error: -21.10 ± 0.15."""
    if std_err is None or not math.isfinite(std_err):
        return f"{minus(f'{value:.2f}')} ± unknown"
    digits = 3 if std_err == 0 else min(6, max(0, 1 - math.floor(math.log10(std_err))))
    return f"{minus(f'{value:.{digits}f}')} ± {std_err:.{digits}f}"


def minus(number: str) -> str:
    """Return the text of a number with a true minus, as people read it."""
    return number.replace("-", "\u2212")
