r"""The free energy of a crystal of infinite size, from that of N atoms, by normal modes.

beta A / N + ln N / 2N is linear in 1/N for a crystal of springs, and about so for any crystal
(J. M. Polson, E. Trizac, S. Pronk, D. Frenkel, J. Chem. Phys. 112, 5339 (2000), who count from the
ideal gas of N). The slope is taken from the normal modes at rest of this crystal and of one with
more cells. A crystal of N atoms has the vibrations of N - 1, so its pressure and energy are not
those of infinite size either.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from openmm_nti.fluid.displacements import crystal_of
from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.estimators.crystals import harmonic

_MORE = 1.25  # cells along each edge of the larger crystal
_LARGEST_N = 1500  # of the larger one
_STEP = 2e-3  # relative, of the density: to a thinner crystal, which holds the cutoff too


class ToInfinity(NamedTuple):
    """What a = beta A / N of a crystal lacks to infinite N, and its derivatives.

    `a` in kT, `by_density` in sigma^3, `by_beta` in epsilon; `source` says how they are known.
    """

    a: float = 0.0
    by_density: float = 0.0
    by_beta: float = 0.0
    source: str = ""


def to_infinite_size(state: StatePoint) -> ToInfinity:
    """Return what a crystal lacks to infinite N.

    Where the lattice is unstable at rest, or large, it is the logarithm alone.
    """
    n = state.n_particles
    known = 0.5 * math.log(n) / n
    larger = _at(state, 1.0, _MORE)
    m = larger.n_particles
    if m > _LARGEST_N:
        return ToInfinity(known, source="ln N / 2N alone: too many atoms for normal modes")
    try:
        below, here = (_lacking(state, scale) for scale in (1 - _STEP, 1.0))
    except ValueError:
        return ToInfinity(known, source="ln N / 2N alone: the lattice is unstable at rest")
    return ToInfinity(
        here,
        (here - below) / (_STEP * state.density_star),
        1.5 * state.temperature_star / n,  # of the three vibrations that a shift of all takes away
        f"normal modes of N = {n} and {m}",
    )


def _lacking(state: StatePoint, density: float) -> float:
    """Return the `a` of `ToInfinity` at so many times the density, kT."""
    small, large = _at(state, density, 1.0), _at(state, density, _MORE)
    n, m = small.n_particles, large.n_particles
    known = 0.5 * math.log(n) / n
    here, there = (
        harmonic.estimate(one).diagnostics["beta_a_per_particle"] for one in (small, large)
    )
    slope = (here + known - there - 0.5 * math.log(m) / m) / (1 / n - 1 / m)
    return float(known - slope / n)


def _at(state: StatePoint, density: float, more: float) -> StatePoint:
    """Return a crystal at so many times its density, with so many times the cells of an edge."""
    crystal = crystal_of(state)
    cells = [math.ceil(more * count) for count in crystal.cells]
    edges = state.edges_sigma / crystal.cells * cells / density ** (1 / 3)
    return StatePoint.model_validate(
        {
            **state.model_dump(exclude={"n_particles", "box_sigma", "box_length_sigma"}),
            "crystal": {"lattice": crystal.lattice, "cells": cells},
            "box_sigma": edges.tolist(),
        }
    )
