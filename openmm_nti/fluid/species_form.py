"""Reads a state point whose species have names: the `species:` form of a configuration.

temperature_kelvin: 149.75
box_length_nm: 2.043          # or box_nm: [x, y, z], or density_star
species:
  Ar: {n_particles: 40, mass_dalton: 39.948, sigma_nm: 0.3405, epsilon_kj_mol: 0.99607}
potential: {type: lennard_jones, cutoff_nm: 1.0215, switch_nm: 0.85125}
pairs: {Ar-Kr: {epsilon_kj_mol: 1.1}}    # where the mixing rule does not hold
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from pydantic import ValidationError

from openmm_nti.fluid.cutoff import Cutoff
from openmm_nti.fluid.fluid import Fluid
from openmm_nti.fluid.mixture import Mixture
from openmm_nti.fluid.potentials.base import PairPotential
from openmm_nti.fluid.potentials.registry import first_problem, natural_units, potential_class
from openmm_nti.fluid.units import positive_number, require_one

STATE_KEYS = (
    "temperature_kelvin",
    "temperature_star",
    "box_length_nm",
    "box_nm",
    "density_star",
    "species",
    "potential",
    "pairs",
)
_CUTOFF_KEYS = ("cutoff_nm", "switch_nm", "cutoff_sigma", "switch_sigma", "convention")
_BOX_KEYS = ("box_length_nm", "box_nm", "density_star")
_MIXING = ("lorentz_berthelot",)
_CUTOFF_SIGMA, _SWITCH_SHARE = 3.0, 2.5 / 3.0


def plain_form(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain keys of `StatePoint` for a state point in the `species:` form.

    Raises
    ------
    ValueError
        In one line that names the key and what to change.
    """
    _check_keys("system", data, STATE_KEYS)
    species, potential = _mapping(data, "species"), _mapping(data, "potential")
    if not species:
        raise ValueError("species: missing: give at least one, such as Ar: {...}")
    kind = potential_class(potential.get("type", "lennard_jones"))
    shared = {
        name: potential[name]
        for name in kind.parameter_names()
        if name in potential and name not in ("sigma_nm", "epsilon_kj_mol")
    }
    _check_keys("potential", potential, ("type", "mixing", *_CUTOFF_KEYS, *kind.parameter_names()))
    if potential.get("mixing", _MIXING[0]) not in _MIXING:
        raise ValueError(
            f"potential: mixing = {potential['mixing']!r} is unknown: choose {_MIXING[0]}, or give "
            "the pairs of unlike species in pairs"
        )
    own = [name for name in kind.parameter_names() if name not in shared]
    for name, entry in species.items():
        _check_species(name, entry, own)
    given = dict(data)
    require_one(given, _BOX_KEYS, "the size of the box")
    box = {key: given[key] for key in _BOX_KEYS if key in given}
    if len(species) == 1:
        if data.get("pairs"):
            raise ValueError("pairs: there is one species; give its parameters in species")
        return _one_species(data, species, potential, kind, shared, box)
    return _several(data, species, potential, kind, shared, box)


def numbers_of_particles(system: Any) -> list[Any]:
    """Return a mapping for each N, where the one species of `system` has a list of them."""
    species = system.get("species") if isinstance(system, dict) else None
    if isinstance(species, dict) and len(species) == 1:
        ((name, entry),) = species.items()
        numbers = entry.get("n_particles") if isinstance(entry, dict) else None
        if isinstance(numbers, list) and numbers:
            return [
                {**system, "species": {name: {**entry, "n_particles": number}}}
                for number in numbers
            ]
    return [system]


def _one_species(
    data: Mapping[str, Any],
    species: Mapping[str, Any],
    potential: Mapping[str, Any],
    kind: type[PairPotential],
    shared: Mapping[str, Any],
    box: Mapping[str, Any],
) -> dict[str, Any]:
    """Return plain keys for one species."""
    ((name, entry),) = species.items()
    plain: dict[str, Any] = {"species_name": name, **box}
    extra = dict(shared)
    for key, value in entry.items():
        in_form = key not in ("n_particles", "mass_dalton", "sigma_nm", "epsilon_kj_mol")
        (extra if in_form else plain)[key] = value
    form = {"type": kind.model_fields["type"].default, **extra}
    for key in ("temperature_kelvin", "temperature_star"):
        if data.get(key) is not None:
            plain[key] = data[key]
    sigma = positive_number("sigma_nm", entry.get("sigma_nm", _length_unit(form)))
    unit, cutoff, switch = _ends(potential)
    per_sigma = 1.0 if unit == "sigma" else sigma
    if cutoff is not None:
        plain["cutoff_sigma"] = cutoff / per_sigma
        plain["switch_sigma"] = _SWITCH_SHARE * plain["cutoff_sigma"]
    if switch is not None:
        plain["switch_sigma"] = switch / per_sigma
    if "convention" in potential:
        plain["convention"] = potential["convention"]
    return {**plain, "potential": form}


def _length_unit(form: Mapping[str, Any]) -> float:
    return natural_units(form).get("sigma_nm", 0.3405)


