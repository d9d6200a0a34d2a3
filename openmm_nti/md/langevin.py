"""Langevin dynamics in OpenMM at the temperature of a state point."""

from __future__ import annotations

import numpy as np
import openmm
from openmm import unit

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
        System to simulate.
    state
        State point that supplies the temperature and the unit of time.
    timestep_star, friction_star
        Time step in sigma sqrt(m / epsilon), and friction in the inverse of that.
    platform
        Name of the OpenMM platform; None for the fastest.
    thermostat_seed
        Random seed of the thermostat.
    """
    integrator = openmm.LangevinMiddleIntegrator(
        state.temperature_kelvin,
        friction_star / state.time_unit_ps,
        timestep_star * state.time_unit_ps,
    )
    integrator.setRandomNumberSeed(thermostat_seed)
    chosen = fastest_platform(platform)
    return openmm.Context(system, integrator, chosen, platform_properties(chosen))


def frames_sigma(
    context: openmm.Context, state: StatePoint, n_frames: int, steps_between: int
) -> np.ndarray:
    """Return frames of a simulation that goes on, (F, N, 3), sigma, so many steps apart."""
    frames = np.empty((n_frames, state.n_particles, 3))
    for frame in frames:
        context.getIntegrator().step(steps_between)
        now = context.getState(positions=True).getPositions(asNumpy=True)
        frame[:] = now.value_in_unit(unit.nanometer) / state.sigma_nm
    return frames
