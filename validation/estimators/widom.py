"""Excess chemical potential by inserting a test particle (Widom, J. Chem. Phys. 39, 2808 (1963)).

    beta mu_ex(N) = beta F_ex(N + 1) - beta F_ex(N) = -ln < exp(-beta dU) >,

dU being the energy of one more particle at a uniformly random place in a configuration of N. In a
dense fluid nearly every place is taken: then a few insertions carry the whole average, and the
result says so.
"""

from __future__ import annotations

import math

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.reference_md.statistics import mean_and_error
from openmm_nti.validation.sampling.insertion import insertion_energies

_MAX_FRAME_SHARE = 0.1  # of the average that one frame may carry
_MIN_INSERTIONS = 100  # that the average must rest on


def estimate(
    ensemble: Ensemble, *, seed: int, n_insertions_per_frame: int = 2000, progress: bool = False
) -> FreeEnergy:
    """Excess chemical potential of adding a particle to the ensemble's fluid, in its own box and
    convention.

    Parameters
    ----------
    ensemble
        Decorrelated frames of N particles.
    seed
        Seed of the insertions.
    n_insertions_per_frame
        Random places tried in each frame.
    progress
        Show a progress bar with the time left.

    Returns
    -------
    FreeEnergy
        `beta_mu_ex`. The error is that of the frames' averages; the diagnostics tell how many
        insertions carry them.

    Raises
    ------
    ValueError
        If `n_insertions_per_frame` is below 1, or all insertions overlap with a particle.
    """
    if n_insertions_per_frame < 1:
        raise ValueError(
            f"n_insertions_per_frame = {n_insertions_per_frame} must be at least 1; 2000 is usual"
        )
    state = ensemble.state
    rng = np.random.default_rng(seed)
    factors = np.exp(
        -insertion_energies(
            ensemble.positions_sigma, state, n_insertions_per_frame, rng, progress=progress
        )
    )
    total = float(factors.sum())
    if total == 0:
        raise ValueError(
            f"all {factors.size} insertions overlap with a particle at rho* = "
            f"{state.density_star:.3g}: "
            "raise n_insertions_per_frame, or use mbar_softcore at N and N + 1"
        )
    by_frame = factors.mean(axis=1)
    mean, error = mean_and_error(by_frame)
    largest_share = float(by_frame.max() / by_frame.sum())
    n_eff_insertions = total**2 / float((factors**2).sum())
    return FreeEnergy(
        value=-math.log(mean),
        std_err=error / mean,
        method="widom",
        convention=state.convention,
        n_particles=state.n_particles,
        quantity="beta_mu_ex",
        diagnostics={
            "n_frames": ensemble.n_frames,
            "n_insertions": factors.size,
            "n_eff_insertions": n_eff_insertions,
            "n_eff_frames": float(by_frame.sum() ** 2 / (by_frame**2).sum()),
            "largest_frame_share": largest_share,
            "largest_insertion_share": float(factors.max() / total),
            "verdict": _verdict(ensemble.n_frames, largest_share, n_eff_insertions),
        },
    )


def _verdict(n_frames: int, largest_share: float, n_eff_insertions: float) -> str:
    if largest_share > max(_MAX_FRAME_SHARE, 3 / n_frames):
        return (
            f"unreliable: one frame carries {largest_share:.0%} of the average; the fluid is too "
            "dense for insertion"
        )
    if n_eff_insertions < _MIN_INSERTIONS:
        return (
            f"unreliable: only about {n_eff_insertions:.0f} insertions carry the average; try more "
            "of them"
        )
    return "good"
