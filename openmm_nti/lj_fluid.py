"""The Lennard-Jones fluid in plain OpenMM and, independently, in plain numpy.

With x = (r - r_s) / (r_c - r_s) between the switching distance r_s and the cutoff r_c, the pair energy is

    u(r) = 4 eps [(sigma / r)^12 - (sigma / r)^6] S(x),    S(x) = 1 - 6 x^5 + 15 x^4 - 10 x^3,

zero beyond r_c; S = 1 below r_s, and S = 1 everywhere in the `truncated` convention. No dispersion correction.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import openmm
from openmm import app, unit

from openmm_nti.state import StatePoint


@dataclass(frozen=True)
class LJFluid:
    """The interacting fluid as an OpenMM script wants it: its System, Topology and positions to start from.

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


def lattice_positions_nm(state: StatePoint, seed: int) -> np.ndarray:
    """A start without overlaps: particles on random sites of the smallest simple cubic lattice that holds them.

    Returns
    -------
    np.ndarray
        Positions. Shape (N, 3), nm.
    """
    rng = np.random.default_rng(seed)
    side = math.ceil(state.n_particles ** (1 / 3) - 1e-9)
    sites = np.stack(np.unravel_index(rng.permutation(side**3)[: state.n_particles], (side, side, side)), axis=-1)
    spacing = state.box_length_nm / side
    jitter = rng.uniform(-0.02, 0.02, size=sites.shape)  # breaks the symmetry of a full lattice
    return np.asarray((sites + 0.5 + jitter) * spacing)


def reduced_potential_numpy(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Energy of each frame, beta U_LJ in `state.convention`, in float64: the check on every other implementation.

    Parameters
    ----------
    positions_sigma
        Positions, wrapped or not. Shape (F, N, 3), sigma.

    Returns
    -------
    np.ndarray
        Reduced potentials. Shape (F,), kT. Infinite where two particles coincide.
    """
    energy = np.zeros(len(positions_sigma))
    for r2 in _squared_distances(positions_sigma, state):
        energy += pair_energy(r2, state).sum(axis=-1)
    return energy / state.temperature_star


def closest_pair_sigma(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Smallest minimum-image distance in each frame.

    Parameters
    ----------
    positions_sigma
        Positions. Shape (F, N, 3), sigma.

    Returns
    -------
    np.ndarray
        Distances. Shape (F,), sigma.
    """
    return np.asarray(np.sqrt(np.min([r2.min(axis=-1) for r2 in _squared_distances(positions_sigma, state)], axis=0)))


def truncation_log_weights(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Logarithms of the weights that carry frames of molecular dynamics over to `state.convention`.

    Forces do not feel the jump of u(r) at a plain cutoff, so molecular dynamics samples the truncated AND shifted
    potential; its frames have the weights exp(-beta n u(r_c)) in the truncated one, where n pairs are within r_c.
    With a switching function nothing jumps and all weights are 1.

    Parameters
    ----------
    positions_sigma
        Positions. Shape (F, N, 3), sigma.

    Returns
    -------
    np.ndarray
        Logarithms of unnormalised weights. Shape (F,).
    """
    if state.convention == "switched":
        return np.zeros(len(positions_sigma))
    rc2 = state.cutoff_sigma**2
    at_cutoff = 4 * (rc2**-6 - rc2**-3)
    n_pairs = np.zeros(len(positions_sigma))
    for r2 in _squared_distances(positions_sigma, state):
        n_pairs += (r2 < rc2).sum(axis=-1)
    return -n_pairs * at_cutoff / state.temperature_star


def pair_energy(r2: np.ndarray, state: StatePoint) -> np.ndarray:
    """u(r) of the module docstring.

    Parameters
    ----------
    r2
        Squared distances. Any shape, sigma^2.

    Returns
    -------
    np.ndarray
        Pair energies. Shape of `r2`, epsilon.
    """
    with np.errstate(divide="ignore", over="ignore"):
        r2 = np.asarray(r2, dtype=np.float64)
        inverse6 = 1 / (r2 * r2 * r2)  # many times quicker than a power
        return np.asarray(4 * inverse6 * (inverse6 - 1) * cutoff_function(r2, state))


def cutoff_function(r2: np.ndarray, state: StatePoint) -> np.ndarray:
    """S(r) of `state.convention`, zero from the cutoff on; any shape, from squared distances in sigma^2."""
    r2 = np.asarray(r2)
    factor = np.asarray((r2 < state.cutoff_sigma**2).astype(np.float64))
    if state.convention == "truncated":
        return factor
    switching = (r2 > state.switch_sigma**2) & (r2 < state.cutoff_sigma**2)
    x = (np.sqrt(r2[switching]) - state.switch_sigma) / (state.cutoff_sigma - state.switch_sigma)
    factor[switching] = 1 + x * x * x * (-10 + x * (15 - 6 * x))
    return factor


def nearest_image(vectors: np.ndarray, box_length: float) -> np.ndarray:
    """The shortest of the periodic images of each vector, in a cubic box; shape and unit of `vectors`."""
    return np.asarray(vectors - box_length * np.round(vectors / box_length))


def _squared_distances(positions_sigma: np.ndarray, state: StatePoint) -> Iterator[np.ndarray]:
    """Minimum-image r^2 of each particle to all that follow it. Shapes (F, N - 1), (F, N - 2), ..., sigma^2."""
    positions = np.asarray(positions_sigma, dtype=np.float64)
    box = state.box_length_sigma
    for first in range(positions.shape[1] - 1):
        separation = nearest_image(positions[:, first + 1 :] - positions[:, first : first + 1], box)
        yield (separation**2).sum(axis=-1)


def _box_vectors(state: StatePoint) -> list[openmm.Vec3]:
    length = state.box_length_nm
    return [openmm.Vec3(length, 0, 0), openmm.Vec3(0, length, 0), openmm.Vec3(0, 0, length)]
