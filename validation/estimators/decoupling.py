r"""Excess chemical potential by coupling one particle through soft-core windows, then MBAR.

In a System of N + 1 particles the last one sees the N others through the soft core of
`softcore_fluid`,

    U_lambda(x) = beta U_LJ(x_1, ..., x_N) + sum_{i <= N} u_lambda(|x_i - x_{N+1}|),

from a ghost at lambda = 0 to one of N + 1 equal particles at lambda = 1. Hence F(1) - F(0) is

    beta mu_ex(N) = beta F_ex(N + 1) - beta F_ex(N),

which is what `widom` estimates, also in the dense fluid where insertion finds no room. All windows
differ in the last particle's energy alone, so MBAR needs nothing else. With `particle: present` the
soft particle is one of those that are there: the result is that of one particle less.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
import openmm
from pydantic import Field

from openmm_nti.fluid.energy import nearest_image
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.md.fluid_system import fluid_system, leave_out
from openmm_nti.md.langevin import frames_sigma
from openmm_nti.md.platforms import description_of_fastest
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_estimates import estimate_mbar
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.neural_windows import WindowEstimator, n_evaluations
from openmm_nti.validation.estimators.softcore import (
    SoftcoreConfig,
    chain_context,
    expected_windows,
    together,
    window_lambdas,
)
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.sampling.softcore_fluid import raise_coupling, soft_force, soft_pair

_SOFT_STEP = 2.5  # in steps of MD of the fluid


class DecouplingConfig(SoftcoreConfig):
    """How the windows of one soft particle are sampled."""

    n_windows: int | None = Field(
        default=12, ge=3, le=10_000, description="Windows; empty: as many as window_length asks."
    )
    n_frames: int = Field(default=100, ge=2, le=1_000_000, description="Frames kept of each chain.")
    particle: Literal["next", "present"] = Field(
        default="next",
        description="`next`: one more particle than there are; `present`: one of those, such as "
        "the only solute.",
    )
    equilibration: int = Field(
        default=4000,
        ge=0,
        le=1_000_000_000,
        description="MD steps before the first frame, from a lattice; lambda grows in the first "
        "half.",
    )


@takes_execution
def estimate(
    state: StatePoint, config: DecouplingConfig, species: str | None = None, *, execution: Execution
) -> FreeEnergy:
    """Return beta mu_ex(N) of the N particles of `state`, as `mu_decoupling`; see `sample`."""
    data = sample(state, config, species, execution=execution)
    return from_windows(data, _without(state, config, species), species, execution=execution)


def _without(state: StatePoint, config: DecouplingConfig, species: str | None) -> StatePoint:
    """Return the state without the soft particle."""
    return state if config.particle == "next" else state.one_less(species)


@takes_execution
def from_windows(
    data: WindowData, state: StatePoint, species: str | None = None, *, execution: Execution
) -> FreeEnergy:
    """Return beta mu_ex(N) of `state` from the samples of all windows."""
    bootstrap = execution.child("bootstrap")
    found = estimate_mbar(data, state, method="mu_decoupling", execution=bootstrap)
    species = species if state.is_mixture else None
    return replace(found, quantity="beta_mu_ex", species=species)


@takes_execution
def sample(
    state: StatePoint, config: DecouplingConfig, species: str | None = None, *, execution: Execution
) -> WindowData:
    """Return samples of all windows; finished ones are taken from disk.

    Parameters
    ----------
    state
        N particles, their box, temperature and pair potential, which must have no jump.
    config
        How to sample.
    species
        Name of the species of the soft particle, in a mixture.
    execution
        Equal seeds give equal samples on one platform; windows are kept in `decoupling_windows/` of
        its folder.

    Returns
    -------
    WindowData
        Energies of the last particle, kT.

    Raises
    ------
    ValueError
        If the convention is `truncated`: forces do not feel the jump at the cutoff, and this does
        not reweight it.
    """
    if not state.is_continuous:
        raise ValueError(
            f"convention = {state.convention}: mu_decoupling needs switched; use bar_chain or widom"
        )
    more = _without(state, config, species).one_more(species)
    particle = last_of(more, species)
    lambdas = window_lambdas(more, config, n_pairs=more.n_particles - 1)
    sampled = execution.map_stored(
        partial(_sample_window, more, particle, config, lambdas, execution),
        range(len(lambdas)),
        name="decoupling_windows",
        inputs=[more, config, lambdas, *([species] if state.is_mixture else [])],
        description="one soft particle",
        labels=[f"one particle at lambda = {coupling:.4f} in {more}" for coupling in lambdas],
    )
    return together(lambdas, config, sampled)


def last_of(state: StatePoint, species: str | None) -> int:
    """Return the index of the last particle of a species."""
    numbers = list(state.composition.values())
    return sum(numbers[: state.number_of_species(species) + 1]) - 1


def coupling_system(state: StatePoint, particle: int = -1) -> openmm.System:
    """Return the fluid in OpenMM with one particle, by default the last, coupled to the others.

    The global parameter `lambda_softcore` scales the coupling.
    """
    n = state.n_particles
    system, particle = fluid_system(state), particle % n
    leave_out(system.getForce(0), particle, n)
    force = soft_force(state)
    force.addInteractionGroup([particle], [index for index in range(n) if index != particle])
    system.addForce(force)
    return system


def particle_energy(
    positions_sigma: np.ndarray, state: StatePoint, lambdas: np.ndarray, particle: int = -1
) -> tuple[np.ndarray, np.ndarray]:
    """Return the energy of one particle with all others and its lambda derivative, in float64.

    Parameters
    ----------
    positions_sigma
        Positions, wrapped or not. Shape (F, N, 3), sigma.
    lambdas
        Shape (K,).
    particle
        Its index, by default the last.

    Returns
    -------
    energy, slope
        Shape (F, K), kT.
    """
    others = np.delete(np.arange(state.n_particles), particle)
    separation = positions_sigma[:, others] - positions_sigma[:, [particle]]
    separation = nearest_image(separation, state.edges_sigma)
    kind = state.kinds(particle, others)
    energy, slope = soft_pair((separation**2).sum(axis=-1), state, lambdas, kind)
    return energy.sum(axis=-1).T, slope.sum(axis=-1).T


def _sample_window(
    state: StatePoint,
    particle: int,
    config: DecouplingConfig,
    lambdas: np.ndarray,
    execution: Execution,
    k: int,
) -> dict[str, np.ndarray]:
    """Return energies at all lambdas (n, K) and dU/dlambda (n,) of window k, kT."""
    own = execution.child("decoupling", k)
    coupling = float(lambdas[k])
    chains = [
        _sample_chain(state, particle, config, coupling, own.child(chain))
        for chain in range(config.n_chains)
    ]
    energy, slope = particle_energy(np.concatenate(chains), state, lambdas, particle)
    platform = np.array([description_of_fastest(config.platform)])
    return {"u": energy, "dudl": slope[:, k], "platform": platform}


def _sample_chain(
    state: StatePoint,
    particle: int,
    config: DecouplingConfig,
    coupling: float,
    execution: Execution,
) -> np.ndarray:
    """Return frames (F, N + 1, 3), sigma, of a chain from a lattice with a ghost."""
    context = chain_context(coupling_system(state, particle), state, config, execution)
    context.setPositions(lattice_positions_nm(state, execution.seed))
    try:
        raise_coupling(context, coupling, config.equilibration)
        frames = frames_sigma(context, state, config.n_frames, config.steps_between)
    except openmm.OpenMMException as error:
        raise RuntimeError(
            f"{error} Where it is NaN, lower timestep_star = {config.timestep_star:g}"
        ) from error
    if not np.isfinite(frames).all():
        raise RuntimeError(
            f"the simulation blew up: lower timestep_star = {config.timestep_star:g}"
        )
    return frames


class MuDecoupling(WindowEstimator):
    """MBAR over windows of one soft particle."""

    name = "mu_decoupling"
    section = "decoupling"
    path_name = "decoupling"
    files = ("decoupling_windows.npz", "decoupling_convergence.npz")
    Config = DecouplingConfig
    quantity = "beta_mu_ex"
    summary = "MBAR over soft-core windows of one particle; uses no network"
    order = 120
    preference = 70

    def sample(self, job: Job, config: DecouplingConfig) -> WindowData:
        """Return the samples of all windows."""
        return sample(job.state, config, job.species, execution=job.execution)

    def estimate(self, job: Job, config: DecouplingConfig) -> FreeEnergy:
        """Return beta mu_ex(N) by MBAR."""
        data = self.samples(job, config)
        state = _without(job.state, config, job.species)
        return from_windows(data, state, job.species, execution=job.execution)

    def seconds(self, config: DecouplingConfig, n: int, pace: Pace) -> float:
        """Return the time of the MD; energies of one particle take next to none."""
        chains = expected_windows(config, n) * config.n_chains
        steps = chains * (config.equilibration + config.n_frames * config.steps_between)
        return _SOFT_STEP * steps * pace.md_step(n)

    def evaluations(self, config: DecouplingConfig, found: FreeEnergy) -> int:
        """Return how many energies with forces the samples took."""
        return n_evaluations(
            found, config.equilibration, config.steps_between, first_is_drawn=False
        )


ESTIMATORS = (MuDecoupling(),)
