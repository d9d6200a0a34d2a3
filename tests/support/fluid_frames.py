"""A short trajectory of the fluid by plain MD, as a user's program would make it."""

import mdtraj
import numpy as np
import openmm

from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.md.fluid_system import fluid_system, lj_topology


def simulated(state, n_frames, interval=40, seed=5):
    """Frames of the state as an mdtraj trajectory, not wrapped into the box."""
    unit_ps = state.time_unit_ps
    integrator = openmm.LangevinMiddleIntegrator(
        state.temperature_kelvin, 1 / unit_ps, 0.004 * unit_ps
    )
    integrator.setRandomNumberSeed(seed)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(fluid_system(state), integrator, platform)
    context.setPositions(lattice_positions_nm(state, seed))
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=100)
    context.setVelocitiesToTemperature(state.temperature_kelvin, seed)
    integrator.step(1500)
    frames = np.empty((n_frames, state.n_particles, 3), dtype=np.float32)
    for number in range(n_frames):
        integrator.step(interval)
        frames[number] = context.getState(positions=True).getPositions(asNumpy=True)._value
    return mdtraj.Trajectory(
        frames,
        mdtraj.Topology.from_openmm(lj_topology(state)),
        time=np.arange(float(n_frames)),
        unitcell_lengths=np.full((n_frames, 3), state.box_length_nm),
        unitcell_angles=np.full((n_frames, 3), 90.0),
    )
