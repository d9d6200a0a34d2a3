"""What in a System is no fluid of pairs, said in one line each."""

from __future__ import annotations

import numpy as np
import openmm
from openmm import app, unit

from openmm_nti.md.own_system.pair_function import PairForce, parameters_of
from openmm_nti.md.system_checks import check_constant_volume

_PAIR_FORCES = (openmm.NonbondedForce, openmm.CustomNonbondedForce)
# What changes neither the energy of a configuration nor the ensemble.
_HARMLESS = ("CMMotionRemover", "AndersenThermostat")
# Energies of single particles or of the whole, which may stay beside the path.
_KEPT = ("CustomExternalForce", "CustomCentroidBondForce", "CustomCVForce", "RMSDForce")
_PERIODIC = {
    openmm.NonbondedForce: {
        openmm.NonbondedForce.CutoffPeriodic,
        openmm.NonbondedForce.Ewald,
        openmm.NonbondedForce.PME,
    },
    openmm.CustomNonbondedForce: {openmm.CustomNonbondedForce.CutoffPeriodic},
}
_TOLERANCE = 1e-6  # relative, of lengths


def check_particles(system: openmm.System, topology: app.Topology | None) -> None:
    """Refuse a System whose particles are not free single atoms."""
    n = system.getNumParticles()
    if n < 2:
        raise ValueError(f"the System has {n} particles: a fluid has two or more")
    if topology is not None and topology.getNumAtoms() != n:
        raise ValueError(
            f"the topology has {topology.getNumAtoms()} atoms, and the System {n} particles"
        )
    if topology is not None and topology.getNumBonds():
        raise ValueError(f"the topology has {topology.getNumBonds()} bonds: atoms alone are read")
    if sites := sum(system.isVirtualSite(i) for i in range(n)):
        raise ValueError(f"the System has {sites} virtual sites: particles must move freely")
    if system.getNumConstraints():
        raise ValueError(
            f"the System has {system.getNumConstraints()} constraints: molecules are not read"
        )
    if fixed := [i for i in range(n) if not mass_of(system, i) > 0]:
        raise ValueError(f"particle {fixed[0]} has no mass: all particles must move")
    check_constant_volume(system)


def mass_of(system: openmm.System, particle: int) -> float:
    """Return the mass of a particle, in Da."""
    return float(system.getParticleMass(particle).value_in_unit(unit.dalton))


def edges_of(system: openmm.System) -> tuple[float, float, float]:
    """Return the edges of a rectangular box, in nm; equal ones are equal to the last bit."""
    box = np.array([v.value_in_unit(unit.nanometer) for v in system.getDefaultPeriodicBoxVectors()])
    if np.abs(box - np.diag(np.diag(box))).max() > _TOLERANCE * box.max():
        raise ValueError("the box is triclinic: only rectangular boxes are read")
    x, y, z = (float(edge) for edge in np.diag(box))
    if max(x, y, z) - min(x, y, z) <= _TOLERANCE * max(x, y, z):
        y = z = x
    return x, y, z


def sorted_forces(system: openmm.System) -> tuple[list[int], list[str]]:
    """Return indices of the pair forces, and names of others that may stay; refuse the rest."""
    pairs, kept = [], []
    for index, force in enumerate(system.getForces()):
        name = type(force).__name__
        if isinstance(force, _PAIR_FORCES):
            _check_pair_force(force)
            pairs.append(index)
        elif name in _KEPT:
            kept.append(name)
        elif name not in _HARMLESS and _has_terms(force):
            raise ValueError(
                f"the System has a {name}: only pair forces (NonbondedForce, "
                f"CustomNonbondedForce) are read, and {', '.join(_KEPT)} may stay beside them"
            )
    if not pairs:
        raise ValueError("the System has no NonbondedForce and no CustomNonbondedForce")
    return pairs, kept


def _has_terms(force: openmm.Force) -> bool:
    """Tell whether a force of bonds, angles or torsions does anything."""
    for count in ("getNumBonds", "getNumAngles", "getNumTorsions"):
        if hasattr(force, count):
            return bool(getattr(force, count)())
    return True


def _check_pair_force(force: PairForce) -> None:
    name = type(force).__name__
    if force.getNonbondedMethod() not in _PERIODIC[type(force)]:
        raise ValueError(
            f"the {name} has no periodic cutoff: set its method to CutoffPeriodic "
            "(NoCutoff, CutoffNonPeriodic and LJPME are not read)"
        )
    if isinstance(force, openmm.NonbondedForce):
        if force.getNumExceptions():
            raise ValueError(
                f"the NonbondedForce has {force.getNumExceptions()} exceptions: pairs that "
                "interact otherwise than the rest are not read"
            )
        if force.getNumParticleParameterOffsets() or force.getNumExceptionParameterOffsets():
            raise ValueError(
                "the NonbondedForce has parameters that depend on global ones (offsets): set them "
                "as plain parameters"
            )
        charges = {parameters_of(force, i)[0] for i in range(force.getNumParticles())}
        if charges != {0.0}:
            raise ValueError(
                f"the NonbondedForce has charges of {min(charges):g} to {max(charges):g} e: "
                "charged particles are not read"
            )
        return
    if force.getNumExclusions():
        raise ValueError(
            f"the {name} has {force.getNumExclusions()} exclusions: pairs that interact otherwise "
            "than the rest are not read"
        )
    everyone = set(range(force.getNumParticles()))
    for k in range(force.getNumInteractionGroups()):
        if any(set(group) != everyone for group in force.getInteractionGroupParameters(k)):
            raise ValueError(
                f"the {name} has interaction groups that leave particles out: they are not read"
            )
    if force.getNumInteractionGroups() > 1:
        raise ValueError(f"the {name} has several interaction groups: they are not read")
