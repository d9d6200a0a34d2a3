"""The interacting fluid in plain OpenMM: its System, its Topology and positions to start from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import openmm
from openmm import app, unit

from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.of_species import kind_table
from openmm_nti.fluid.potentials.base import PairPotential
from openmm_nti.fluid.potentials.lennard_jones import LennardJones
from openmm_nti.fluid.state import StatePoint

_BY_SYMBOL = app.Element._elements_by_symbol  # noqa: SLF001 (OpenMM has no list of them)
_ELEMENTS = frozenset(element.symbol for element in _BY_SYMBOL.values())


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
    return bare_system(state, _force(state))


def bare_system(state: StatePoint, *forces: openmm.Force) -> openmm.System:
    """Return a System of the state's particles in its periodic box, with `forces` alone."""
    system = openmm.System()
    for mass in state.masses_dalton:
        system.addParticle(float(mass))
    for force in forces:
        system.addForce(force)
    system.setDefaultPeriodicBoxVectors(*_box_vectors(state))
    return system


def _force(state: StatePoint) -> openmm.Force:
    """Return the pair potentials as a force: OpenMM's own for Lennard-Jones, or an expression."""
    if not _is_lorentz_berthelot(state):
        return pair_force(state, lambda pair: pair.openmm_expression())
    force = openmm.NonbondedForce()
    force.setUseDispersionCorrection(False)
    alike = [state.fluid.pair(name, name) for name in state.composition]
    for species in state.species_of_particles:
        pair = alike[species]
        force.addParticle(0.0, pair.sigma_nm, pair.epsilon_kj_mol)
    set_cutoff(force, state)
    return force


def _is_lorentz_berthelot(state: StatePoint) -> bool:
    """Return whether all pairs are Lennard-Jones by the mixing rule of a NonbondedForce."""
    fluid = state.fluid
    if fluid.pair_cutoffs or not all(isinstance(pair, LennardJones) for pair in state.pairs):
        return False
    return all(
        fluid.pair(a, b) == fluid.pair(a, a).mixed(fluid.pair(b, b))
        for a, b in combinations(fluid.names, 2)
    )


def pair_force(
    state: StatePoint, expression_of: Callable[[PairPotential], str]
) -> openmm.CustomNonbondedForce:
    """Return a force with the state's cutoff and particles, by an expression for each kind of pair.

    Parameters
    ----------
    state
        The fluid.
    expression_of
        Takes a pair potential in real units and returns an energy in kJ/mol of the distance r,
        which may name the tables of the potential.
    """
    force = openmm.CustomNonbondedForce(_expression(state, expression_of))
    for number, pair in enumerate(state.pairs):
        for name, table in pair.openmm_functions().items():
            force.addTabulatedFunction(
                _own_name(name, number, state), openmm.Continuous1DFunction(*table)
            )
    if state.is_mixture:
        n_species = len(state.composition)
        force.addPerParticleParameter("species")
        kinds = kind_table(n_species).ravel().astype(float)
        force.addTabulatedFunction(
            "kind_of", openmm.Discrete2DFunction(n_species, n_species, kinds)
        )
    for species in state.species_of_particles:
        force.addParticle([float(species)] if state.is_mixture else [])
    set_cutoff(force, state)
    return force


def _expression(state: StatePoint, expression_of: Callable[[PairPotential], str]) -> str:
    """Return one expression for all kinds of pairs, where the names of each kind are its own."""
    if not state.is_mixture:
        return expression_of(state.pairs[0])
    definitions: list[str] = []
    choice = "0"
    for number, pair in enumerate(state.pairs):
        energy = expression_of(pair)
        if state.fluid.pair_cutoffs:
            within = state.fluid.cutoffs[number].openmm_factor()
            energy = f"{times(energy, 'within')}; within = {within}"
        parts = f"energy = {energy}".split(";")
        names = [part.partition("=")[0].strip() for part in parts if part.strip()]
        for name in (*names, *pair.openmm_functions()):
            own = _own_name(name, number, state)
            parts = [re.sub(rf"\b{re.escape(name)}\b", own, part) for part in parts]
        definitions += [part for part in parts if part.strip()]
        choice = f"select(kind-{number}, {choice}, {_own_name('energy', number, state)})"
    return "; ".join([choice, *definitions, "kind = kind_of(species1, species2)"])


def times(expression: str, factor: str) -> str:
    """Return an expression of OpenMM with its energy multiplied by a factor."""
    energy, _, definitions = expression.partition(";")
    return f"{factor}*({energy}); {definitions}"


def _own_name(name: str, kind: int, state: StatePoint) -> str:
    """Return a name that no other kind of pair uses."""
    return f"{name}_of_kind_{kind}" if state.is_mixture else name


def set_cutoff(
    force: openmm.NonbondedForce | openmm.CustomNonbondedForce, state: StatePoint
) -> None:
    """Give a force the cutoff and the switching function of `state`, with periodic boundaries."""
    force.setNonbondedMethod(type(force).CutoffPeriodic)
    force.setCutoffDistance(state.cutoff_nm)
    own_cutoffs = bool(state.fluid.pair_cutoffs)  # then the expression has them
    force.setUseSwitchingFunction(state.convention == "switched" and not own_cutoffs)
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
    """Return the fluid as an OpenMM Topology: one chain, and a residue for each atom.

    One species is called argon; those of a mixture have their own names.
    """
    topology = app.Topology()
    chain = topology.addChain()
    names = list(state.composition) if state.is_mixture else ["Ar"]
    for species in state.species_of_particles:
        name = names[species]
        element = app.Element.getBySymbol(name) if name in _ELEMENTS else None
        topology.addAtom(name, element, topology.addResidue(name.upper(), chain))
    topology.setPeriodicBoxVectors(unit.Quantity(_box_vectors(state), unit.nanometer))
    return topology


def _box_vectors(state: StatePoint) -> list[openmm.Vec3]:
    x, y, z = (float(edge) for edge in state.edges_nm)
    return [openmm.Vec3(x, 0, 0), openmm.Vec3(0, y, 0), openmm.Vec3(0, 0, z)]


def lj_system(state: StatePoint) -> openmm.System:
    """Return `fluid_system` of a state, under its name in version 0.1.0."""
    return fluid_system(state)


def lj_topology(state: StatePoint) -> app.Topology:
    """Return `fluid_topology` of a state, under its name in version 0.1.0."""
    return fluid_topology(state)
