r"""The free energy of a crystal of infinite size, from that of N atoms, by normal modes.

beta A / N + ln N / 2N is linear in 1/N for a crystal of springs, and about so for any crystal
(J. M. Polson, E. Trizac, S. Pronk, D. Frenkel, J. Chem. Phys. 112, 5339 (2000), who count from the
ideal gas of N). The slope is taken from the normal modes at rest of this crystal and of one with
more cells.
"""

from __future__ import annotations

import math

from openmm_nti.fluid.displacements import crystal_of
from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.estimators.crystals import harmonic

_MORE = 1.25  # cells along each edge of the larger crystal
_LARGEST_N = 1500  # of the larger one


def to_infinite_size(state: StatePoint) -> tuple[float, str]:
    """Return what beta A / N of a crystal lacks to infinite N, kT, and how this is known.

    Where the lattice is unstable at rest, or large, it is the logarithm alone.
    """
    n = state.n_particles
    known = 0.5 * math.log(n) / n
    crystal = crystal_of(state)
    cells = [math.ceil(_MORE * count) for count in crystal.cells]
    larger = StatePoint.model_validate(
        {
            **state.model_dump(exclude={"n_particles", "box_sigma", "box_length_sigma"}),
            "crystal": {"lattice": crystal.lattice, "cells": cells},
            "box_sigma": (state.edges_sigma / crystal.cells * cells).tolist(),
        }
    )
    m = larger.n_particles
    if m > _LARGEST_N:
        return known, "ln N / 2N alone: too many atoms for normal modes"
    try:
        here, there = (
            harmonic.estimate(one).diagnostics["beta_a_per_particle"] for one in (state, larger)
        )
    except ValueError:
        return known, "ln N / 2N alone: the lattice is unstable at rest"
    slope = (here + known - there - 0.5 * math.log(m) / m) / (1 / n - 1 / m)
    return known - slope / n, f"normal modes of N = {n} and {m}"
