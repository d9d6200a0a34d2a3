r"""Excess free energy by the classical route: soft-core windows in plain OpenMM, then MBAR.

All pairs at once are scaled from nothing to Lennard-Jones (`softcore_fluid`). Windows are
equidistant in thermodynamic length, int std(dU/dlambda) dlambda, of the pair approximation

    var(dU/dlambda) = N (N - 1) / (2 V) int (du/dlambda)^2 exp(-u_lambda) 4 pi r^2 dr,

which is exact at low density and needs no simulation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm
from openmm import unit
from pydantic import BaseModel, ConfigDict, Field

from openmm_nti.files import atomic_path, fingerprint
from openmm_nti.fluid.energy import truncation_log_weights
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.md.platforms import fastest_platform, platform_properties
from openmm_nti.reference_md.statistics import evenly_spaced
from openmm_nti.runtime.stored import read_arrays
from openmm_nti.runtime.tasks import derive_seed, run_tasks
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_estimates import estimate_mbar
from openmm_nti.validation.sampling.softcore_fluid import (
    PARAMETER,
    soft_pair,
    soft_potential,
    soft_system,
)

_RAMP_STAGES = 20
_OVERLAP_KT = 5.0  # per particle; a fluid without overlaps has less at any lambda
_FEWEST_WINDOWS = 5


class SoftcoreConfig(BaseModel):
    """How soft-core windows are sampled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_windows: int | None = Field(
        default=None, ge=3, description="Windows; by default as many as window_length asks."
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
        description="Independent chains in each window; 8 or more for chain errors.",
    )
    n_frames: int = Field(default=60, ge=2, description="Frames kept of each chain.")
    steps_between: int = Field(default=50, ge=1, description="MD steps between frames.")
    equilibration: int = Field(
        default=800,
        ge=0,
        description="MD steps before the first frame; lambda grows to its value in the first half.",
    )
    timestep_star: float = Field(
        default=0.006, gt=0, le=0.02, description="MD time step, in sigma sqrt(m / epsilon)."
    )
    friction_star: float = Field(
        default=1.0, gt=0, description="Langevin friction, in 1 / (sigma sqrt(m / epsilon))."
    )
    platform: str | None = Field(
        default=None, description="OpenMM platform; by default the fastest that works."
    )


@dataclass(frozen=True)
class _Window:
    """One task: everything that decides the samples of one window, and where they go."""

    state: StatePoint
    config: SoftcoreConfig
    lambdas: np.ndarray
    index: int
    seed: int
    path: Path

    @property
    def coupling(self) -> float:
        """The window's lambda."""
        return float(self.lambdas[self.index])

    def __str__(self) -> str:
        return f"soft-core window lambda = {self.coupling:.4f} of {self.state}"


def estimate(
    state: StatePoint,
    config: SoftcoreConfig,
    *,
    seed: int,
    directory: Path,
    workers: int = 1,
    progress: bool = True,
) -> FreeEnergy:
    """Excess free energy beta F_ex of `state` by `sample` and MBAR, as `mbar_softcore`. Arguments
    as in `sample`.
    """
    data = sample(state, config, seed=seed, directory=directory, workers=workers, progress=progress)
    return estimate_mbar(data, state, method="mbar_softcore", seed=derive_seed(seed, "bootstrap"))


def sample(
    state: StatePoint,
    config: SoftcoreConfig,
    *,
    seed: int,
    directory: Path,
    workers: int = 1,
    progress: bool = True,
) -> WindowData:
    """Sample all soft-core windows.

    Each finished window is a file in `directory` named by what decides it, so that a run that was
    interrupted goes on where it stopped, and another seed or configuration never picks up old
    samples.

    Parameters
    ----------
    state
        The state point.
    config
        How to sample.
    seed
        Equal seeds give equal samples on one platform.
    directory
        Where the windows are kept.
    workers
        Number of processes.
    progress
        Show a progress bar.

    Returns
    -------
    WindowData
        u_kln from float64 numpy, dU/dlambda from OpenMM.
    """
    lambdas = window_lambdas(state, config)
    name = fingerprint([state.model_dump(), config.model_dump(), seed])
    windows = [
        _Window(
            state,
            config,
            lambdas,
            k,
            derive_seed(seed, "softcore", k),
            directory / f"{name}_{k:03d}.npz",
        )
        for k in range(len(lambdas))
    ]
    sampled = run_tasks(
        _sample_window, windows, workers=workers, description="soft-core windows", progress=progress
    )
    u_kln, dudl = (np.stack(arrays) for arrays in zip(*sampled, strict=True))
    return WindowData(lambdas, u_kln, dudl, np.repeat(np.arange(config.n_chains), config.n_frames))


