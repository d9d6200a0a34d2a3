"""What a System must be for the learned force: checked once, at the start, with a message that says
what to change.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openmm
from openmm import unit

from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.openmm_energy import BOX_TOLERANCE, checked_particles


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
        With its particles and its default box; forces of any kind may be in it.
    state
        What the force is made for.
    particles
        Which particles the force acts on, (n_replicas * N,); None for all.
    n_replicas
        See `OpenMMEnergy`.

    Raises
    ------
    ValueError
        For a barostat, a box that is triclinic, under two cutoffs or not the cube of `state`, bad
        indices, another number of particles, and for virtual sites, particles without mass or
        constraints among those it acts on.
    """
    check_constant_volume(system)
    _check_box(system, state)
    n_system = system.getNumParticles()
    if particles is None:
        if n_system != n_replicas * state.n_particles:
            raise ValueError(
                f"the System has {n_system} particles, but the force acts on "
                f"{n_replicas * state.n_particles}: say "
                "which by particles=[...], or change n_particles of the state"
            )
        chosen = list(range(n_system))
    else:
        chosen = checked_particles(particles, state, n_replicas)
        if max(chosen) >= n_system:
            raise ValueError(
                f"particles holds {max(chosen)}, but the System's last particle is {n_system - 1}"
            )
    _check_particles(system, chosen)


def check_constant_volume(system: openmm.System) -> None:
    """Refuse a System with a barostat of any kind: ValueError with the reason."""
    for force in system.getForces():
        if "Barostat" in type(force).__name__:
            raise ValueError(
                f"the System has a {type(force).__name__}: the noise of a given lambda depends on "
                "the box, so the "
                "learned path is one of constant volume; remove the barostat and run at constant "
                "volume"
            )


def _check_box(system: openmm.System, state: StatePoint) -> None:
    vectors = np.array(
        [v.value_in_unit(unit.nanometer) for v in system.getDefaultPeriodicBoxVectors()]
    )
    edges = np.diagonal(vectors)
    length = state.box_length_nm
    if np.abs(vectors - np.diag(edges)).max() > BOX_TOLERANCE * length:
        raise ValueError(
            "the System's box is triclinic, and the model takes minimum images in a cube: use a "
            "cubic box"
        )
    if edges.min() < 2.0 * state.cutoff_nm * (1.0 - 1e-6):
        raise ValueError(
            f"the System's box, {edges.min():g} nm, is under two cutoffs of the model "
            f"({2.0 * state.cutoff_nm:g} nm): "
            "enlarge it, or set it by setDefaultPeriodicBoxVectors if it is still OpenMM's default "
            "of 2 nm"
        )
    if np.abs(edges - length).max() > BOX_TOLERANCE * length:
        raise ValueError(
            f"the System's box is {' x '.join(f'{edge:g}' for edge in edges)} nm, but the state's "
            "is a cube of "
            f"{length:g} nm: set it by setDefaultPeriodicBoxVectors, or change box_length_nm of "
            "the state"
        )


def _check_particles(system: openmm.System, chosen: list[int]) -> None:
    for index in chosen:
        if system.isVirtualSite(index):
            raise ValueError(
                f"particle {index} is a virtual site: the force acts on particles that move by "
                "themselves"
            )
        if system.getParticleMass(index).value_in_unit(unit.dalton) <= 0.0:
            raise ValueError(
                f"particle {index} has no mass and would never move: give it one, or leave it out"
            )
    ours = set(chosen)
    for number in range(system.getNumConstraints()):
        first, second, _ = system.getConstraintParameters(number)
        if first in ours or second in ours:
            raise ValueError(
                f"particles {first} and {second} are constrained: at lambda = 0 the particles of "
                "the force are an "
                "ideal gas, and must be free; remove the constraint"
            )
