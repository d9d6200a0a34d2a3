"""Which pair potentials there are, and how to make one from its description.

A description is a mapping with a `type`: the tag of the union of all potentials. Files of this
folder are found by themselves; a subclass of `PairPotential` defined elsewhere counts as well.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import pkgutil
import reprlib
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from openmm_nti.fluid.potentials.base import PairPotential
from openmm_nti.fluid.units import in_units

_LENGTH, _ENERGY = "sigma_nm", "epsilon_kj_mol"


def potential_classes() -> dict[str, type[PairPotential]]:
    """Return all kinds of pair potential by their `type`."""
    _import_folder()
    found: dict[str, type[PairPotential]] = {}
    waiting: list[type[PairPotential]] = [PairPotential]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            if isinstance(tag := kind.model_fields["type"].default, str):
                found[tag] = kind
    return dict(sorted(found.items()))


def potential_class(tag: Any) -> type[PairPotential]:
    """Return the class of a `type`; ValueError with the types there are if it is unknown."""
    kinds = potential_classes()
    if isinstance(tag, str) and tag in kinds:
        return kinds[tag]
    raise ValueError(f"potential: type = {tag!r} is unknown: choose from {', '.join(kinds)}")


def _from_mapping(data: Any) -> Any:
    if not isinstance(data, Mapping):
        return data
    kind = potential_class(data.get("type", "lennard_jones"))
    return kind(**{name: value for name, value in data.items() if name != "type"})


def described(potential: Any) -> Any:
    """Return the description of a potential with the contents of its `file` in the file's place."""
    if not isinstance(potential, Mapping) or potential.get("file") is None:
        return potential
    kind = potential_class(potential.get("type", "lennard_jones"))
    if not hasattr(kind, "read"):
        return potential
    if not isinstance(file := potential["file"], str | Path):
        raise ValueError(f"potential: file = {file!r} must be the path of a file")  # noqa: TRY004
    rest = {name: value for name, value in potential.items() if name != "file"}
    try:
        return {**kind.read(file), **rest}
    except ValueError as error:
        raise ValueError(f"potential: {error}") from None


def first_problem(error: ValidationError) -> str:
    """Return the first thing that pydantic found: the key if there is one, why, what was given."""
    problem = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in problem["loc"])
    reason = problem["msg"].removeprefix("Value error, ")
    # Our own checks of a whole section name the value themselves.
    if problem["type"] != "value_error" or not isinstance(problem["input"], Mapping):
        reason += f" (given: {reprlib.repr(problem['input'])})"
    return f"{name}: {reason}" if name else reason


def natural_units(potential: Any) -> dict[str, float]:
    """Return the units in which a described potential is best counted; none if it has its own."""
    tag = potential.get("type", "lennard_jones") if isinstance(potential, Mapping) else None
    kind = potential_classes().get(tag) if isinstance(tag, str) else None
    if kind is None:
        return {}
    names = kind.parameter_names()
    if _LENGTH in names or _ENERGY in names:
        return {}
    try:
        return kind(**{k: v for k, v in potential.items() if k in names}).natural_units()
    except ValidationError:
        return {}  # what is wrong is said where the potential is checked


AnyPotential = Annotated[SerializeAsAny[PairPotential], BeforeValidator(_from_mapping)]


class PotentialForm(BaseModel):
    """The kind of a pair potential, with the parameters that are the same for all species.

    Size and energy of an atom, `sigma_nm` and `epsilon_kj_mol`, belong to the species instead.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str = "lennard_jones"

    @model_validator(mode="before")
    @classmethod
    def _plain_values(cls, data: Any) -> Any:
        data = described(data)
        if not isinstance(data, Mapping):
            return data
        return {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}

    @model_validator(mode="after")
    def _parameters_are_known(self) -> PotentialForm:
        given = list(self.model_extra or {})
        names = potential_class(self.type).parameter_names()
        shared = [name for name in names if name not in (_LENGTH, _ENERGY)]
        for name in given:
            if name not in shared:
                close = difflib.get_close_matches(name, shared, n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                takes = f"takes {', '.join(shared)}" if shared else "takes no other key"
                raise ValueError(f"potential: {self.type} {takes}, and not {name}{hint}")
        if missing := [name for name in self._required() if name not in given]:
            file = " or `file`" if hasattr(potential_class(self.type), "read") else ""
            raise ValueError(f"potential: {self.type} needs {', '.join(missing)}{file}: add it")
        try:
            self.build(1.0, 1.0)
        except ValidationError as error:
            raise ValueError(f"potential: {first_problem(error)}") from None
        return self

    @classmethod
    def of(cls, potential: PairPotential) -> PotentialForm:
        """Return the form of a potential: all of it but size and energy of the atoms."""
        shared = {
            name: value
            for name, value in potential.parameters().items()
            if name not in (_LENGTH, _ENERGY)
        }
        return cls(type=potential.type, **shared)

    def _required(self) -> list[str]:
        fields = potential_class(self.type).model_fields
        return [
            name
            for name, field in fields.items()
            if field.is_required() and name not in (_LENGTH, _ENERGY)
        ]

    def build(self, sigma_nm: float, epsilon_kj_mol: float) -> PairPotential:
        """Return the potential of atoms of this size and energy."""
        kind = potential_class(self.type)
        given = {_LENGTH: sigma_nm, _ENERGY: epsilon_kj_mol}
        own = {name: value for name, value in given.items() if name in kind.model_fields}
        return kind(**own, **(self.model_extra or {}))

    def parameter_label(self) -> list[str]:
        """Return the parameters for the name of a file: n14, m6; many numbers by a fingerprint."""
        return [
            f"{name}{value:g}" if isinstance(value, float | int) else _fingerprint(value)
            for name, value in sorted((self.model_extra or {}).items())
        ]

    def in_units(self, length_nm: float, energy_kj_mol: float) -> PotentialForm:
        """Return the same form with its parameters in other units."""
        return _in_units(self, length_nm, energy_kj_mol) if self.model_extra else self


@lru_cache(maxsize=64)
def _in_units(form: PotentialForm, length_nm: float, energy_kj_mol: float) -> PotentialForm:
    """Return `form` in other units; kept, because a table has many numbers and is asked often."""
    extra = form.model_extra or {}
    values = {k: in_units(k, v, length_nm, energy_kj_mol) for k, v in extra.items()}
    return PotentialForm(type=form.type, **values)


def _fingerprint(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:6]


@cache
def _import_folder() -> None:
    """Import every file of this folder, which defines its potentials."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")
