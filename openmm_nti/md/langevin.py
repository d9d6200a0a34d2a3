"""Langevin dynamics in OpenMM at the temperature of a state point."""

from __future__ import annotations

import openmm

from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.platforms import fastest_platform, platform_properties


def langevin_context(
    system: openmm.System,
    state: StatePoint,
    *,
    timestep_star: float,
    friction_star: float,
    platform: str | None,
    thermostat_seed: int,
) -> openmm.Context:
    """Return a Context that samples `system` at the temperature of `state`.

    Parameters
    ----------
    system
        What moves.
    state
        Supplies the temperature and the unit of time.
    timestep_star, friction_star
        Time step in sigma sqrt(m / epsilon), and friction in the inverse of that.
    platform
        Name of the OpenMM platform; None for the fastest.
    thermostat_seed
        Decides the random forces.
    """
    integrator = openmm.LangevinMiddleIntegrator(
        state.temperature_kelvin,
        friction_star / state.time_unit_ps,
        timestep_star * state.time_unit_ps,
    )
    integrator.setRandomNumberSeed(thermostat_seed)
    found = fastest_platform(platform)
    return openmm.Context(system, integrator, found, platform_properties(found))