def window_lambdas(
    state: StatePoint, config: SoftcoreConfig, n_pairs: float | None = None
) -> np.ndarray:
    """Windows equidistant in the pair estimate of thermodynamic length. Shape (K,), from 0 to 1.

    `n_pairs` is how many pairs are soft; by default all of them.
    """
    grid = np.linspace(0, 1, 401)
    r = np.linspace(0, state.cutoff_sigma, 2001)[1:]
    energy, slope = soft_pair(r**2, state, grid)
    with np.errstate(invalid="ignore"):  # infinity times zero where r -> 0 at lambda = 1
        integrand = np.nan_to_num(slope**2 * np.exp(-energy)) * 4 * np.pi * r**2
    pairs = n_pairs or 0.5 * state.n_particles * (state.n_particles - 1)
    deviation = np.sqrt(pairs / state.box_length_sigma**3 * np.trapezoid(integrand, r))
    length = np.concatenate(
        [[0.0], np.cumsum(0.5 * (deviation[1:] + deviation[:-1]) * np.diff(grid))]
    )
    n_windows = config.n_windows or max(
        _FEWEST_WINDOWS, 1 + int(np.ceil(length[-1] / config.window_length))
    )
    lambdas = np.interp(np.linspace(0, length[-1], n_windows), length, grid)
    lambdas[[0, -1]] = 0, 1
    return lambdas


def _sample_window(window: _Window) -> tuple[np.ndarray, np.ndarray]:
    """Potentials at all lambdas (n, K) and dU/dlambda (n,) of one window, kT; from its file when
    that is there.
    """
    if window.path.exists():
        loaded = read_arrays(window.path, ["u", "dudl"])
        return loaded["u"], loaded["dudl"]
    try:
        chains = [
            _sample_chain(window, derive_seed(window.seed, chain))
            for chain in range(window.config.n_chains)
        ]
    except openmm.OpenMMException as error:
        raise RuntimeError(
            f"{error} Where it is NaN, lower timestep_star = {window.config.timestep_star:g}"
        ) from error
    positions, dudl = (np.concatenate(arrays) for arrays in zip(*chains, strict=True))
    u = soft_potential(positions, window.state, window.lambdas)[0]
    with atomic_path(window.path) as temporary:
        np.savez(temporary, u=u, dudl=dudl)
    return u, dudl


def _sample_chain(window: _Window, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames (F, N, 3), sigma, and dU/dlambda (F,), kT, of one chain that starts from random
    positions.

    At lambda = 0 every frame is a fresh set of random positions, which are exact and independent
    samples.
    """
    state, config = window.state, window.config
    rng = np.random.default_rng(seed)
    context = make_context(soft_system(state), state, config, seed)
    positions = np.empty((config.n_frames, state.n_particles, 3))
    dudl = np.empty(config.n_frames)
    context.setPositions(rng.uniform(0, state.box_length_nm, positions.shape[1:]))
    if window.index > 0:
        raise_coupling(context, window.coupling, config.equilibration)
    for frame in range(config.n_frames):
        if window.index == 0:
            context.setPositions(rng.uniform(0, state.box_length_nm, positions.shape[1:]))
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
    kept = _undo_shift(positions, state, window.coupling)
    return positions[kept], dudl[kept]


def make_context(
    system: openmm.System, state: StatePoint, config: SoftcoreConfig, seed: int
) -> openmm.Context:
    """A Context that samples `system` at the temperature of `state` by Langevin dynamics."""
    integrator = openmm.LangevinMiddleIntegrator(
        state.temperature_kelvin,
        config.friction_star / state.time_unit_ps,
        config.timestep_star * state.time_unit_ps,
    )
    integrator.setRandomNumberSeed(seed)
    platform = fastest_platform(config.platform)
    return openmm.Context(system, integrator, platform, platform_properties(platform))


def raise_coupling(context: openmm.Context, coupling: float, n_steps: int) -> None:
    """Raise lambda from 0 to `coupling` in stages during half of the steps, then relax there.

    A dense fluid may not have come apart everywhere before its cores harden: what still overlaps is
    pushed apart by minimisation, which an equilibrated fluid never needs.
    """
    temperature = context.getIntegrator().getTemperature()
    fluid_at_most = (
        _OVERLAP_KT
        * context.getSystem().getNumParticles()
        * unit.MOLAR_GAS_CONSTANT_R
        * temperature
    )
    for stage in range(1, _RAMP_STAGES + 1):
        context.setParameter(PARAMETER, coupling * stage / _RAMP_STAGES)
        if context.getState(energy=True).getPotentialEnergy() > fluid_at_most:
            openmm.LocalEnergyMinimizer.minimize(context, maxIterations=100)
            context.setVelocitiesToTemperature(
                temperature, context.getIntegrator().getRandomNumberSeed() + stage
            )
        context.getIntegrator().step(n_steps // (2 * _RAMP_STAGES))
    context.getIntegrator().step(n_steps // 2)


def _undo_shift(positions_sigma: np.ndarray, state: StatePoint, coupling: float) -> np.ndarray:
    """Indices of frames, some repeated, that represent `state.convention`: see
    `fluid.energy.truncation_log_weights`.
    """
    at_cutoff = soft_pair(
        np.array(np.nextafter(state.cutoff_sigma**2, 0)), state, np.array([coupling, 1.0])
    )[0]
    log_weights = truncation_log_weights(positions_sigma, state)
    if not state.is_continuous:
        log_weights *= at_cutoff[0] / at_cutoff[1]
    return evenly_spaced(log_weights, len(positions_sigma))