def _several(
    data: Mapping[str, Any],
    species: Mapping[str, Any],
    potential: Mapping[str, Any],
    kind: type[PairPotential],
    shared: Mapping[str, Any],
    box: Mapping[str, Any],
) -> dict[str, Any]:
    """Return plain keys, in units of the first species, with all the rest in `mixture`."""
    for key in ("temperature_star", "density_star"):
        if data.get(key) is not None:
            raise ValueError(
                f"{key} needs one species: give temperature_kelvin and box_length_nm or box_nm"
            )
    if data.get("temperature_kelvin") is None:
        raise ValueError("the temperature is missing: give temperature_kelvin")
    first = next(iter(species.values()))
    sigma = positive_number("sigma_nm", first.get("sigma_nm", 0.3405))
    unit, length, switch = _ends(potential)
    per_unit = sigma if unit == "sigma" else 1.0
    cutoff_nm = length * per_unit if length is not None else _CUTOFF_SIGMA * sigma
    switch_nm = switch * per_unit if switch is not None else _SWITCH_SHARE * cutoff_nm
    convention = potential.get("convention", "switched")
    alike: dict[str, tuple[float, PairPotential]] = {}
    for name, entry in species.items():
        own = {k: v for k, v in entry.items() if k not in ("n_particles", "mass_dalton")}
        mass = positive_number(f"species: {name}: mass_dalton", entry["mass_dalton"])
        alike[name] = (mass, _built(f"species: {name}", kind, {**shared, **own}))
    numbers = [_count(name, entry["n_particles"]) for name, entry in species.items()]
    cutoff = Cutoff(cutoff_nm=cutoff_nm, switch_nm=switch_nm, convention=convention)
    fluid = Fluid.mixture(alike, cutoff, _pairs(data, alike))
    if unit == "sigma":
        fluid = fluid.cut_in_sigma(cutoff_nm / sigma, switch_nm / sigma)
    reference = {k: first[k] for k in ("sigma_nm", "epsilon_kj_mol", "mass_dalton") if k in first}
    return {
        **reference,
        **box,
        "n_particles": sum(numbers),
        "temperature_kelvin": data["temperature_kelvin"],
        "cutoff_sigma": fluid.cutoff.cutoff_nm / sigma,
        "switch_sigma": fluid.cutoff.switch_nm / sigma,
        "convention": convention,
        "mixture": Mixture(fluid=fluid, composition=tuple(numbers)),
    }


def _ends(potential: Mapping[str, Any]) -> tuple[str, float | None, float | None]:
    """Return the unit of the cutoff, `nm` or each pair's `sigma`, cutoff and switching distance.

    What is not given is None.
    """
    given = [name for name in _CUTOFF_KEYS[:4] if potential.get(name) is not None]
    units = {name.partition("_")[2] for name in given}
    if len(units) > 1:
        raise ValueError(
            f"potential: {' and '.join(given)} are given: give both distances in nm, or both in "
            "each pair's sigma"
        )
    unit = units.pop() if units else "nm"
    found = {
        name.partition("_")[0]: positive_number(f"potential: {name}", potential[name])
        for name in given
    }
    return unit, found.get("cutoff"), found.get("switch")


def _pairs(
    data: Mapping[str, Any], alike: Mapping[str, tuple[float, PairPotential]]
) -> dict[frozenset[str], PairPotential]:
    """Return the potentials that `pairs` gives, each over what the mixing rule would say."""
    unlike = {f"{a}-{b}": (a, b) for a, b in combinations(alike, 2)}
    names = {**unlike, **{f"{b}-{a}": (a, b) for a, b in unlike.values()}}
    found: dict[frozenset[str], PairPotential] = {}
    for key, given in _mapping(data, "pairs").items():
        if key not in names:
            raise ValueError(
                f"pairs: {key} is no pair of two different species: choose from {', '.join(unlike)}"
            )
        first, second = names[key]
        mixed = alike[first][1].mixed(alike[second][1])
        kind = potential_class(given.get("type", mixed.type))
        base = mixed.parameters() if isinstance(mixed, kind) else {}
        own = {name: value for name, value in given.items() if name != "type"}
        _check_keys(f"pairs: {key}", own, kind.parameter_names())
        found[frozenset((first, second))] = _built(f"pairs: {key}", kind, {**base, **own})
    return found


def _built(where: str, kind: type[PairPotential], parameters: dict[str, Any]) -> PairPotential:
    try:
        return kind(**parameters)
    except ValidationError as error:
        raise ValueError(f"{where}: {first_problem(error)}") from None


def _check_species(name: str, entry: Any, parameters: list[str]) -> None:
    if not isinstance(entry, Mapping):  # a ValueError, for pydantic reports no other
        raise ValueError(  # noqa: TRY004
            f"species: {name} = {reprlib.repr(entry)} must be a mapping with n_particles, "
            "mass_dalton, ..."
        )
    wanted = ("n_particles", "mass_dalton", *parameters)
    _check_keys(f"species: {name}", entry, wanted)
    if missing := [key for key in wanted if entry.get(key) is None]:
        raise ValueError(f"species: {name} lacks {', '.join(missing)}: add it")


def _check_keys(where: str, given: Mapping[str, Any], valid: Any) -> None:
    for key in given:
        if key not in valid:
            close = difflib.get_close_matches(str(key), list(valid), n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ValueError(f"{where}: unknown key {key}; {hint}valid keys: {', '.join(valid)}")


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(  # noqa: TRY004
            f"{key} = {value!r} must be a mapping of names to values"
        )
    return value


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"species: {name}: n_particles = {value!r} must be a whole number above 0")
    return value
