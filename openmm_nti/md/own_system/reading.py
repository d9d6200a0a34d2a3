"""`read_system`: the state point of a user's own System, or the reason why it has none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from openmm_nti.fluid.cutoff import Cutoff
from openmm_nti.fluid.fluid import Fluid
from openmm_nti.fluid.mixture import Mixture
from openmm_nti.fluid.potentials.base import PairPotential
from openmm_nti.fluid.potentials.lennard_jones import LennardJones
from openmm_nti.fluid.potentials.table import Table
from openmm_nti.fluid.species import Species
from openmm_nti.fluid.state import StatePoint
from openmm_nti.fluid.units import GAS_CONSTANT_KJ_MOL_K
from openmm_nti.md.own_system.checks import check_particles, edges_of, sorted_forces
from openmm_nti.md.own_system.kinds import ParticleKind, kinds_of_particles
from openmm_nti.md.own_system.pair_function import PairForce, tabulate


@dataclass(frozen=True)
class SystemReading:
    """What a System is as a fluid.

    Attributes
    ----------
    state
        The state point.
    replaced
        Indices of the forces that the state point describes, which a path stands in for.
    kept
        Names of other forces with an energy. They are no part of the fluid's free energy.
    table_error_kt
        Largest error of the table that was read, where the energy is below 10 kT; 0 for the
        Lennard-Jones form, which is taken as it is.
    correction_kj_mol
        The constant that a long-range correction adds to the energy at this N and V. It is left
        out of the state point.
    particles
        Indices in the System of the state's particles, which has those of a species in a row.
    """

    state: StatePoint
    replaced: tuple[int, ...]
    kept: tuple[str, ...]
    table_error_kt: float
    correction_kj_mol: float
    particles: tuple[int, ...]


def read_system(
    system: openmm.System,
    topology: app.Topology | None = None,
    *,
    temperature: Any,
) -> StatePoint:
    """Return the state point of a System whose particles interact in pairs.

    Parameters
    ----------
    system
        A System with a NonbondedForce, CustomNonbondedForces, or both, in a periodic box.
    topology
        Names the atoms; None for X.
    temperature
        The temperature, in K or as a Quantity: a System does not hold it.

    Raises
    ------
    ValueError
        With the reason, if the System is more than a fluid of pairs: charges, bonds, constraints,
        exceptions, barostats, virtual sites, a triclinic box, forces that are not known.
    """
    return describe_system(system, topology, temperature=temperature).state


def describe_system(
    system: openmm.System,
    topology: app.Topology | None = None,
    *,
    temperature: Any,
) -> SystemReading:
    """Return the state point of a System, with what was left out; arguments as `read_system`."""
    kelvin = _kelvin(temperature)
    check_particles(system, topology)
    edges = edges_of(system)
    pairs, kept = sorted_forces(system)
    forces = [system.getForce(index) for index in pairs]
    cutoff_nm = _common_cutoff(forces)
    switch_nm = _switch(forces[0])
    kt = GAS_CONSTANT_KJ_MOL_K * kelvin
    kinds = kinds_of_particles(system, forces, topology)
    functions, error = _pair_functions(forces, kinds, cutoff_nm, kt)
    first = functions[0]
    units = {"sigma_nm": first.size, "epsilon_kj_mol": _energy_unit(first)}
    if isinstance(first, LennardJones):
        convention = "truncated" if switch_nm is None else "switched"
    else:  # what ends at zero, by a switching function or its expression, does so up to rounding
        ends = max(abs(table.u_kj_mol[-1]) for table in functions if isinstance(table, Table))
        convention = "shifted" if ends < 1e-5 * kt else "truncated"
    given: dict[str, Any] = {
        "n_particles": system.getNumParticles(),
        "box_nm": edges,
        "temperature_kelvin": kelvin,
        "mass_dalton": kinds[0].mass_dalton,
        "cutoff_sigma": cutoff_nm / units["sigma_nm"],
        "convention": convention,
    }
    switch = switch_nm or 0.8 * cutoff_nm
    if isinstance(first, LennardJones):
        given |= {**units, "switch_sigma": switch / units["sigma_nm"]}
    if len(kinds) > 1:
        cutoff = Cutoff(cutoff_nm=cutoff_nm, switch_nm=switch, convention=convention)
        species = tuple(Species(name=kind.name, mass_dalton=kind.mass_dalton) for kind in kinds)
        fluid = Fluid(species=species, pairs=tuple(functions), cutoff=cutoff)
        numbers = tuple(len(kind.particles) for kind in kinds)
        mixture = Mixture(fluid=fluid, composition=numbers)
        given |= {**units, "switch_sigma": switch / units["sigma_nm"], "mixture": mixture}
    else:
        given["species_name"] = kinds[0].name
        if isinstance(first, Table):
            given["potential"] = first.model_dump()
    return SystemReading(
        StatePoint(**given),
        tuple(pairs),
        tuple(kept),
        error,
        _correction(system, pairs),
        tuple(particle for kind in kinds for particle in kind.particles),
    )


def _pair_functions(
    forces: Sequence[PairForce], kinds: Sequence[ParticleKind], cutoff_nm: float, kt: float
) -> tuple[list[PairPotential], float]:
    """Return the potential of each pair a <= b of kinds, and the largest error of a table in kT."""
    pairs = list(combinations_with_replacement(kinds, 2))
    if len(forces) == 1 and isinstance(forces[0], openmm.NonbondedForce):
        alike: dict[str, PairPotential] = {kind.name: _lennard_jones(kind) for kind in kinds}
        return [
            alike[a.name] if a is b else alike[a.name].mixed(alike[b.name]) for a, b in pairs
        ], 0.0
    tables = [
        tabulate(forces, list(zip(a.parameters, b.parameters, strict=True)), cutoff_nm, kt)
        for a, b in pairs
    ]
    return [found.table for found in tables], max(found.error_kt for found in tables)


def _lennard_jones(kind: ParticleKind) -> LennardJones:
    _, sigma, epsilon = kind.parameters[0]
    if not (sigma > 0 and epsilon > 0):
        raise ValueError(
            f"sigma = {sigma:g} nm and epsilon = {epsilon:g} kJ/mol of {kind.name}: such particles "
            "do not interact in a NonbondedForce; leave them out"
        )
    return LennardJones(sigma_nm=sigma, epsilon_kj_mol=epsilon)


def _energy_unit(pair: PairPotential) -> float:
    """Return the energy in which a fluid is counted, in kJ/mol."""
    return float(pair.natural_units().get("epsilon_kj_mol", getattr(pair, "epsilon_kj_mol", 1.0)))


def _kelvin(temperature: Any) -> float:
    value = temperature
    if unit.is_quantity(temperature):
        value = temperature.value_in_unit(unit.kelvin)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e7:
        raise ValueError(f"temperature = {temperature!r} must be a number of kelvins above 0")
    return float(value)


def _common_cutoff(forces: Sequence[PairForce]) -> float:
    found = {force.getCutoffDistance().value_in_unit(unit.nanometer) for force in forces}
    if len(found) > 1:
        raise ValueError(
            f"the pair forces differ in cutoff, {min(found):g} to {max(found):g} nm: give all of "
            "them the same"
        )
    return float(found.pop())


def _switch(force: PairForce) -> float | None:
    """Return the switching distance in nm, None without a switching function."""
    if not force.getUseSwitchingFunction():
        return None
    return float(force.getSwitchingDistance().value_in_unit(unit.nanometer))


def _correction(system: openmm.System, pairs: Sequence[int]) -> float:
    """Return the energy of long-range corrections: that of the same System without them, less."""
    without = openmm.XmlSerializer.clone(system)
    has_any = False
    for index in pairs:
        force = without.getForce(index)
        if isinstance(force, openmm.NonbondedForce):
            has_any = has_any or force.getUseDispersionCorrection()
            force.setUseDispersionCorrection(False)
        else:
            has_any = has_any or force.getUseLongRangeCorrection()
            force.setUseLongRangeCorrection(False)
    if not has_any:
        return 0.0
    n = system.getNumParticles()
    side = math.ceil(n ** (1 / 3) - 1e-9)
    sites = np.stack(np.unravel_index(np.arange(n), (side,) * 3), axis=-1) / side
    positions = sites * np.array(edges_of(system))
    energies = []
    for each in (system, without):
        alone = openmm.XmlSerializer.clone(each)
        for index in reversed(range(alone.getNumForces())):
            if index not in pairs:
                alone.removeForce(index)
        platform = openmm.Platform.getPlatform("Reference")
        context = openmm.Context(alone, openmm.VerletIntegrator(0.001), platform)
        context.setPositions(positions)
        energy = context.getState(energy=True).getPotentialEnergy()
        energies.append(energy.value_in_unit(unit.kilojoule_per_mole))
    return float(energies[0] - energies[1])
