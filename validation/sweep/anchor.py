"""The free energy that a sweep is anchored at: two numbers, or what a run quotes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from openmm_nti.files import read_json
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.validation.report import judge
from openmm_nti.validation.sweep.thermodynamics import Anchor


def at_temperature(state: StatePoint, temperature_star: float) -> StatePoint:
    """Return the same fluid, N and box at another temperature."""
    return StatePoint.model_validate({**state.model_dump(), "temperature_star": temperature_star})


def anchor_from(given: str, state: StatePoint) -> Anchor:
    """Return the anchor that a user gave for the fluid of `state`.

    Parameters
    ----------
    given
        `VALUE,ERROR` at the temperature of `state`, or the path of a results.json that has a state
        point of the same fluid, N and box, at any temperature.
    state
        The fluid.

    Raises
    ------
    ValueError
        If it is neither, or the file has no such state point or no number to quote.
    """
    parts = given.split(",")
    try:
        value, error = (float(part) for part in parts)
    except ValueError:
        return _quoted(Path(given), state)
    return Anchor(state.temperature_star, value, error)


def _quoted(path: Path, state: StatePoint) -> Anchor:
    """Return the number that the results at `path` quote for the fluid of `state`."""
    if path.is_dir():
        path /= "results.json"
    if not path.is_file():
        raise ValueError(f"anchor = {path} is neither VALUE,ERROR nor a results.json of a run")
    results = read_json(path)
    try:
        points = [
            (StatePoint.model_validate(point["diagnostics"]["state"]), _estimates(point))
            for point in results["state_points"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"anchor = {path} is no results.json of a run: name another") from error
    for there, found in points:
        if not _same_isochore(there, state):
            continue
        quote = judge.quote(found)
        if quote is None:
            raise ValueError(
                f"anchor = {path}: no exact estimate at {there} has an error; give VALUE,ERROR"
            )
        best = quote.estimate
        source = f"{best.method} in {path}"
        return Anchor(there.temperature_star, best.value, best.std_err, source)
    raise ValueError(
        f"anchor = {path}: none of its {len(points)} state points is of this fluid, N and box "
        f"({state})"
    )


def _estimates(point: dict[str, Any]) -> dict[str, FreeEnergy]:
    return {
        name: FreeEnergy.from_dict({"n_particles": point["n_particles"], **entry})
        for name, entry in point["beta_f_ex"].items()
    }


def _same_isochore(one: StatePoint, other: StatePoint) -> bool:
    """Return whether two state points differ in temperature alone, up to rounding."""
    mine, theirs = (state.model_dump() for state in (one, other))
    mine["temperature_star"] = theirs["temperature_star"]
    return mine.keys() == theirs.keys() and all(_same(mine[key], theirs[key]) for key in mine)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)
