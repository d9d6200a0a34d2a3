r"""Free energy of a crystal by the classical route: windows from the Einstein crystal, then MBAR.

The springs of the Einstein crystal are turned off while the pair potential is turned on,

.. math:: \beta U_\lambda = (1 - \lambda) |u|^2 / 2c + \lambda \beta U(R + u),

with displacements u whose sum is zero (D. Frenkel, A. J. C. Ladd, J. Chem. Phys. 81, 3188 (1984)).
The springs are as stiff as an atom's surroundings at rest, c = kT / k with 3N k the Laplacian of U
at the sites, unless `variance` says otherwise. Windows are equidistant in thermodynamic length,
which short simulations measure first. U_lambda is linear in lambda: one energy of a sample gives it
at all windows. Then

.. math:: -\ln Z_{rel} = -\frac{d}{2} \ln 2 \pi c + \Delta, \qquad d = 3 (N - 1),

where Delta is the difference that MBAR finds; `references.einstein_crystal` has the conversions to
beta F_ex and to beta A / N. No network is needed, and no reference data.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import openmm
import torch
from pydantic import Field

from openmm_nti.fluid.displacements import about_sites
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.md.langevin import frames_sigma, langevin_context
from openmm_nti.md.platforms import PlatformName, description_of_fastest
from openmm_nti.references.einstein_crystal import EinsteinCrystal
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.settings import Settings
from openmm_nti.validation.analysis.window_data import WindowData, platform_of
from openmm_nti.validation.analysis.window_diagnostics import WindowDiagnostics
from openmm_nti.validation.analysis.window_estimates import estimate_mbar
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.crystals.conventions import (
    CrystalDiagnostics,
    crystal_free_energy,
    crystal_numbers,
)
from openmm_nti.validation.estimators.crystals.einstein_path import crystal_system
from openmm_nti.validation.estimators.crystals.lattice_modes import variance_of
from openmm_nti.validation.estimators.neural_windows import WindowEstimator, n_evaluations
from openmm_nti.validation.pace import Pace

_FOLDER = "frenkel_ladd_windows"
_PILOT = np.linspace(0.0, 1.0, 13) ** 4  # dU/dlambda fluctuates most near the Einstein crystal


class FrenkelLaddConfig(Settings):
    """How the windows between Einstein crystal and crystal are sampled."""

    variance: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Mean square displacement of a coordinate in the Einstein crystal, in sigma^2; "
        "by default that of an atom between others at rest.",
    )
    n_windows: int | None = Field(
        default=None, ge=3, le=10_000, description="Windows; by default by window_length."
    )
    window_length: float = Field(
        default=1.0, gt=0, le=5, description="Thermodynamic length between neighbouring windows."
    )
    n_chains: int = Field(
        default=8, ge=1, le=10_000, description="Independent chains in each window."
    )
    n_frames: int = Field(default=40, ge=2, le=1_000_000, description="Frames kept of each chain.")
    steps_between: int = Field(
        default=50, ge=1, le=1_000_000, description="MD steps between frames."
    )
    equilibration: int = Field(
        default=800, ge=0, le=1_000_000_000, description="MD steps before the first frame."
    )
    timestep_star: float = Field(
        default=0.004, gt=0, le=0.02, description="MD time step, in sigma sqrt(m / epsilon)."
    )
    friction_star: float = Field(
        default=5.0,
        gt=0,
        le=1000,
        description="Langevin friction, in 1 / (sigma sqrt(m / epsilon)); vibrations forget within "
        "about two of its inverses.",
    )
    platform: PlatformName | None = Field(
        default=None, description="OpenMM platform; by default the fastest that works."
    )


class FrenkelLaddDiagnostics(WindowDiagnostics, CrystalDiagnostics):
    """Facts about windows from an Einstein crystal; `variance` is that of its coordinates."""

    variance: float


@takes_execution
def estimate(state: StatePoint, config: FrenkelLaddConfig, execution: Execution) -> FreeEnergy:
    """Return beta F_ex of a crystal by `sample` and MBAR, as `frenkel_ladd`; see `sample`."""
    return _result(sample(state, config, execution), state, config, execution)


@takes_execution
def sample(state: StatePoint, config: FrenkelLaddConfig, execution: Execution) -> WindowData:
    """Return samples of all windows between the Einstein crystal and the crystal.

    Parameters
    ----------
    state
        A crystal.
    config
        How to sample.
    execution
        Equal seeds give equal samples on one platform; finished windows are kept in
        `frenkel_ladd_windows/` of its folder.

    Raises
    ------
    ValueError
        If the state is a fluid, its energy jumps at the cutoff, or the lattice is unstable.
    TaskError
        If a simulation fails, or the crystal melts in it.
    """
    if not state.is_continuous:
        raise ValueError(
            f"convention = {state.convention}: frenkel_ladd needs an energy without jumps, for MD "
            "does not feel them; use switched, shifted or force_shifted"
        )
    variance = variance_of(state, config.variance)
    lambdas = _place(state, variance, config, execution)
    windows = execution.map_stored(
        partial(_sample_window, state, variance, config, lambdas, execution),
        range(len(lambdas)),
        name=_FOLDER,
        inputs=[state, variance, config, lambdas],
        description="Frenkel-Ladd windows",
        labels=[f"window lambda = {coupling:.3g} of {state}" for coupling in lambdas],
    )
    springs, pairs = (np.stack([part[name] for part in windows]) for name in ("springs", "pairs"))
    chain = np.repeat(np.arange(config.n_chains), config.n_frames)
    u_kln = (1 - lambdas) * springs[..., np.newaxis] + lambdas * pairs[..., np.newaxis]
    return WindowData(lambdas, u_kln, pairs - springs, chain, platform=platform_of(windows))


def _place(
    state: StatePoint, variance: float, config: FrenkelLaddConfig, execution: Execution
) -> np.ndarray:
    """Return lambdas from 0 to 1, (K,), equidistant in the length that short simulations show.

    That is the integral of std(dU/dlambda). Near lambda = 0 it hardly depends on the samples: where
    cores overlap, the logarithm of lambda counts, and lambda itself comes close to zero.
    """
    short = config.model_copy(update={"n_chains": 2, "n_frames": 20})
    pilots = execution.map_stored(
        partial(_sample_window, state, variance, short, _PILOT, execution.child("pilot")),
        range(1, len(_PILOT)),
        name=_FOLDER,
        inputs=[state, variance, short, "pilot"],
        description="Frenkel-Ladd windows, to place them",
        labels=[f"pilot lambda = {coupling:.3g} of {state}" for coupling in _PILOT[1:]],
    )
    speed = np.array([np.std(part["pairs"] - part["springs"], ddof=1) for part in pilots])
    speed = np.append(speed[:1], speed)
    steps = 0.5 * (speed[1:] + speed[:-1]) * np.diff(_PILOT)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    count = config.n_windows or max(6, 1 + math.ceil(length[-1] / config.window_length))
    # Between pilots the length is close to a straight line in the fourth root of lambda.
    found = np.interp(np.linspace(0, length[-1], count), length, _PILOT**0.25) ** 4
    found[0], found[-1] = 0.0, 1.0
    return np.asarray(found)


def _sample_window(
    state: StatePoint,
    variance: float,
    config: FrenkelLaddConfig,
    lambdas: np.ndarray,
    execution: Execution,
    k: int,
) -> dict[str, np.ndarray]:
    """Return both energies, (n,), kT, of the samples of window k: of the springs, of the pairs."""
    own, coupling = execution.child("frenkel_ladd", k), float(lambdas[k])
    einstein = EinsteinCrystal(state, variance)
    if coupling == 0:
        generator = torch.Generator().manual_seed(own.seed)
        size = config.n_chains * config.n_frames
        positions = einstein.sample(size, state.n_particles, box_of(state), generator).numpy()
    else:
        try:
            chains = [
                _sample_chain(state, variance, config, coupling, own.child(chain))
                for chain in range(config.n_chains)
            ]
        except openmm.OpenMMException as error:
            raise RuntimeError(
                f"{error} Where it is NaN, lower timestep_star = {config.timestep_star:g}"
            ) from error
        positions = np.concatenate(chains)
    return {
        "springs": einstein.energy(torch.as_tensor(positions)).numpy(),
        "pairs": reduced_potential_numpy(positions, state),
        "platform": np.array([description_of_fastest(config.platform)]),
    }


def _sample_chain(
    state: StatePoint,
    variance: float,
    config: FrenkelLaddConfig,
    coupling: float,
    execution: Execution,
) -> np.ndarray:
    """Return frames about their sites, (F, N, 3), sigma, of a chain that starts there."""
    context = langevin_context(
        crystal_system(state, variance, coupling),
        state,
        timestep_star=config.timestep_star,
        friction_star=config.friction_star,
        platform=config.platform,
        thermostat_seed=execution.seed,
    )
    context.setPositions(lattice_positions_nm(state, seed=0))
    context.setVelocitiesToTemperature(state.temperature_kelvin, execution.seed)
    context.getIntegrator().step(config.equilibration)
    positions = frames_sigma(context, state, config.n_frames, config.steps_between)
    return about_sites(positions, state)


def _result(
    data: WindowData, state: StatePoint, config: FrenkelLaddConfig, execution: Execution
) -> FreeEnergy:
    """Return beta F_ex from the samples."""
    variance = variance_of(state, config.variance)
    found = estimate_mbar(data, state, method=FrenkelLadd.name, execution=execution)
    minus_log_z_rel = EinsteinCrystal(state, variance).minus_log_z_rel + found.value
    numbers = crystal_numbers(minus_log_z_rel, found.std_err, state)
    facts = FrenkelLaddDiagnostics(**dict(found.diagnostics.items()), **numbers, variance=variance)
    return crystal_free_energy(
        minus_log_z_rel, found.std_err, state, found.method, facts, found.verdict
    )


class FrenkelLadd(WindowEstimator):
    """MBAR over windows between the Einstein crystal and the crystal."""

    name = "frenkel_ladd"
    section = "frenkel_ladd"
    path_name = "frenkel_ladd"
    phase = "crystal"
    files = ("frenkel_ladd_windows.npz",)
    Config = FrenkelLaddConfig
    Diagnostics = FrenkelLaddDiagnostics
    summary = "MBAR over classical windows from an Einstein crystal to the crystal; no network"
    order = 130
    preference = 15

    def sample(self, job: Job, config: FrenkelLaddConfig) -> WindowData:
        """Return the samples of all windows."""
        return sample(job.state, config, job.execution)

    def estimate(self, job: Job, config: FrenkelLaddConfig) -> FreeEnergy:
        """Return beta F_ex by MBAR."""
        return _result(self.samples(job, config), job.state, config, job.execution)

    def seconds(self, config: FrenkelLaddConfig, n: int, pace: Pace) -> float:
        """Return the time of the MD."""
        count = config.n_windows or 6 + n // 12
        each = config.equilibration + config.n_frames * config.steps_between
        return (count * config.n_chains + 2 * len(_PILOT)) * each * pace.md_step(n)

    def evaluations(self, config: FrenkelLaddConfig, found: FreeEnergy) -> int:
        """Return how many energies with forces the samples took."""
        return n_evaluations(found, config.equilibration, config.steps_between, first_is_drawn=True)


ESTIMATORS = (FrenkelLadd(),)
