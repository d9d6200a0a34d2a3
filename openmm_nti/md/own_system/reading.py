"""`read_system`: the state point of a user's own System, or the reason why it has none."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from openmm_nti.fluid.state import StatePoint
from openmm_nti.fluid.units import GAS_CONSTANT_KJ_MOL_K
from openmm_nti.md.own_system.checks import check_particles, edges_of, mass_of, sorted_forces
from openmm_nti.md.own_system.pair_function import PairForce, parameters_of, tabulate


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
    """

    state: StatePoint
    replaced: tuple[int, ...]
    kept: tuple[str, ...]
    table_error_kt: float
    correction_kj_mol: float


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
    kinds = [_one_kind(force, topology) for force in forces]
    kt = GAS_CONSTANT_KJ_MOL_K * kelvin
    masses = {round(mass_of(system, i), 6) for i in range(system.getNumParticles())}
    if len(masses) > 1:
        raise ValueError(
            f"the particles have masses of {min(masses):g} to {max(masses):g} Da: this version "
            "runs one species"
        )
    if len(set(edges)) > 1:
        raise ValueError(
            f"the box has edges of {edges[0]:g}, {edges[1]:g} and {edges[2]:g} nm: this version "
            "runs cubic boxes"
        )
    given: dict[str, Any] = {
        "n_particles": system.getNumParticles(),
        "box_length_nm": edges[0],
        "temperature_kelvin": kelvin,
        "mass_dalton": masses.pop(),
        "species_name": _name(topology),
    }
    error = 0.0
    if len(forces) == 1 and isinstance(forces[0], openmm.NonbondedForce):
        _, sigma, epsilon = kinds[0]
        if not (sigma > 0 and epsilon > 0):
            raise ValueError(
                f"sigma = {sigma:g} nm and epsilon = {epsilon:g} kJ/mol: nothing interacts in this "
                "NonbondedForce"
            )
        given |= {"sigma_nm": sigma, "epsilon_kj_mol": epsilon}
        convention = "truncated" if switch_nm is None else "switched"
        given["switch_sigma"] = (switch_nm or 0.8 * cutoff_nm) / sigma
    else:
        table, error = tabulate(forces, [(kind, kind) for kind in kinds], cutoff_nm, kt)
        given["potential"] = table.model_dump()
        sigma = table.natural_units()["sigma_nm"]
        # What ends at zero, by a switching function or its expression, does so up to rounding.
        convention = "shifted" if abs(table.u_kj_mol[-1]) < 1e-5 * kt else "truncated"
    state = StatePoint(**given, cutoff_sigma=cutoff_nm / sigma, convention=convention)
    return SystemReading(state, tuple(pairs), tuple(kept), error, _correction(system, pairs))


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


def _one_kind(force: PairForce, topology: app.Topology | None) -> tuple[float, ...]:
    """Return the parameters of all particles; ValueError if they are of several kinds."""
    kinds = Counter(parameters_of(force, i) for i in range(force.getNumParticles()))
    if len(kinds) > 1:
        some = "; ".join(
            f"{number} with {', '.join(f'{value:g}' for value in kind)}"
            for kind, number in kinds.most_common(3)
        )
        raise ValueError(
            f"the {type(force).__name__} has {len(kinds)} kinds of particles ({some}): this "
            "version runs one species"
        )
    if topology is not None and len({atom.name for atom in topology.atoms()}) > 1:
        names = sorted({atom.name for atom in topology.atoms()})
        raise ValueError(
            f"the topology names atoms {', '.join(names[:4])}, which interact alike: give them one "
            "name if they are one species"
        )
    return next(iter(kinds))


def _name(topology: app.Topology | None) -> str:
    if topology is None:
        return "X"
    return str(next(topology.atoms()).name) or "X"


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
