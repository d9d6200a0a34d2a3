"""Checks at the start that a System, and a Context's thermostat, suit the learned force.

U(x, lambda) between the ends is a free energy at one temperature. Works, exchanges and reduced
potentials mean something only for configurations of that temperature.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import openmm
from openmm import unit

from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.openmm_energy import BOX_TOLERANCE, checked_particles

_TOLERANCE = 1e-4  # relative: 0.02 K of 150 K
_MOLAR_GAS_CONSTANT = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
# Integrators that sample another distribution than Boltzmann's of the potential energy.
_OTHER_ENSEMBLES = {
    "QTBIntegrator": "adds the zero-point energy of quantum mechanics",
    "RPMDIntegrator": "samples copies of the system coupled by springs",
    "AMDIntegrator": "adds a boost to the energy",
    "AMDForceGroupIntegrator": "adds a boost to the energy",
    "DualAMDIntegrator": "adds a boost to the energy",
}
_CONSTANT_ENERGY = {"VerletIntegrator", "VariableVerletIntegrator", "MTSIntegrator"}


def check_system(
    system: openmm.System,
    state: StatePoint,
    *,
    particles: Sequence[int] | np.ndarray | None = None,
    n_replicas: int = 1,
) -> None:
    """Refuse a System in which the learned force would be wrong or meaningless.

    Parameters
    ----------
    system
        System with its particles and its default box; it may contain other forces of any kind.
    state
        State point for which the force is made.
    particles
        Indices of the particles on which the force acts, (n_replicas * N,); None for all.
    n_replicas
        Number of independent replicas, as for `OpenMMEnergy`.

    Raises
    ------
    ValueError
        If the System has a barostat, another number of particles, or a box that is triclinic, under
        two cutoffs or not that of `state`. If `particles` are bad indices. If the force would
        act on virtual sites, particles without mass or constrained particles.
    """
    check_constant_volume(system)
    _check_box(system, state)
    n_system = system.getNumParticles()
    if particles is None:
        if n_system != n_replicas * state.n_particles:
            raise ValueError(
                f"the System has {n_system} particles, but the force acts on "
                f"{n_replicas * state.n_particles}: say which by particles=[...], or change "
                "n_particles of the state"
            )
        chosen = list(range(n_system))
    else:
        chosen = checked_particles(particles, state, n_replicas)
        if max(chosen) >= n_system:
            raise ValueError(
                f"particles holds {max(chosen)}, but the System's last particle is {n_system - 1}"
            )
    check_free(system, chosen)


def check_constant_volume(system: openmm.System) -> None:
    """Refuse a System with a barostat of any kind, by a ValueError with the reason."""
    for force in system.getForces():
        if "Barostat" in type(force).__name__:
            raise ValueError(
                f"the System has a {type(force).__name__}: the noise of a given lambda depends on "
                "the box, so the learned path needs constant volume; remove the barostat"
            )


def _check_box(system: openmm.System, state: StatePoint) -> None:
    vectors = np.array(
        [v.value_in_unit(unit.nanometer) for v in system.getDefaultPeriodicBoxVectors()]
    )
    edges = np.diagonal(vectors)
    tolerance = BOX_TOLERANCE * state.box_length_nm
    if not np.abs(vectors - np.diag(edges)).max() <= tolerance:
        raise ValueError(
            "the System's box is triclinic, and the model takes minimum images edge by edge: use a "
            "rectangular box"
        )
    if not edges.min() >= 2.0 * state.cutoff_nm * (1.0 - 1e-6):
        raise ValueError(
            f"the System's box, {edges.min():g} nm, is under two cutoffs of the model "
            f"({2.0 * state.cutoff_nm:g} nm): enlarge it, or set it by "
            "setDefaultPeriodicBoxVectors if it is still OpenMM's default of 2 nm"
        )
    if not np.abs(edges - state.edges_nm).max() <= tolerance:
        found, wanted = (" x ".join(f"{edge:g}" for edge in box) for box in (edges, state.edges_nm))
        raise ValueError(
            f"the System's box is {found} nm, but the state's is {wanted} nm: set it by "
            "setDefaultPeriodicBoxVectors, or give the state box_nm = [x, y, z]"
        )


def check_free(system: openmm.System, chosen: Sequence[int]) -> None:
    """Refuse particles of the force that cannot move freely, by a ValueError with the reason.

    Those are virtual sites, particles without mass and constrained particles.
    """
    for index in chosen:
        if system.isVirtualSite(index):
            raise ValueError(
                f"particle {index} is a virtual site: leave it out, for the force acts on "
                "particles that move by themselves"
            )
        if not system.getParticleMass(index).value_in_unit(unit.dalton) > 0.0:
            raise ValueError(
                f"particle {index} has no mass and would never move: give it one, or leave it out"
            )
    ours = set(chosen)
    for number in range(system.getNumConstraints()):
        first, second, _ = system.getConstraintParameters(number)
        if first in ours or second in ours:
            raise ValueError(
                f"particles {first} and {second} are constrained: at lambda = 0 the particles of "
                "the force are an ideal gas, and must be free; remove the constraint"
            )


def check_thermostat(
    context: openmm.Context, kt_kj_mol: float, particles: Sequence[int] = ()
) -> float:
    """Refuse a Context that does not sample at the model's temperature; return that temperature.

    A CustomIntegrator does not tell its temperature, unless it has a global variable kT in kJ/mol,
    as MTSLangevinIntegrator has. Of any other a warning says what it must do.

    Parameters
    ----------
    context
        Context that is to be sampled.
    kt_kj_mol
        The model's kT.
    particles
        Indices of the particles that must have a thermostat.

    Returns
    -------
    float
        The temperature in kelvin.

    Raises
    ------
    ValueError
        If there is no thermostat, one has another temperature, or the integrator samples another
        distribution.
    """
    wanted = kt_kj_mol / _MOLAR_GAS_CONSTANT
    integrator = _current(context.getIntegrator())
    kind = type(integrator).__name__
    if kind in _OTHER_ENSEMBLES:
        raise ValueError(
            f"{kind} {_OTHER_ENSEMBLES[kind]}, so its configurations are not those of the model's "
            f"energy: use LangevinMiddleIntegrator({wanted:.8g}, 1.0, 0.002)"
        )
    found = {**_of_integrator(integrator, particles), **_of_andersen(context)}
    for name, kelvin in found.items():
        if not abs(kelvin - wanted) <= _TOLERANCE * wanted:
            raise ValueError(
                f"{name} is at {kelvin:.8g} K, but the model's temperature is {wanted:.8g} K "
                "(state.temperature_kelvin): set that"
            )
    if found:
        return next(iter(found.values()))
    if isinstance(integrator, openmm.CustomIntegrator) and kind not in _CONSTANT_ENERGY:
        warnings.warn(
            f"{kind} does not tell its temperature: make sure that it samples at {wanted:.8g} K, "
            "or give it a global variable kT in kJ/mol",
            stacklevel=3,
        )
        return wanted
    raise ValueError(
        f"{kind} has no thermostat, or one that is switched off: sample at the model's temperature "
        f"by LangevinMiddleIntegrator({wanted:.8g}, 1.0, 0.002)"
    )


def check_integrated(context: openmm.Context, group: int) -> None:
    """Refuse an integrator that moves the particles without the forces of a force group.

    Raises
    ------
    ValueError
        Naming the integrator and the group.
    """
    integrator = _current(context.getIntegrator())
    taken = bool(integrator.getIntegrationForceGroups() >> group & 1)
    if isinstance(integrator, openmm.CustomIntegrator):
        steps = map(integrator.getComputationStep, range(integrator.getNumComputations()))
        # f1 is the force of group 1, and f that of the groups that the integrator takes.
        names = rf"\b(f|energy)({group}{'|' * taken})\b"
        taken = any(re.search(names, expression) for _, _, expression in steps)
    if not taken:
        raise ValueError(
            f"{type(integrator).__name__} leaves out force group {group}, in which the learned "
            "force is, so it samples another fluid: add the group to the integrator's, or call "
            "setForceGroup on the force before the Context is made"
        )


def _current(integrator: Any) -> Any:
    """Return the integrator that takes the steps: one of several in a CompoundIntegrator."""
    if isinstance(integrator, openmm.CompoundIntegrator):
        return integrator.getIntegrator(integrator.getCurrentIntegrator())
    return integrator


def _of_integrator(integrator: Any, particles: Sequence[int]) -> dict[str, float]:
    """Return the temperatures of an integrator's thermostats in kelvin, by their names."""
    kind = type(integrator).__name__
    if isinstance(integrator, openmm.CustomIntegrator):
        names = [
            integrator.getGlobalVariableName(number)
            for number in range(integrator.getNumGlobalVariables())
        ]
        if "kT" not in names:
            return {}
        return {kind: integrator.getGlobalVariableByName("kT") / _MOLAR_GAS_CONSTANT}
    if isinstance(integrator, openmm.NoseHooverIntegrator):
        return _of_chains(integrator, particles)
    for friction in ("getFriction", "getDefaultFriction"):
        if hasattr(integrator, friction):
            rate = getattr(integrator, friction)().value_in_unit(unit.picosecond**-1)
            if not rate > 0.0:
                return {}
    if not hasattr(integrator, "getTemperature"):
        return {}
    return {kind: integrator.getTemperature().value_in_unit(unit.kelvin)}


