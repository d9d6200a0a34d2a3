"""The interacting fluid in plain OpenMM: its System, its Topology and positions to start from."""

from __future__ import annotations

from dataclasses import dataclass

import openmm
from openmm import app, unit

from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.potentials.base import PairPotential
from openmm_nti.fluid.potentials.lennard_jones import LennardJones
from openmm_nti.fluid.state import StatePoint, check_supported


@dataclass(frozen=True)
class LJFluid:
    """The interacting fluid in the objects of an OpenMM script, with any pair potential.

    Parameters
    ----------
    state
        State point: N, box, temperature, convention and the kind of atom, by default argon.
    seed
        Random seed for the positions.
    """

    state: StatePoint
    seed: int = 1

    def create_system(self) -> openmm.System:
        """Return a new System from `fluid_system`."""
        return fluid_system(self.state)

    @property
    def topology(self) -> app.Topology:
        """N atoms of argon in the periodic box."""
        return fluid_topology(self.state)

    @property
    def positions(self) -> unit.Quantity:
        """A lattice without overlaps, (N, 3), with its unit."""
        return unit.Quantity(lattice_positions_nm(self.state, self.seed), unit.nanometer)


def fluid_system(state: StatePoint) -> openmm.System:
    """Return the fluid as an OpenMM System: one force in the periodic box of `state`."""
    check_supported(state)
    system = openmm.System()
    for _ in range(state.n_particles):
        system.addParticle(state.mass_dalton)
    system.addForce(_force(state))
    system.setDefaultPeriodicBoxVectors(*_box_vectors(state))
    return system


def _force(state: StatePoint) -> openmm.Force:
    """Return the pair potential as a force: OpenMM's own for Lennard-Jones, or an expression."""
    pair = state.pair
    if isinstance(pair, LennardJones):
        force = openmm.NonbondedForce()
        force.setUseDispersionCorrection(False)
        for _ in range(state.n_particles):
            force.addParticle(0.0, pair.sigma_nm, pair.epsilon_kj_mol)
    else:
        force = custom_force(pair, pair.openmm_expression())
        for _ in range(state.n_particles):
            force.addParticle([])
    set_cutoff(force, state)
    return force


def custom_force(pair: PairPotential, expression: str) -> openmm.CustomNonbondedForce:
    """Return a force by an expression that may name the tables of `pair`."""
    force = openmm.CustomNonbondedForce(expression)
    for name, table in pair.openmm_functions().items():
        force.addTabulatedFunction(name, openmm.Continuous1DFunction(*table))
    return force


def set_cutoff(
    force: openmm.NonbondedForce | openmm.CustomNonbondedForce, state: StatePoint
) -> None:
    """Give a force the cutoff and the switching function of `state`, with periodic boundaries."""
    force.setNonbondedMethod(type(force).CutoffPeriodic)
    force.setCutoffDistance(state.cutoff_nm)
    force.setUseSwitchingFunction(state.convention == "switched")
    force.setSwitchingDistance(state.switch_nm)


def leave_out(force: openmm.Force, particle: int, n_particles: int) -> None:
    """Take one particle out of the force of `fluid_system`; the others keep interacting."""
    if isinstance(force, openmm.NonbondedForce):
        _, sigma, _ = force.getParticleParameters(particle)
        force.setParticleParameters(particle, 0.0, sigma, 0.0)
        return
    others = [index for index in range(n_particles) if index != particle]
    force.addInteractionGroup(others, others)


def fluid_topology(state: StatePoint) -> app.Topology:
    """Return the fluid as an OpenMM Topology: one chain of N residues AR of one argon atom."""
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


def lj_system(state: StatePoint) -> openmm.System:
    """Return `fluid_system` of a state, under its name in version 0.1.0."""
    return fluid_system(state)


def lj_topology(state: StatePoint) -> app.Topology:
    """Return `fluid_topology` of a state, under its name in version 0.1.0."""
    return fluid_topology(state)
