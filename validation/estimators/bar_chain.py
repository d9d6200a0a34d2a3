r"""Excess free energy by adding one particle after another: Bennett's acceptance ratio at each step
of a chain.

.. math:: \beta F_{ex}(N) = \sum_{n=1}^{N-1} \beta \mu_{ex}(n), \qquad
          \beta \mu_{ex}(n) = \beta F_{ex}(n + 1) - \beta F_{ex}(n), \qquad F_{ex}(1) = 0,

all n in the same box. Each step joins the energies w of insertions at random places in frames of n
particles (I) and of removals of each particle from frames of n + 1 (R): with f(x) = 1 / (1 +
exp(x)) and any constant C,

.. math:: \beta \mu_{ex}(n) = C - \ln \frac{\langle f(w - C) \rangle_I}{\langle f(C - w) \rangle_R},

and C = beta mu_ex - ln(n_I / n_R) is the best one (C. H. Bennett, J. Comput. Phys. 22, 245 (1976)).
No path and no model is in it, only Monte Carlo of the fluid itself at every n. In a dense fluid
insertions find no room: the result says from which n on.

Errors are by bootstrap over independent walkers with C as found, for the formula holds at any C.
The frames of one n serve two steps, as those with a particle more and with a particle less, so
whole ensembles are drawn and the chain is summed for each draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from openmm_nti.files import atomic_path, fingerprint
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.runtime.stored import read_arrays
from openmm_nti.runtime.tasks import derive_seed, run_tasks
from openmm_nti.validation.analysis.walker_bar import (
    HIGHEST,
    Step,
    bootstrap,
    effective_number,
    neighbour_correlation,
    solve,
)
from openmm_nti.validation.sampling.insertion import insertion_energies
from openmm_nti.validation.sampling.monte_carlo import Walkers

_GOOD_INSERTIONS = 100  # independent ones that a step should rest on: an error of 0.1 kT
_TOO_FEW_INSERTIONS = 20  # below, neither the value of a step nor its error means anything
_DRIFT = 4.0  # standard errors


class BarChainConfig(BaseModel):
    """Effort spent at each n of the insertion chain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_walkers: int = Field(
        default=64, ge=8, description="Independent Monte-Carlo walkers at each n."
    )
    n_frames: int = Field(default=4, ge=2, description="Frames kept of each walker.")
    n_insertions: int = Field(
        default=500, ge=1, description="Random trial insertions in each frame."
    )
    equilibration_sweeps: int = Field(
        default=300, ge=1, description="Sweeps of each walker before its first frame."
    )
    sweeps_between: int = Field(default=50, ge=1, description="Sweeps between frames.")


@dataclass(frozen=True)
class _Link:
    """One task: the ensemble of one n, and the file that keeps its works."""

    state: StatePoint
    config: BarChainConfig
    seed: int
    path: Path

    def __str__(self) -> str:
        return (
            f"n = {self.state.n_particles} of the insertion chain at L = "
            f"{self.state.box_length_sigma:g} sigma"
        )


@dataclass(frozen=True, eq=False)
class Works:
    """Energies of one more and of one less particle in the frames of n particles.

    Attributes
    ----------
    insertions
        beta U(n + 1) - beta U(n) at random places. Shape (walkers, frames x insertions), kT.
    removals
        beta U(n) - beta U(n - 1) of each particle. Shape (walkers, frames x n), kT.
    drift_z
        Change of the mean energy from the first to the last frames, in standard errors.
    """

    insertions: np.ndarray
    removals: np.ndarray
    drift_z: float


def estimate(
    state: StatePoint,
    config: BarChainConfig,
    *,
    seed: int,
    directory: Path,
    workers: int = 1,
    progress: bool = True,
) -> FreeEnergy:
    """Excess free energy beta F_ex of `state` by `sample` and `estimate_chain`. Arguments as in
    `sample`.
    """
    paths = sample(
        state, config, seed=seed, directory=directory, workers=workers, progress=progress
    )
    return estimate_chain(paths, state, seed=derive_seed(seed, "bootstrap"))


def sample(
    state: StatePoint,
    config: BarChainConfig,
    *,
    seed: int,
    directory: Path,
    workers: int = 1,
    progress: bool = True,
) -> list[Path]:
    """Sample the works of all n from 1 to N.

    Each finished n is a file in `directory`/bar_chain named by what decides it, so that a run that
    was interrupted goes on where it stopped, and the chain to a larger N in the same box takes up a
    shorter one.

    Parameters
    ----------
    state
        The last state point of the chain.
    config
        How to sample.
    seed
        Equal seeds give equal samples.
    directory
        Where the files are kept.
    workers
        Number of processes.
    progress
        Show a progress bar.

    Returns
    -------
    list[Path]
        Files of n = 1, 2, ..., N for `read_works`.
    """
    links = []
    for n in range(state.n_particles, 0, -1):  # the largest first: they take longest
        at_n = state.model_copy(
            update={"n_particles": n}
        )  # a StatePoint of one particle would be refused
        name = fingerprint([at_n.model_dump(), config.model_dump(), seed])
        path = Path(directory) / "bar_chain" / f"{name}_{n:03d}.npz"
        links.append(_Link(at_n, config, derive_seed(seed, "bar_chain", n), path))
    run_tasks(
        _sample_link, links, workers=workers, description="insertion chain", progress=progress
    )
    return [link.path for link in reversed(links)]


