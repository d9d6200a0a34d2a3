"""Excess chemical potential by inserting a test particle (Widom, J. Chem. Phys. 39, 2808 (1963)).

    beta mu_ex(N) = beta F_ex(N + 1) - beta F_ex(N) = -ln < exp(-beta dU) >,

dU being the energy of one more particle at a uniformly random place in a configuration of N. In a
dense fluid nearly every place is taken. A few insertions then carry the whole average, and the
verdict says so.
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from openmm_nti.ensemble import Ensemble
from openmm_nti.free_energy import Diagnostics, FreeEnergy, Verdict
from openmm_nti.reference_md.statistics import mean_of_frames
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.settings import Settings
from openmm_nti.validation.analysis.regression import require_finite, require_frames
from openmm_nti.validation.estimators.base import Estimator, Job
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.sampling.insertion import insertion_energies

_MAX_FRAME_SHARE = 0.1  # of the average that one frame may carry
_MIN_INSERTIONS = 100  # that the average must rest on
_TYPICAL_FRAMES = 1000  # of reference data, for the forecast
_INSERTION = 0.03  # in steps of MD of the fluid


class WidomConfig(Settings):
    """Effort spent on Widom insertion."""

    n_insertions_per_frame: int = Field(
        default=2000, ge=1, le=100_000_000, description="Random trial insertions in each frame."
    )


class WidomDiagnostics(Diagnostics):
    """Facts on how many insertions carry the average.

    Attributes
    ----------
    n_frames, n_insertions
        Frames, and insertions into all of them.
    n_eff_insertions, n_eff_frames
        How many of them would give the average, were their shares equal.
    largest_frame_share, largest_insertion_share
        What one frame, and one insertion, carries at most.
    """

    n_frames: int
    n_insertions: int
    n_eff_insertions: float
    n_eff_frames: float
    largest_frame_share: float
    largest_insertion_share: float


@takes_execution
def estimate(
    ensemble: Ensemble,
    n_insertions_per_frame: int = 2000,
    species: str | None = None,
    *,
    execution: Execution,
) -> FreeEnergy:
    """Return the excess chemical potential of one more particle in the ensemble's fluid.

    Parameters
    ----------
    ensemble
        Decorrelated frames of N particles.
    n_insertions_per_frame
        Random places tried in each frame.
    species
        Name of the species of the test particle, in a mixture.
    execution
        Its seed decides the places.

    Returns
    -------
    FreeEnergy
        `beta_mu_ex` in the box and convention of the ensemble. The error is that of the frames'
        averages, infinite where the frames are too few to tell; the diagnostics tell how many
        insertions carry them.

    Raises
    ------
    ValueError
        If `n_insertions_per_frame` is below 1, all insertions overlap with a particle, or the
        species of a mixture is not given.
    """
    if n_insertions_per_frame < 1:
        raise ValueError(
            f"n_insertions_per_frame = {n_insertions_per_frame} must be at least 1; 2000 is usual"
        )
    state = ensemble.state
    require_frames("widom", ensemble.positions_sigma, 1)
    number = state.number_of_species(species)
    factors = _boltzmann_factors(ensemble, n_insertions_per_frame, number, execution)
    advice = "look for overlapping particles in the frames"
    require_finite("widom", advice, boltzmann_factors=factors)
    total = float(factors.sum())
    if not total > 0:
        raise ValueError(
            f"all {factors.size} insertions overlap with a particle at rho* = "
            f"{state.density_star:.3g}: "
            "raise n_insertions_per_frame, or use mbar_softcore at N and N + 1"
        )
    by_frame = factors.mean(axis=1)
    mean, error = mean_of_frames(by_frame, ensemble.n_independent, ensemble.reduced_potentials)
    found = WidomDiagnostics(
        n_frames=ensemble.n_frames,
        n_insertions=factors.size,
        n_eff_insertions=1.0 / float(((factors / total) ** 2).sum()),
        n_eff_frames=1.0 / float(((by_frame / by_frame.sum()) ** 2).sum()),
        largest_frame_share=float(by_frame.max() / by_frame.sum()),
        largest_insertion_share=float(factors.max() / total),
    )
    return FreeEnergy(
        value=-math.log(mean),
        std_err=error / mean,
        method="widom",
        convention=state.convention,
        n_particles=state.n_particles,
        quantity="beta_mu_ex",
        species=species if state.is_mixture else None,
        verdict=_verdict(found, error / mean),
        diagnostics=found,
    )


def _boltzmann_factors(
    ensemble: Ensemble, n_insertions: int, species: int, execution: Execution
) -> np.ndarray:
    """Return exp(-beta dU) of each insertion into each frame, (F, n_insertions)."""
    rng = np.random.default_rng(execution.seed)
    positions = ensemble.positions_sigma
    energies = [
        insertion_energies(positions[frame : frame + 1], ensemble.state, n_insertions, rng, species)
        for frame in execution.track(range(len(positions)), "insertions")
    ]
    return np.exp(-np.concatenate(energies))


def _verdict(found: WidomDiagnostics, std_err: float) -> Verdict:
    share, insertions = found.largest_frame_share, found.n_eff_insertions
    if not share <= max(_MAX_FRAME_SHARE, 3 / found.n_frames):
        return Verdict(
            "bad",
            f"unreliable: one frame carries {share:.0%} of the average; the fluid is too dense for "
            "insertion",
        )
    if not insertions >= _MIN_INSERTIONS:
        return Verdict(
            "bad",
            f"unreliable: only about {insertions:.0f} insertions carry the average; try more of "
            "them",
        )
    if not 0 < std_err < math.inf:
        return Verdict("bad", "unreliable: the frames do not differ, or there is only one")
    return Verdict("good", "good")


class Widom(Estimator):
    """Insertion of a test particle into the reference data."""

    name = "widom"
    section = "widom"
    Config = WidomConfig
    Diagnostics = WidomDiagnostics
    kind = "insertion"
    needs = frozenset({"data"})
    quantity = "beta_mu_ex"
    summary = "Test particle insertion into the reference data"
    caveat = "insertions find too little room."
    in_runs = True
    order = 30

    def estimate(self, job: Job, config: WidomConfig) -> FreeEnergy:
        """Return beta mu_ex(N) by insertion."""
        insertions = config.n_insertions_per_frame
        return estimate(job.ensemble, insertions, job.species, execution=job.execution)

    def seconds(self, config: WidomConfig, n: int, pace: Pace) -> float:
        """Return the time of insertions into as many frames as reference data usually have."""
        insertions = _TYPICAL_FRAMES * config.n_insertions_per_frame
        return _INSERTION * insertions * pace.md_step(n)


ESTIMATORS = (Widom(),)
