"""Which state points make a fluid and its crystal, and which of them have a free energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from openmm_nti.fluid.state import StatePoint

PhaseName = Literal["fluid", "crystal"]
PHASES: tuple[PhaseName, PhaseName] = ("fluid", "crystal")
_FEWEST = 2  # densities of a phase


def phase_of(state: StatePoint) -> PhaseName:
    """Return `fluid` or `crystal`."""
    return "fluid" if state.crystal is None else "crystal"


def check_states(states: Sequence[StatePoint]) -> None:
    """Refuse state points that make no two phases of one substance at one temperature.

    Raises
    ------
    ValueError
        In one line that says what to change.
    """
    first = states[0]
    if any(one.is_mixture for one in states):
        raise ValueError("a fluid and its crystal are of one species here, not of a mixture")
    if any(one.pair_potential != first.pair_potential for one in states):
        raise ValueError(
            "the state points differ in temperature, potential, cutoff or convention: give the "
            "same to all, and other densities"
        )
    if not first.is_continuous:
        raise ValueError(
            f"convention = {first.convention}: the energy jumps at the cutoff, so frames have no "
            "pressure; use switched, shifted or force_shifted"
        )
    for phase in PHASES:
        densities = {one.density_star for one in states if phase_of(one) == phase}
        if len(densities) < _FEWEST:
            raise ValueError(
                f"{len(densities)} densities of the {phase}: list state points at {_FEWEST} "
                "densities or more of the fluid, and of the crystal (with the key `crystal`)"
            )


def with_free_energies(states: Sequence[StatePoint], *, everywhere: bool) -> list[StatePoint]:
    """Return the state points that have a free energy: all, or the middle one of each phase.

    Of two in the middle it is the denser.
    """
    if everywhere:
        return list(states)
    found = []
    for phase in PHASES:
        own = [state for state in states if phase_of(state) == phase]
        own.sort(key=lambda state: state.density_star)
        found.append(own[len(own) // 2])
    return found
