"""The kinds of particles of a System: those that interact alike and have the same mass."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import openmm
from openmm import app

from openmm_nti.md.own_system.checks import mass_of
from openmm_nti.md.own_system.pair_function import PairForce, parameters_of

_MOST = 6  # kinds, which are 21 kinds of pairs
_DIGITS = 9  # of parameters: text of XML is rounded


@dataclass(frozen=True)
class ParticleKind:
    """A kind of particles.

    Attributes
    ----------
    name
        From the topology, or X1, X2, ... without one.
    mass_dalton
        Mass of each.
    parameters
        Parameters in each of the forces.
    particles
        Their indices in the System.
    """

    name: str
    mass_dalton: float
    parameters: tuple[tuple[float, ...], ...]
    particles: tuple[int, ...]


def kinds_of_particles(
    system: openmm.System, forces: Sequence[PairForce], topology: app.Topology | None
) -> list[ParticleKind]:
    """Return the kinds of particles, in the order of their first particles.

    Raises
    ------
    ValueError
        If there are too many, or the topology gives one name to several kinds or several to one.
    """
    found: dict[tuple[object, ...], list[int]] = {}
    for particle in range(system.getNumParticles()):
        own = [tuple(map(_rounded, parameters_of(force, particle))) for force in forces]
        found.setdefault((_rounded(mass_of(system, particle)), *own), []).append(particle)
    if len(found) > _MOST:
        raise ValueError(
            f"the particles are of {len(found)} kinds, by mass and parameters: at most {_MOST} are "
            "read; particles that differ a little are no fluid of few species"
        )
    atoms = None if topology is None else [str(atom.name) for atom in topology.atoms()]
    kinds = []
    for number, particles in enumerate(found.values(), 1):
        name = "X" if len(found) == 1 else f"X{number}"
        if atoms is not None:
            names = sorted({atoms[particle] for particle in particles})
            if len(names) > 1:
                raise ValueError(
                    f"the topology names atoms {', '.join(names[:4])}, which interact alike: give "
                    "them one name if they are one species"
                )
            name = re.sub(r"[^A-Za-z0-9_+-]", "", names[0]) or name
        kinds.append(
            ParticleKind(
                name,
                mass_of(system, particles[0]),
                tuple(parameters_of(force, particles[0]) for force in forces),
                tuple(particles),
            )
        )
    names = [kind.name for kind in kinds]
    if len(set(names)) < len(names):
        raise ValueError(
            f"the topology names {', '.join(names)} atoms that interact differently: give each "
            "kind a name of its own"
        )
    return kinds


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
