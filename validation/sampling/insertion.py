"""Insertions of a test particle at random places, and the works of a chain of them.

The chain is that of `bar_chain`: Monte Carlo of n particles for every n up to N, all in one box,
with energies of one more and of one less particle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from openmm_nti.fluid.energy import pair_energy
from openmm_nti.fluid.state import StatePoint
from openmm_nti.runtime.context import Execution
from openmm_nti.settings import Settings
from openmm_nti.validation.analysis.walker_bar import HIGHEST
from openmm_nti.validation.sampling.monte_carlo import Walkers

_PAIRS_AT_ONCE = 500_000  # bounds memory


class BarChainConfig(Settings):
    """Effort spent at each n of the insertion chain."""

    n_walkers: int = Field(
        default=64, ge=8, le=100_000, description="Independent Monte-Carlo walkers at each n."
    )
    n_frames: int = Field(default=4, ge=2, le=1_000_000, description="Frames kept of each walker.")
    n_insertions: int = Field(
        default=500, ge=1, le=10_000_000, description="Random trial insertions in each frame."
    )
    equilibration_sweeps: int = Field(
        default=300,
        ge=1,
        le=100_000_000,
        description="Sweeps of each walker before its first frame.",
    )
    sweeps_between: int = Field(
        default=50, ge=1, le=100_000_000, description="Sweeps between frames."
    )
    species_order: tuple[str, ...] | None = Field(
        default=None,
        description="Names of a mixture's species, in the order of insertion; empty: the largest "
        "first.",
    )


@dataclass(frozen=True, eq=False)
class Works:
    """Energies of one more and of one less particle in the frames of n particles.

    Attributes
    ----------
    insertions
        beta U(n + 1) - beta U(n) at random places. Shape (walkers, frames x insertions), kT.
    removals
        beta U(n) - beta U(n - 1) of each particle of the species. Shape (walkers, frames x n), kT.
    drift_z
        Change of the mean energy from the first to the last frames, in standard errors.
    """

    insertions: np.ndarray
    removals: np.ndarray
    drift_z: float


def insertion_order(state: StatePoint, config: BarChainConfig) -> list[int]:
    """Return the species of each particle in the order of insertion, (N,), by their numbers.

    Species follow each other as `config.species_order` says, by default the largest first: small
    atoms find room in a dense fluid.

    Raises
    ------
    ValueError
        If the order does not name each species once.
    """
    names = list(state.composition)
    order = config.species_order
    if order is None:
        sizes = {name: state.fluid.pair(name, name).size for name in names}
        order = tuple(sorted(names, key=lambda name: -sizes[name]))
    if sorted(order) != sorted(names):
        raise ValueError(
            f"species_order = {', '.join(order)}: name each species once: {', '.join(names)}"
        )
    return [names.index(name) for name in order for _ in range(state.composition[name])]


def sample_works(
    config: BarChainConfig, point: tuple[StatePoint, Execution, *tuple[int, ...]]
) -> dict[str, np.ndarray | float]:
    """Return the works of one n, as `Works` names them.

    Parameters
    ----------
    config
        How to sample.
    point
        State point with n particles, and the execution whose seed decides their random numbers. For
        a mixture also the species that is inserted, and the one of which each particle is removed.
    """
    state, execution, *species = point
    inserted, removed = species or (0, 0)
    walkers = Walkers(state, config.n_walkers, execution)
    walkers.equilibrate(config.equilibration_sweeps)
    rng = execution.random("insertions")
    insertions, removals = [], []
    for _ in range(config.n_frames):
        for _ in range(config.sweeps_between):
            walkers.sweep()
        positions = walkers.positions_sigma
        insertions.append(insertion_energies(positions, state, config.n_insertions, rng, inserted))
        removals.append(walkers.removal_energies)
    # Each pair is in the energies of two particles.
    change = 0.5 * (removals[-1] - removals[0]).sum(axis=1)
    alike = state.species_of_particles == removed
    removals = [energies[:, alike] for energies in removals]
    return {
        "insertions": np.minimum(np.concatenate(insertions, axis=1), HIGHEST).astype(np.float32),
        "removals": np.concatenate(removals, axis=1).astype(np.float32),
        "drift_z": _drift_z(change),
    }


def _drift_z(change: np.ndarray) -> float:
    """Return the mean over its standard error; 0 where nothing changes, as for one particle."""
    error = float(change.std(ddof=1)) / math.sqrt(len(change))
    return 0.0 if error == 0 else float(change.mean()) / error


def insertion_energies(
    positions_sigma: np.ndarray,
    state: StatePoint,
    n_insertions: int,
    rng: np.random.Generator,
    species: int = 0,
) -> np.ndarray:
    """Return beta dU of one more particle at uniformly random places in each frame.

    Parameters
    ----------
    positions_sigma
        Positions, wrapped or not; any number of particles. Shape (F, n, 3), sigma.
    state
        Box, temperature and pair potential.
    n_insertions
        Places tried in each frame.
    rng
        Source of the places.
    species
        Species of the test particle, by its number.

    Returns
    -------
    np.ndarray
        Shape (F, n_insertions), kT; infinite where a place coincides with a particle.
    """
    edges = state.edges_sigma
    energies = np.empty((len(positions_sigma), n_insertions))
    chunk = max(1, _PAIRS_AT_ONCE // positions_sigma.shape[1])
    kinds = state.kinds_with(species)
    for frame in range(len(positions_sigma)):
        for start in range(0, n_insertions, chunk):
            places = rng.uniform(0, edges, (min(chunk, n_insertions - start), 3))
            r2 = _squared_distances(places, positions_sigma[frame], edges)
            energy = np.zeros(r2.shape)
            near = ~(r2 >= state.cutoff_sigma**2)  # NaN is near, and so its energy is NaN
            kind = None if kinds is None else np.broadcast_to(kinds, r2.shape)[near]
            energy[near] = pair_energy(r2[near], state, kind)
            energies[frame, start : start + len(places)] = (
                energy.sum(axis=1) / state.temperature_star
            )
    return energies


def _squared_distances(places: np.ndarray, positions: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return r^2 of the nearest image from M places to N particles. Shape (M, N), sigma^2."""
    r2 = np.zeros((len(places), len(positions)))
    for axis, edge in enumerate(edges):
        separation = places[:, axis, None] - positions[:, axis]
        separation -= edge * np.rint(separation / edge)
        r2 += separation**2
    return r2
