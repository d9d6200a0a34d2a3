"""The pair function of a System's forces, read by evaluating copies with two particles."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import openmm
from openmm import unit

from openmm_nti.fluid.potentials.table import Table

PairForce: TypeAlias = Any  # a NonbondedForce or a CustomNonbondedForce
Kinds = tuple[tuple[float, ...], tuple[float, ...]]  # parameters of both particles
_N_START, _N_MOST = 1001, 16_001
_CORE_KT, _SEEN_KT = 500.0, 10.0
_TOLERANCE_KT = 1e-4
_SHELL = 1e-9  # relative distance at which "at the cutoff" is still within it


class Tabulated(NamedTuple):
    """A pair function as a table, and how far the table is off between its rows."""

    table: Table
    error_kt: float


def parameters_of(force: PairForce, particle: int) -> tuple[float, ...]:
    """Return the parameters of a particle as numbers in OpenMM's units."""
    values = force.getParticleParameters(particle)
    return tuple(
        float(value.value_in_unit_system(unit.md_unit_system)) if unit.is_quantity(value) else value
        for value in values
    )


def tabulate(
    forces: Sequence[PairForce],
    kinds: Sequence[Kinds],
    cutoff_nm: float,
    kt_kj_mol: float,
) -> Tabulated:
    """Return the sum of the forces' pair functions, with their switching, up to the cutoff.

    Rows are added until the spline between them is right to 1e-4 kT where the energy is below 10
    kT, at distances that are not in the table.

    Parameters
    ----------
    forces
        Forces of the System.
    kinds
        For each force the parameters of the two particles.
    cutoff_nm
        The cutoff of all forces.
    kt_kj_mol
        kT.

    Raises
    ------
    ValueError
        If the energy is not finite, or more rows do not make the table right.
    """
    energy_of = _evaluator(forces, kinds, cutoff_nm)
    start = _first_distance(energy_of, cutoff_nm, kt_kj_mol)
    n, before = _N_START, math.inf
    while True:
        r = np.linspace(start, cutoff_nm, n)
        middle = 0.5 * (r[1:] + r[:-1])
        inside = np.append(r[:-1], cutoff_nm * (1 - _SHELL))
        energies, between = energy_of(inside), energy_of(middle)
        if not (np.isfinite(energies).all() and np.isfinite(between).all()):
            place = float(inside[np.argmax(~np.isfinite(energies))])
            raise ValueError(
                f"the pair energy is not finite at r = {place:g} nm: check the force's expression"
            )
        table = Table(r_nm=tuple(r.tolist()), u_kj_mol=tuple(energies.tolist()))
        seen = between < _SEEN_KT * kt_kj_mol
        off = np.abs(table.energy_numpy(middle**2) - between)[seen].max(initial=0.0) / kt_kj_mol
        if off <= _TOLERANCE_KT:
            return Tabulated(table, float(off))
        if n >= _N_MOST or off > 0.5 * before:
            raise ValueError(
                f"a table of {n:,} rows is still off by {off:.2g} kT: the pair energy has a jump "
                "or a kink within the cutoff, and cannot be read"
            )
        n, before = min(2 * n - 1, _N_MOST), off


def _first_distance(
    energy_of: Callable[[np.ndarray], np.ndarray], cutoff_nm: float, kt_kj_mol: float
) -> float:
    """Return where the table begins: at 500 kT, or near zero if the core is softer."""
    grid = cutoff_nm * np.linspace(0.001, 1.0, 1000)
    energies = energy_of(grid[:-1])
    if np.isnan(energies[-1]):
        raise ValueError("the pair energy is not finite at the cutoff: check the expression")
    too_high = ~(energies < _CORE_KT * kt_kj_mol)  # NaN is too high as well
    if not too_high.any():
        return float(grid[0])
    last = int(np.flatnonzero(too_high)[-1])
    if last >= len(grid) - 3:
        raise ValueError("the pair energy is above 500 kT up to the cutoff: check temperature")
    return float(grid[last])


def _evaluator(
    forces: Sequence[PairForce], kinds: Sequence[Kinds], cutoff_nm: float
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of distances in nm that gives the energies in kJ/mol."""
    system = openmm.System()
    edge = 4.0 * cutoff_nm
    system.setDefaultPeriodicBoxVectors(*(edge * np.eye(3)))
    for _ in range(2):
        system.addParticle(1.0)
    for force, parameters in zip(forces, kinds, strict=True):
        system.addForce(_two_particles(force, parameters))
    platform = openmm.Platform.getPlatform("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)

    def energies(distances: np.ndarray) -> np.ndarray:
        found = []
        for distance in distances:
            context.setPositions([[0.0, 0.0, 0.0], [float(distance), 0.0, 0.0]])
            energy = context.getState(energy=True).getPotentialEnergy()
            found.append(energy.value_in_unit(unit.kilojoule_per_mole))
        return np.asarray(found)

    return energies


def _two_particles(force: PairForce, kinds: Kinds) -> openmm.Force:
    """Return a force between two particles of these kinds alone."""
    if isinstance(force, openmm.NonbondedForce):
        pair = openmm.NonbondedForce()
        pair.setUseDispersionCorrection(False)
    else:
        pair = openmm.CustomNonbondedForce(force.getEnergyFunction())
        pair.setUseLongRangeCorrection(False)
        for k in range(force.getNumPerParticleParameters()):
            pair.addPerParticleParameter(force.getPerParticleParameterName(k))
        for k in range(force.getNumGlobalParameters()):
            name, value = force.getGlobalParameterName(k), force.getGlobalParameterDefaultValue(k)
            pair.addGlobalParameter(name, value)
        for k in range(force.getNumTabulatedFunctions()):
            function = copy.deepcopy(force.getTabulatedFunction(k))
            pair.addTabulatedFunction(force.getTabulatedFunctionName(k), function)
        for k in range(force.getNumComputedValues()):
            pair.addComputedValue(*force.getComputedValueParameters(k))
    for parameters in kinds:
        pair.addParticle(*(parameters if isinstance(pair, openmm.NonbondedForce) else [parameters]))
    pair.setNonbondedMethod(pair.CutoffPeriodic)
    pair.setCutoffDistance(force.getCutoffDistance())
    pair.setUseSwitchingFunction(force.getUseSwitchingFunction())
    pair.setSwitchingDistance(force.getSwitchingDistance())
    return pair
