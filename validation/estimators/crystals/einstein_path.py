r"""The System between the Einstein crystal and the crystal, for one lambda of the classical path.

.. math:: U_\lambda(x) = (1 - \lambda) \, kT |x - R|^2 / 2c + \lambda \, U(x)

The springs hold the atoms at fixed places, so the centre of mass is free to move a little. It moves
independently of everything else: U does not know it, and in |x - R|^2 it is a term of its own. So
displacements without their mean have the distribution that they have with a fixed one.
"""

from __future__ import annotations

import openmm

from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.fluid_system import bare_system, fluid_system, pair_force, times

PAIRS, SPRINGS = "pairs", "stiffness"  # global parameters


def crystal_system(state: StatePoint, variance: float, coupling: float) -> openmm.System:
    """Return the System of U_lambda.

    Parameters
    ----------
    state
        A crystal.
    variance
        Mean square displacement c of a coordinate in the Einstein crystal, sigma^2.
    coupling
        lambda, from 0, the Einstein crystal, to 1, the crystal.
    """
    system = fluid_system(state)
    _scale(system.getForce(0), coupling)
    system.addForce(_springs(state, (1.0 - coupling) * spring_constant(state, variance)))
    return system


def switched_system(state: StatePoint, variance: float) -> openmm.System:
    """Return a System with the weight of the pairs and the stiffness as global parameters.

    They are called `PAIRS` and `SPRINGS`; the derivative by `PAIRS` is the energy of the pairs.
    """
    pairs = pair_force(state, lambda pair: f"{PAIRS}*u; u = {pair.openmm_expression()}")
    pairs.addGlobalParameter(PAIRS, 0.0)
    pairs.addEnergyParameterDerivative(PAIRS)
    return bare_system(state, pairs, _springs(state, spring_constant(state, variance)))


def spring_constant(state: StatePoint, variance: float) -> float:
    """Return kT / 2c of the springs of a variance c in sigma^2, kJ/mol/nm^2."""
    return 0.5 * state.kt_kj_mol / (variance * state.sigma_nm**2)


def _springs(state: StatePoint, stiffness: float) -> openmm.Force:
    springs = openmm.CustomExternalForce(f"{SPRINGS}*periodicdistance(x, y, z, x0, y0, z0)^2")
    springs.addGlobalParameter(SPRINGS, stiffness)
    for name in ("x0", "y0", "z0"):
        springs.addPerParticleParameter(name)
    for atom, site in enumerate(lattice_positions_nm(state, seed=0)):
        springs.addParticle(atom, site.tolist())
    return springs


def _scale(force: openmm.Force, factor: float) -> None:
    """Multiply the energy of the pairs by a factor."""
    if isinstance(force, openmm.NonbondedForce):
        for atom in range(force.getNumParticles()):
            charge, sigma, epsilon = force.getParticleParameters(atom)
            force.setParticleParameters(atom, charge, sigma, factor * epsilon)
        return
    force.setEnergyFunction(times(force.getEnergyFunction(), repr(factor)))