def read_works(path: Path) -> Works:
    """Read the works of one n; ValueError if the file is damaged."""
    arrays = read_arrays(path, ("insertions", "removals", "drift_z"))
    return Works(
        arrays["insertions"].astype(float),
        arrays["removals"].astype(float),
        float(arrays["drift_z"]),
    )


def estimate_chain(paths: Sequence[Path], state: StatePoint, *, seed: int) -> FreeEnergy:
    """Join the works of all n; method `bar_chain`.

    Parameters
    ----------
    paths
        What `sample` returned for `state`.
    state
        The last state point of the chain.
    seed
        Seed of the bootstrap.

    Returns
    -------
    FreeEnergy
        With beta mu_ex(n), n = 1 to N - 1, in its diagnostics: value, standard error, correlation
        of neighbours (steps further apart share nothing), overlap and the number of independent
        insertions each rests on. The standard error is infinite where insertions fail at some n:
        the data then do not determine the sum.
    """
    steps, drifts, counts = _join(paths)
    resampled = bootstrap(steps, seed) * math.sqrt(counts["n_walkers"] / (counts["n_walkers"] - 1))
    values = np.array([step.value for step in steps])
    effective = np.array([effective_number(step.insertion_weights) for step in steps])
    failing = np.flatnonzero(effective < _TOO_FEW_INSERTIONS)
    return FreeEnergy(
        value=float(values.sum()),
        std_err=math.inf if len(failing) else float(resampled.sum(axis=1).std(ddof=1)),
        method="bar_chain",
        convention=state.convention,
        n_particles=state.n_particles,
        diagnostics={
            **counts,
            "beta_mu_ex": values.tolist(),
            "beta_mu_ex_std_err": resampled.std(axis=0, ddof=1).tolist(),
            "neighbour_correlation": neighbour_correlation(resampled).tolist(),
            "overlap": [step.overlap for step in steps],
            "effective_insertions": effective.tolist(),
            "first_n_where_insertion_fails": int(failing[0]) + 1 if len(failing) else None,
            "largest_energy_drift_z": max(drifts, key=abs),
            "verdict": _verdict(effective, drifts),
        },
    )


def _join(paths: Sequence[Path]) -> tuple[list[Step], list[float], dict[str, int]]:
    """The steps from n to n + 1, the drift at each n, and how much was sampled at each; two files
    at a time.
    """
    works = read_works(paths[0])
    counts = {
        "n_walkers": len(works.removals),
        "n_frames": works.removals.size,
        "n_insertions": works.insertions.size,
    }
    steps, drifts = [], [works.drift_z]
    for path in paths[1:]:
        following = read_works(path)
        steps.append(solve(works.insertions, following.removals))
        drifts.append(following.drift_z)
        works = following
    return steps, drifts, counts


def _sample_link(link: _Link) -> None:
    if link.path.exists():
        return
    state, config = link.state, link.config
    walkers = Walkers(state, config.n_walkers, link.seed)
    walkers.equilibrate(config.equilibration_sweeps)
    rng = np.random.default_rng(derive_seed(link.seed, "insertions"))
    insertions, removals = [], []
    for _ in range(config.n_frames):
        for _ in range(config.sweeps_between):
            walkers.sweep()
        insertions.append(
            insertion_energies(walkers.positions_sigma, state, config.n_insertions, rng)
        )
        removals.append(walkers.removal_energies)
    change = 0.5 * (removals[-1] - removals[0]).sum(
        axis=1
    )  # each pair is in the energies of two particles
    with atomic_path(link.path) as temporary:
        np.savez_compressed(
            temporary,
            insertions=np.minimum(np.concatenate(insertions, axis=1), HIGHEST).astype(np.float32),
            removals=np.concatenate(removals, axis=1).astype(np.float32),
            drift_z=_drift_z(change),
        )


def _drift_z(change: np.ndarray) -> float:
    """Mean over its standard error; 0 where nothing changes, as for one particle."""
    error = float(change.std(ddof=1)) / math.sqrt(len(change))
    return float(change.mean()) / error if error > 0 else 0.0


def _verdict(effective: np.ndarray, drifts: Sequence[float]) -> str:
    worst = int(effective.argmin())
    carried = (
        f"about {effective[worst]:.0f} independent insertions carry the step from n = {worst + 1}"
    )
    failing = np.flatnonzero(effective < _TOO_FEW_INSERTIONS)
    if len(failing):
        return (
            f"unreliable: insertions find no room, first at n = {failing[0] + 1} ({carried}); "
            "raise n_insertions and n_frames, or use mbar_softcore"
        )
    drift = max(drifts, key=abs)
    if abs(drift) > _DRIFT:
        return (
            f"poor equilibration at n = {drifts.index(drift) + 1} (drift {drift:.1f} errors); "
            "sample longer"
        )
    if effective[worst] < _GOOD_INSERTIONS:
        return f"few insertions: {carried}; raise n_insertions and n_frames"
    return f"good ({carried}, the fewest)"
