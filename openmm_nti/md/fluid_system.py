"""The Lennard-Jones fluid in plain OpenMM: its System, its Topology and positions to start from."""

from __future__ import annotations

from dataclasses import dataclass

import openmm
from openmm import app, unit

from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint


@dataclass(frozen=True)
class LJFluid:
    """The interacting fluid as an OpenMM script wants it: its System, Topology and positions to
    start from.

    Parameters
    ----------
    state
        N, box, temperature, convention, and what an atom is: argon by default.
    seed
        Of the positions.
    """

    state: StatePoint
    seed: int = 1

    def create_system(self) -> openmm.System:
        """The System of `lj_system`, anew at each call."""
        return lj_system(self.state)

    @property
    def topology(self) -> app.Topology:
        """N atoms of argon in the periodic box."""
        return lj_topology(self.state)

    @property
    def positions(self) -> unit.Quantity:
        """A lattice without overlaps, (N, 3), with its unit."""
        return unit.Quantity(lattice_positions_nm(self.state, self.seed), unit.nanometer)


def lj_system(state: StatePoint) -> openmm.System:
    """The fluid as an OpenMM System: one NonbondedForce in the periodic box of `state`."""
    system = openmm.System()
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(state.cutoff_nm)
    force.setUseSwitchingFunction(state.convention == "switched")
    force.setSwitchingDistance(state.switch_nm)
    force.setUseDispersionCorrection(False)
    for _ in range(state.n_particles):
        system.addParticle(state.mass_dalton)
        force.addParticle(0.0, state.sigma_nm, state.epsilon_kj_mol)
    system.addForce(force)
    system.setDefaultPeriodicBoxVectors(*_box_vectors(state))
    return system


def lj_topology(state: StatePoint) -> app.Topology:
    """The fluid as an OpenMM Topology: one chain of N residues AR with one argon atom each."""
    topology = app.Topology()
    chain = topology.addChain()
    argon = app.Element.getBySymbol("Ar")
    for _ in range(state.n_particles):
        topology.addAtom("Ar", argon, topology.addResidue("AR", chain))
    topology.setPeriodicBoxVectors(unit.Quantity(_box_vectors(state), unit.nanometer))
    return topology


def _box_vectors(state: StatePoint) -> list[openmm.Vec3]:
    length = state.box_length_nm
    return [openmm.Vec3(length, 0, 0), openmm.Vec3(0, length, 0), openmm.Vec3(0, 0, length)]
