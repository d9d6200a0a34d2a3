r"""Excess free energy by the classical route: soft-core windows in plain OpenMM, then MBAR.

All pairs at once are scaled from nothing to Lennard-Jones (`softcore_fluid`). Windows are
equidistant in the thermodynamic length of the pair approximation, which needs no simulation.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import openmm
from openmm import unit
from pydantic import Field

from openmm_nti.fluid.energy import truncation_log_weights
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.md.langevin import langevin_context
from openmm_nti.md.platforms import PlatformName, description_of_fastest
from openmm_nti.reference_md.statistics import evenly_spaced
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.settings import Settings
from openmm_nti.validation.analysis.window_data import WindowData, platform_of
from openmm_nti.validation.analysis.window_estimates import estimate_mbar
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.neural_windows import WindowEstimator, n_evaluations
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.sampling.softcore_fluid import (
    PARAMETER,
    place_windows,
    raise_coupling,
    soft_pair,
    soft_potential,
    soft_system,
)

# In steps of MD of the fluid: a step with the soft core, and an energy at another lambda per
# particle.
_SOFT_STEP, _OTHER_ENERGY = 2.5, 0.005


class SoftcoreConfig(Settings):
    """How soft-core windows are sampled."""

    n_windows: int | None = Field(
        default=None,
        ge=3,
        le=10_000,
        description="Windows; by default as many as window_length asks.",
    )
    window_length: float = Field(
        default=0.7,
        gt=0,
        le=2,
        description="Thermodynamic length between neighbouring windows, in the pair estimate.",
    )
    n_chains: int = Field(
        default=8,
        ge=1,
        le=10_000,
        description="Independent chains in each window; 8 or more for chain errors.",
    )
    n_frames: int = Field(default=60, ge=2, le=1_000_000, description="Frames kept of each chain.")
    steps_between: int = Field(
        default=50, ge=1, le=1_000_000, description="MD steps between frames."
    )
    equilibration: int = Field(
        default=800,
        ge=0,
        le=1_000_000_000,
        description="MD steps before the first frame; lambda grows to its value in the first half.",
    )
    timestep_star: float = Field(
        default=0.006, gt=0, le=0.02, description="MD time step, in sigma sqrt(m / epsilon)."
    )
    friction_star: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description="Langevin friction, in 1 / (sigma sqrt(m / epsilon)).",
    )
    platform: PlatformName | None = Field(
        default=None, description="OpenMM platform; by default the fastest that works."
    )


@takes_execution
def estimate(state: StatePoint, config: SoftcoreConfig, execution: Execution) -> FreeEnergy:
    """Return beta F_ex of `state` by `sample` and MBAR, as `mbar_softcore`; see `sample`."""
    data = sample(state, config, execution)
    return estimate_mbar(data, state, method="mbar_softcore", execution=execution)


@takes_execution
def sample(state: StatePoint, config: SoftcoreConfig, execution: Execution) -> WindowData:
    """Return samples of all soft-core windows.

    Each finished window is a file, so that an interrupted run goes on where it stopped.

    Parameters
    ----------
    state
        The state point.
    config
        How to sample.
    execution
        Equal seeds give equal samples on one platform; windows are kept in `softcore_windows/` of
        its folder.

    Returns
    -------
    WindowData
        u_kln from float64 numpy, dU/dlambda from OpenMM.
    """
    lambdas = window_lambdas(state, config)
    sampled = execution.map_stored(
        partial(_sample_window, state, config, lambdas, execution),
        range(len(lambdas)),
        name="softcore_windows",
        inputs=[state, config, lambdas],
        description="soft-core windows",
        labels=[f"soft-core window lambda = {coupling:.4f} of {state}" for coupling in lambdas],
    )
    return together(lambdas, config, sampled)


def together(
    lambdas: np.ndarray, config: SoftcoreConfig, sampled: list[dict[str, np.ndarray]]
) -> WindowData:
    """Return the samples of all windows, from the arrays `u` and `dudl` of each."""
    u_kln, dudl = (np.stack([window[name] for window in sampled]) for name in ("u", "dudl"))
    chain = np.repeat(np.arange(config.n_chains), config.n_frames)
    return WindowData(lambdas, u_kln, dudl, chain, platform=platform_of(sampled))


def window_lambdas(
    state: StatePoint, config: SoftcoreConfig, n_pairs: float | None = None
) -> np.ndarray:
    """Return windows equidistant in the pair estimate of thermodynamic length, (K,), from 0 to 1.

    `n_pairs` is how many pairs are soft; by default all of them.
    """
    pairs = n_pairs or 0.5 * state.n_particles * (state.n_particles - 1)
    return place_windows(state, pairs, config.window_length, config.n_windows)


def _sample_window(
    state: StatePoint, config: SoftcoreConfig, lambdas: np.ndarray, execution: Execution, k: int
) -> dict[str, np.ndarray]:
    """Return potentials at all lambdas (n, K) and dU/dlambda (n,) of window k, kT."""
    own = execution.child("softcore", k)
    coupling = float(lambdas[k])
    try:
        chains = [
            _sample_chain(state, config, coupling, own.child(chain))
            for chain in range(config.n_chains)
        ]
    except openmm.OpenMMException as error:
        raise RuntimeError(
            f"{error} Where it is NaN, lower timestep_star = {config.timestep_star:g}"
        ) from error
    positions, dudl = (np.concatenate(arrays) for arrays in zip(*chains, strict=True))
    platform = np.array([description_of_fastest(config.platform)])
    return {"u": soft_potential(positions, state, lambdas)[0], "dudl": dudl, "platform": platform}


def _sample_chain(
    state: StatePoint, config: SoftcoreConfig, coupling: float, execution: Execution
) -> tuple[np.ndarray, np.ndarray]:
    """Return frames (F, N, 3), sigma, and dU/dlambda (F,), kT, of a chain from random positions.

    At lambda = 0 every frame is a fresh set of random positions, which are exact and independent
    samples.
    """
    rng = np.random.default_rng(execution.seed)
    context = chain_context(soft_system(state), state, config, execution)
    positions = np.empty((config.n_frames, state.n_particles, 3))
    dudl = np.empty(config.n_frames)
    context.setPositions(rng.uniform(0, state.edges_nm, positions.shape[1:]))
    if coupling > 0:
        raise_coupling(context, coupling, config.equilibration)
    for frame in range(config.n_frames):
        if coupling == 0:
            context.setPositions(rng.uniform(0, state.edges_nm, positions.shape[1:]))
        else:
            context.getIntegrator().step(config.steps_between)
        snapshot = context.getState(positions=True, parameterDerivatives=True)
        positions[frame] = (
            snapshot.getPositions(asNumpy=True).value_in_unit(unit.nanometer) / state.sigma_nm
        )
        dudl[frame] = snapshot.getEnergyParameterDerivatives()[PARAMETER] / state.kt_kj_mol
    if not np.isfinite(positions).all():
        raise RuntimeError(
            f"the simulation blew up: lower timestep_star = {config.timestep_star:g}"
        )
    selected = _undo_shift(positions, state, coupling)
    return positions[selected], dudl[selected]


def chain_context(
    system: openmm.System, state: StatePoint, config: SoftcoreConfig, execution: Execution
) -> openmm.Context:
    """Return a Context for a chain of `system` with the dynamics of `config`."""
    return langevin_context(
        system,
        state,
        timestep_star=config.timestep_star,
        friction_star=config.friction_star,
        platform=config.platform,
        thermostat_seed=execution.seed,
    )


def _undo_shift(positions_sigma: np.ndarray, state: StatePoint, coupling: float) -> np.ndarray:
    """Return indices of frames, some repeated, that represent `state.convention`.

    See `fluid.energy.truncation_log_weights`.
    """
    if state.is_continuous:
        return evenly_spaced(np.zeros(len(positions_sigma)), len(positions_sigma))
    kinds = np.arange(len(state.pair_potential.kinds)) if state.is_mixture else None
    within = np.full(1 if kinds is None else len(kinds), np.nextafter(state.cutoff_sigma**2, 0))
    at_cutoff = soft_pair(within, state, np.array([coupling, 1.0]), kinds)[0]
    log_weights = truncation_log_weights(positions_sigma, state, at_cutoff[0] / at_cutoff[1])
    return evenly_spaced(log_weights, len(positions_sigma))


def expected_windows(config: SoftcoreConfig, n: int) -> int:
    """Return about how many windows there will be at N = `n`."""
    return config.n_windows or 10 + n // 3


class MbarSoftcore(WindowEstimator):
    """MBAR over soft-core windows."""

    name = "mbar_softcore"
    section = "softcore"
    path_name = "softcore"
    files = ("softcore_windows.npz", "softcore_convergence.npz")
    Config = SoftcoreConfig
    summary = "MBAR over classical soft-core windows; uses no network"
    in_runs = True
    order = 110
    preference = 10

    def sample(self, job: Job, config: SoftcoreConfig) -> WindowData:
        """Return the samples of all windows."""
        return sample(job.state, config, job.execution)

    def estimate(self, job: Job, config: SoftcoreConfig) -> FreeEnergy:
        """Return beta F_ex by MBAR."""
        data = self.samples(job, config)
        found = estimate_mbar(data, job.state, method=self.name, execution=job.execution)
        self.keep_convergence(data, job.state, job.execution)
        return found

    def seconds(self, config: SoftcoreConfig, n: int, pace: Pace) -> float:
        """Return the time of the MD, and of energies at all windows."""
        count = expected_windows(config, n)
        frames = count * config.n_chains * config.n_frames
        steps = count * config.n_chains * config.equilibration + frames * config.steps_between
        energies = frames * count * n
        return (_SOFT_STEP * steps + _OTHER_ENERGY * energies) * pace.md_step(n)

    def evaluations(self, config: SoftcoreConfig, found: FreeEnergy) -> int:
        """Return how many energies with forces the samples took."""
        return n_evaluations(found, config.equilibration, config.steps_between, first_is_drawn=True)


ESTIMATORS = (MbarSoftcore(),)