def _of_chains(integrator: Any, particles: Sequence[int]) -> dict[str, float]:
    """Return the temperatures of Nose-Hoover chains; none if they leave out some `particles`."""
    chains = list(map(integrator.getThermostat, range(integrator.getNumThermostats())))
    covered = {atom for chain in chains for atom in chain.getThermostatedAtoms()}
    covered |= {atom for chain in chains for pair in chain.getThermostatedPairs() for atom in pair}
    everything = any(not len(chain.getThermostatedAtoms()) for chain in chains)
    if not (everything or covered.issuperset(particles)):
        return {}
    kind, found = type(integrator).__name__, {}
    for number, chain in enumerate(chains):
        name = f"chain {number} of {kind}"
        found[name] = chain.getTemperature().value_in_unit(unit.kelvin)
        if len(chain.getThermostatedPairs()):
            found[f"{name}, for its pairs,"] = chain.getRelativeTemperature().value_in_unit(
                unit.kelvin
            )
    return found


def _of_andersen(context: openmm.Context) -> dict[str, float]:
    """Return the temperature of an AndersenThermostat, which is a parameter of the Context."""
    parameters = dict(context.getParameters().items())
    if not parameters.get(openmm.AndersenThermostat.CollisionFrequency(), 0.0) > 0.0:
        return {}
    return {"AndersenThermostat": parameters[openmm.AndersenThermostat.Temperature()]}
