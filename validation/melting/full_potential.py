r"""What the cutoff leaves out of energy and virial, in a fluid or a crystal, from its frames.

.. math::
    \Delta U = \sum_{\text{pairs and images}, \, r < R} [u_{full}(r) - u(r)]
    + \frac{N \rho}{2} \int_R^\infty u_{full} \, 4 \pi r^2 dr ,

with R close to the shortest edge of the box: frames with their images up to there, beyond it a
density that is the same everywhere. The virial likewise. Free energy and pressure of the full
potential follow by perturbation about the simulated one,

.. math::
    \Delta \beta F = \langle \beta \Delta U \rangle - \tfrac12 \, var(\beta \Delta U), \qquad
    \Delta p V = \tfrac13 [\langle \Delta W \rangle - cov(W, \beta \Delta U)] , \qquad
    \Delta \langle U \rangle = \langle \Delta U \rangle - cov(U + \Delta U, \beta \Delta U) ,

where fluctuations are small: the tail hardly depends on the frame.
"""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.integrate import quad

from openmm_nti.fluid.energy import nearest_image, pair_energy, reduced_potential_numpy
from openmm_nti.fluid.state import StatePoint
from openmm_nti.fluid.virial import pair_virial
from openmm_nti.reference_md.statistics import error_of_mean

_MOST_FRAMES = 48
_REACH = 0.99  # of the shortest edge; at the edge itself a lattice has atoms


class Tail(NamedTuple):
    """Changes from the simulated to the full potential, with standard errors.

    `beta_f` and `beta_f_err` in kT for all particles, `pressure` and `pressure_err` as p sigma^3 /
    epsilon, `energy` and `energy_err` of all particles in epsilon.
    """

    beta_f: float
    beta_f_err: float
    pressure: float
    pressure_err: float
    energy: float
    energy_err: float


def tail_of(positions_sigma: np.ndarray, virials: np.ndarray, state: StatePoint) -> Tail:
    """Return the changes to the full potential.

    Parameters
    ----------
    positions_sigma
        Independent frames, (F, N, 3), sigma. At most 48 of them are taken.
    virials
        Their virials W, (F,), epsilon.
    state
        The fluid or crystal, of one species.

    """
    some = np.unique(np.linspace(0, len(positions_sigma) - 1, _MOST_FRAMES).astype(int))
    parts = np.array([_of_frame(positions_sigma[frame], state) for frame in some])
    change, virial = (parts + _beyond(state)).T
    beta = 1 / state.temperature_star
    energies = reduced_potential_numpy(positions_sigma[some], state) / beta
    covariance = beta * np.cov([change, virials[some], energies + change])
    scale = 1 / (3 * state.volume_sigma3)

    def error(series: np.ndarray, of: int) -> float:
        # The error of a covariance of n samples is about its factors' over the root of n.
        both = math.sqrt(covariance[0, 0] * covariance[of, of])
        return error_of_mean(math.hypot(float(series.std(ddof=1)), both), len(some))

    return Tail(
        float(beta * (change.mean() - 0.5 * covariance[0, 0])),
        error_of_mean(float(beta * change.std(ddof=1)), len(some)),
        float(scale * (virial.mean() - covariance[0, 1])),
        scale * error(virial, 1),
        float(change.mean() - covariance[0, 2]),
        error(change, 2),
    )


def _of_frame(positions: np.ndarray, state: StatePoint) -> tuple[float, float]:
    """Return what the cutoff leaves out of energy and virial up to R, in epsilon."""
    box = state.edges_sigma
    near = nearest_image(positions[:, None] - positions, box)
    full, largest = state.pair_potential.pair, (_REACH * float(box.min())) ** 2
    energy = virial = 0.0
    for image in product((-1, 0, 1), repeat=3):
        r2 = ((near + np.array(image) * box) ** 2).sum(-1)
        r2 = r2[(r2 < largest) & (r2 > 0)]
        energy += 0.5 * float((full.energy_numpy(r2) - pair_energy(r2, state)).sum())
        virial += 0.5 * float((-2 * r2 * full.slope(r2) - pair_virial(r2, state)).sum())
    return energy, virial


def _beyond(state: StatePoint) -> tuple[float, float]:
    """Return energy and virial of all particles with what is beyond R, in epsilon."""
    full, r = state.pair_potential.pair, _REACH * float(state.edges_sigma.min())

    def along(value: float, of_virial: bool) -> float:  # x = 1 / distance
        r2 = np.array([1 / value**2])
        term = -2 * r2 * full.slope(r2) if of_virial else full.energy_numpy(r2)
        return float(term[0]) * 4 * math.pi / value**4

    shares = [quad(along, 0, 1 / r, args=(kind,))[0] for kind in (False, True)]
    half = 0.5 * state.n_particles * state.density_star
    return half * shares[0], half * shares[1]
