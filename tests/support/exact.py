"""Systems small enough to be known exactly: equilibrium samples by rejection, free energies by
quadrature.
"""

import math

import numpy as np

from openmm_nti import Ensemble
from openmm_nti.fluid.energy import reduced_potential_numpy


def exact_ensemble(state, n_frames, seed=0, deepest_pair=1.0):
    """Independent samples of a few particles: uniform positions kept with probability exp(-U) /
    bound. `deepest_pair` is the depth of the deepest well of a pair, in epsilon.
    """
    rng = np.random.default_rng(seed)
    n_pairs = state.n_particles * (state.n_particles - 1) / 2
    deepest = n_pairs * deepest_pair / state.temperature_star
    kept = []
    while sum(map(len, kept)) < n_frames:
        trial = rng.uniform(0, state.edges_sigma, size=(20_000, state.n_particles, 3))
        energy = reduced_potential_numpy(trial, state)
        kept.append(trial[np.log(rng.uniform(size=len(trial))) < -energy - deepest])
    positions = np.concatenate(kept)[:n_frames]
    return Ensemble(
        state,
        positions * state.sigma_nm,
        reduced_potential_numpy(positions, state),
        {"exact": True},
    )


def any_pair_free_energy(state):
    """beta F_ex of two particles of any kinds, by quadrature of the state's own energy."""
    r, step = np.linspace(1e-3, state.cutoff_sigma, 20_001, retstep=True)
    positions = np.zeros((len(r), 2, 3))
    positions[:, 1, 0] = r
    mayer = np.expm1(-reduced_potential_numpy(positions, state))
    return -math.log1p((4 * math.pi * r**2 * mayer).sum() * step / state.box_length_sigma**3)


def pair_free_energy(state):
    """beta F_ex(2) by quadrature of the Mayer function, written from the formula of the switched
    potential.
    """
    r, step = np.linspace(1e-3, state.cutoff_sigma, 200_001, retstep=True)
    x = np.clip((r - state.switch_sigma) / (state.cutoff_sigma - state.switch_sigma), 0, 1)
    switch = 1 - 6 * x**5 + 15 * x**4 - 10 * x**3
    energy = 4 / state.temperature_star * (r**-12 - r**-6) * switch
    mayer = (4 * math.pi * r**2 * np.expm1(-energy)).sum() * step
    return -math.log1p(mayer / state.volume_sigma3)
