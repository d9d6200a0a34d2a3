"""Which state points make a fluid and its crystal, and which of them have a free energy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.sweep.anchor import at_temperature

PhaseName = Literal["fluid", "crystal"]
PHASES: tuple[PhaseName, PhaseName] = ("fluid", "crystal")
_FEWEST = 2  # densities of a phase
_FURTHEST = 1.36  # between neighbours in T*; with a factor of 2, a polynomial misses a by 0.06 kT


def phase_of(state: StatePoint) -> PhaseName:
    """Return `fluid` or `crystal`."""
    return "fluid" if state.crystal is None else "crystal"


def check_states(states: Sequence[StatePoint]) -> None:
    """Refuse state points that make no two phases of one substance at each temperature.

    Raises
    ------
    ValueError
        In one line that says what to change.
    """
    first = states[0]
    if any(one.is_mixture for one in states):
        raise ValueError("a fluid and its crystal are of one species here, not of a mixture")
    for one in states:
        if at_temperature(one, first.temperature_star).pair_potential != first.pair_potential:
            raise ValueError(
                "the state points differ in potential, cutoff or convention: give the same to all, "
                "and other densities"
            )
    if not first.is_continuous:
        raise ValueError(
            f"convention = {first.convention}: the energy jumps at the cutoff, so frames have no "
            "pressure; use switched, shifted or force_shifted"
        )
    temperatures = temperatures_of(states)
    for temperature in temperatures:
        for phase in PHASES:
            densities = {one.density_star for one in _of(states, phase, temperature)}
            if len(densities) < _FEWEST:
                raise ValueError(
                    f"{len(densities)} densities of the {phase} at T* = {temperature:g}: list "
                    f"state points at {_FEWEST} densities or more of the fluid, and of the crystal "
                    "(with the key `crystal`)"
                )
    for low, high in pairwise(temperatures):
        if high > _FURTHEST * low:
            raise ValueError(
                f"T* = {low:g} and {high:g} are too far apart for one curve: add temperatures in "
                f"between, each at most {_FURTHEST:g} times the last"
            )


def temperatures_of(states: Sequence[StatePoint]) -> list[float]:
    """Return T* of the states, ascending, each once."""
    return sorted({state.temperature_star for state in states})


def _of(
    states: Sequence[StatePoint], phase: PhaseName, temperature_star: float
) -> list[StatePoint]:
    """Return the states of a phase at a temperature, by density."""
    own = [
        state
        for state in states
        if phase_of(state) == phase and state.temperature_star == temperature_star
    ]
    return sorted(own, key=lambda state: state.density_star)


def with_free_energies(states: Sequence[StatePoint], *, everywhere: bool) -> list[StatePoint]:
    """Return the state points that have a free energy: all, or the middle one of each phase.

    It is at the middle temperature. Of two in the middle it is the denser and the colder.
    """
    if everywhere:
        return list(states)
    temperatures = temperatures_of(states)
    middle = temperatures[(len(temperatures) - 1) // 2]
    chosen = [_of(states, phase, middle) for phase in PHASES]
    return [own[len(own) // 2] for own in chosen]
