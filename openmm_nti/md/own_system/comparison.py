"""Energies of frames by a user's System and by the state point that was read from it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import openmm
from openmm import unit

from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.md.own_system.reading import SystemReading

_TOLERANCE_KT = 0.01  # a particle


class Comparison(NamedTuple):
    """Reduced potentials of the same frames in two ways, both (F,), kT."""

    by_system: np.ndarray
    by_state: np.ndarray

    @property
    def largest_kt(self) -> float:
        """The largest difference of one frame."""
        return float(np.abs(self.by_system - self.by_state).max())


def compare_energies(
    system: openmm.System, reading: SystemReading, positions_nm: np.ndarray
) -> Comparison:
    """Return beta U of frames by the System's own pair forces, and by what was read of them.

    Parameters
    ----------
    system
        The System that was read.
    reading
        By `describe_system`.
    positions_nm
        Frames, (F, N, 3), nm, in the order of the state's particles.

    Raises
    ------
    ValueError
        If they differ by more than 0.01 kT a particle, or one is not finite.
    """
    state = reading.state
    alone = openmm.XmlSerializer.clone(system)
    for index in reversed(range(alone.getNumForces())):
        if index not in reading.replaced:
            alone.removeForce(index)
    platform = openmm.Platform.getPlatform("Reference")
    context = openmm.Context(alone, openmm.VerletIntegrator(0.001), platform)
    own = []
    in_system = np.empty(positions_nm.shape[1:])
    for frame in positions_nm:
        in_system[list(reading.particles)] = frame
        context.setPositions(in_system)
        energy = context.getState(energy=True).getPotentialEnergy()
        own.append(energy.value_in_unit(unit.kilojoule_per_mole) - reading.correction_kj_mol)
    compared = Comparison(
        np.asarray(own) / state.kt_kj_mol,
        reduced_potential_numpy(np.asarray(positions_nm) / state.sigma_nm, state),
    )
    if not compared.largest_kt <= _TOLERANCE_KT * state.n_particles:
        raise ValueError(
            f"the System's energy and that of the pair function read from it differ by "
            f"{compared.largest_kt:.3g} kT: the System is not the fluid that was read"
        )
    return compared
