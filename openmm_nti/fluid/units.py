"""Physical constants and the units that parameters count in."""

from __future__ import annotations

import reprlib
from typing import Any

GAS_CONSTANT_KJ_MOL_K = 8.31446261815324e-3
BAR_IN_KJ_MOL_NM3 = 0.0602214076  # 1 bar = 1e5 J / m^3
DALTON_NM2_PS2_IN_KJ_MOL = 1.0  # 1 Da nm^2 / ps^2 is 1 kJ/mol: OpenMM's unit system is coherent.


def in_units(name: str, value: Any, length_nm: float, energy_kj_mol: float) -> Any:
    """Return a parameter, or a tuple of them, in other units; its name says what it is.

    Names that end with `_nm` are lengths, those that end with `_kj_mol` are energies. Anything else
    is a pure number and stays as it is.
    """
    if isinstance(value, tuple):
        return tuple(in_units(name, each, length_nm, energy_kj_mol) for each in value)
    if name.endswith("_nm"):
        return value / length_nm
    if name.endswith("_kj_mol"):
        return value / energy_kj_mol
    return value


def positive_number(name: str, value: Any, largest: float = 1e6) -> float:
    """Return `value` as a number; ValueError with its `name` unless it is above 0 and sensible."""
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not 0.0 < number <= largest:
        shown = reprlib.repr(value)
        raise ValueError(f"{name} = {shown} must be a positive number of at most {largest:g}")
    return number


def require_one(data: dict[str, Any], names: tuple[str, ...], what: str) -> None:
    """Refuse `data` unless one of `names` has a value; those that are null are taken out."""
    given = [name for name in names if data.get(name) is not None]
    if len(given) != 1:
        found = "none of them is" if not given else f"{' and '.join(given)} are"
        raise ValueError(f"give {what} once, as one of {', '.join(names)}: {found} given")
    for name in names:
        if name not in given:
            data.pop(name, None)  # null: not given


def number_for_a_box(data: dict[str, Any]) -> int:
    """Return N for the size of the box; the field itself says what is wrong with a bad one."""
    try:
        return max(1, int(data["n_particles"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return 1
