"""Exact free energy of a crystal from MD along the path from phonons, with a model between.

`hamiltonian.crystals.path` has the path, which is an OpenMM force with the parameter `lambda_nti`.
Windows are equidistant in thermodynamic length, which noised frames show before any MD. Each window
has several chains, which start from noised frames as well. All samples are evaluated at all
windows, and MBAR gives the difference to the springs at lambda = 0. It is exact for any model.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.displacements import about_sites
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.crystals.path import CrystalHamiltonian
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.hamiltonian.training_range import check_model_fits
from openmm_nti.md.platforms import PlatformName, description_of_fastest
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
from openmm_nti.validation.estimators.crystals.phonons import Phonons, checked_displacements
from openmm_nti.validation.estimators.neural_windows import WindowEstimator, n_evaluations
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.sampling import langevin
from openmm_nti.validation.sampling.noised_frames import dudl_of_frames

Array = NDArray[np.float64]
_FEWEST_FRAMES = 32
_PILOT_LAMBDAS = 33
_FOLDER = "crystal_windows"
_ATOMS_PER_BATCH = 2560


class CrystalWindowsConfig(Settings):
    """Effort spent on MD along the path of a crystal."""

    n_windows: int | None = Field(
        default=None, ge=3, le=10_000, description="Windows; by default by window_length."
    )
    window_length: float = Field(
        default=1.0, gt=0, le=5, description="Thermodynamic length between neighbouring windows."
    )
    n_chains: int = Field(
        default=8, ge=2, le=10_000, description="Independent chains in each window."
    )
    n_frames: int = Field(default=25, ge=2, le=1_000_000, description="Frames kept of each chain.")
    steps_between: int = Field(
        default=20, ge=1, le=1_000_000, description="MD steps between frames."
    )
    equilibration_steps: int = Field(
        default=80, ge=0, le=100_000_000, description="MD steps before the first frame."
    )
    timestep_star: float = Field(
        default=0.005, gt=0, le=0.02, description="MD time step, in sigma sqrt(m / epsilon)."
    )
    friction_star: float = Field(
        default=2.0, gt=0, le=1000, description="Langevin friction, in the inverse of that time."
    )
    force: Literal["torch", "python"] = Field(
        default="torch", description="TorchForce, or PythonForce where it lacks."
    )
    platform: PlatformName | None = Field(
        default=None, description="OpenMM platform; by default the fastest that works."
    )


class CrystalWindowsDiagnostics(WindowDiagnostics, CrystalDiagnostics):
    """Facts about windows between phonons and crystal."""


def crystal_path(model: LambdaHamiltonian, ensemble: Ensemble) -> CrystalHamiltonian:
    """Return the path of a crystal, with the phonons of its frames.

    Raises
    ------
    ValueError
        If the frames are fewer than 32, or not of the crystal, the energy jumps at the cutoff, or
        the model does not fit.
    """
    if not ensemble.state.is_continuous:
        raise ValueError(
            f"convention = {ensemble.state.convention}: MD along the path needs an energy without "
            "jumps; use switched, shifted or force_shifted, or crystal_path_bar"
        )
    check_model_fits(model, ensemble.state)
    moved = checked_displacements(MbarCrystal.name, ensemble, _FEWEST_FRAMES)
    phonons = Phonons.of(ensemble.state, moved)
    path = CrystalHamiltonian(model, ensemble.state, phonons.vectors, phonons.variances)
    return path.eval().requires_grad_(False)


@takes_execution
def sample(
    path: CrystalHamiltonian,
    ensemble: Ensemble,
    config: CrystalWindowsConfig,
    execution: Execution,
) -> WindowData:
    """Return samples of all windows; finished ones are kept below `crystal_windows`."""
    inputs = [path.fingerprint(), ensemble, config]
    lambdas = execution.folder(_FOLDER).stored(
        "placement", inputs, lambda: {"lambdas": _place(path, ensemble, config, execution)}
    )["lambdas"]
    windows = execution.map_stored(
        partial(_sample_window, path, ensemble, config, lambdas, execution),
        range(len(lambdas)),
        name=_FOLDER,
        inputs=[*inputs, lambdas],
        description="windows of the crystal",
        labels=[f"window lambda = {coupling:.3g} of {ensemble.state}" for coupling in lambdas],
    )
    u_kln, dudl = (np.stack([part[name] for part in windows]) for name in ("u_kln", "dudl"))
    chain = np.repeat(np.arange(config.n_chains), config.n_frames)
    return WindowData(lambdas, u_kln, dudl, chain, platform=platform_of(windows))


def _place(
    path: CrystalHamiltonian,
    ensemble: Ensemble,
    config: CrystalWindowsConfig,
    execution: Execution,
) -> Array:
    """Return lambdas from 0 to 1, (K,), equidistant in the length that noised frames show."""
    pilot = np.linspace(0.0, 1.0, _PILOT_LAMBDAS)
    placed = execution.place(path)
    speed = []
    for coupling in pilot:
        # The same frames and noise at every lambda: their spread then varies smoothly.
        generator = execution.torch_random("pilot")
        frames = _noised(placed, ensemble, float(coupling), 2 * config.n_chains, generator)
        slopes = dudl_of_frames(_as_model(placed), frames, ensemble.state, float(coupling))
        speed.append(slopes.std(ddof=1))
    steps = 0.5 * (np.array(speed)[1:] + np.array(speed)[:-1]) * np.diff(pilot)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    count = config.n_windows or max(4, 1 + math.ceil(length[-1] / config.window_length))
    # A little length everywhere, so that flat stretches of the path get windows too.
    length = length / length[-1] + 0.1 * pilot
    lambdas = np.interp(np.linspace(0.0, length[-1], count), length, pilot)
    lambdas[0], lambdas[-1] = 0.0, 1.0
    return np.asarray(lambdas)


def _noised(
    path: CrystalHamiltonian,
    ensemble: Ensemble,
    coupling: float,
    n_frames: int,
    generator: torch.Generator,
) -> Tensor:
    """Return frames with the noise of lambda, (n_frames, N, 3), sigma; different ones if enough."""
    order = torch.randperm(ensemble.n_frames, generator=generator)
    frames = ensemble.positions_sigma[order[torch.arange(n_frames) % len(order)].numpy()]
    noise = torch.randn((n_frames, len(path.variances)), generator=generator, dtype=torch.float64)
    lam = torch.full((n_frames,), coupling, dtype=torch.float64)
    return path.noised(torch.as_tensor(frames), box_of(ensemble.state), lam, noise)


def _sample_window(
    path: CrystalHamiltonian,
    ensemble: Ensemble,
    config: CrystalWindowsConfig,
    lambdas: Array,
    execution: Execution,
    k: int,
) -> dict[str, NDArray[np.generic]]:
    """Return energies (n, K) and dU/dlambda (n,) of the samples of window k."""
    state, coupling = ensemble.state, float(lambdas[k])
    own = execution.child(_FOLDER, k)
    found: dict[str, NDArray[np.generic]] = {}
    if coupling == 0:
        shape = (config.n_chains * config.n_frames, len(path.variances))
        drawn = torch.randn(shape, generator=own.torch_random("springs"), dtype=torch.float64)
        modes = drawn * torch.sqrt(path.variances)
        positions = path.sites + (modes @ path.vectors.t()).reshape(len(modes), -1, 3)
    else:
        positions = _simulated(path, ensemble, config, coupling, own)
        found["platform"] = np.array([description_of_fastest(config.platform)])
    placed, box = execution.place(path), box_of(state)
    parts = positions.split(max(1, _ATOMS_PER_BATCH // state.n_particles))
    at = torch.as_tensor(lambdas)
    found["u_kln"] = torch.cat([placed.energies_at(part, box, at) for part in parts]).numpy()
    found["dudl"] = dudl_of_frames(_as_model(placed), positions, state, coupling)
    return found


def _simulated(
    path: CrystalHamiltonian,
    ensemble: Ensemble,
    config: CrystalWindowsConfig,
    coupling: float,
    execution: Execution,
) -> Tensor:
    """Return frames of the chains of one window, (chains * frames, N, 3), sigma.

    TaskError tells where the crystal has melted.
    """
    start = _noised(path, ensemble, coupling, config.n_chains, execution.torch_random("start"))
    chains = langevin.Chains(
        _as_model(path),
        ensemble.state,
        np.array([coupling]),
        start[None],
        start,
        langevin.Settings(
            config.timestep_star, config.friction_star, config.force, config.platform
        ),
        execution.child("moves"),
    )
    chains.advance(config.equilibration_steps)
    frames = []
    for _ in range(config.n_frames):
        chains.advance(config.steps_between)
        frames.append(chains.positions[0])
    positions = torch.stack(frames, dim=1).flatten(0, 1)
    return torch.as_tensor(about_sites(positions.numpy(), ensemble.state))


def _as_model(path: CrystalHamiltonian) -> LambdaHamiltonian:
    """Return the path as the type of a fluid's, which has the same energies and ends."""
    return cast("LambdaHamiltonian", path)


class MbarCrystal(WindowEstimator):
    """MBAR over windows between phonons and the crystal."""

    name = "mbar_crystal"
    section = "crystal_windows"
    path_name = "mbar_crystal"
    phase = "crystal"
    files = ("mbar_crystal_windows.npz",)
    Config = CrystalWindowsConfig
    Diagnostics = CrystalWindowsDiagnostics
    needs = frozenset({"energy", "data"})
    summary = "MBAR over MD from phonons to the crystal, with a model between; exact for any model"
    order = 82
    preference = 14

    def sample(self, job: Job, config: CrystalWindowsConfig) -> WindowData:
        """Return the samples of all windows."""
        path = crystal_path(job.model, job.ensemble)
        return sample(path, job.ensemble, config, job.execution)

    def estimate(self, job: Job, config: CrystalWindowsConfig) -> FreeEnergy:
        """Return beta F_ex by MBAR."""
        data = self.samples(job, config)
        found = estimate_mbar(data, job.state, method=self.name, execution=job.execution)
        springs = crystal_path(job.model, job.ensemble).minus_log_z_rel
        minus_log_z_rel = springs + found.value
        numbers = crystal_numbers(minus_log_z_rel, found.std_err, job.state)
        facts = CrystalWindowsDiagnostics(**dict(found.diagnostics.items()), **numbers)
        return crystal_free_energy(
            minus_log_z_rel, found.std_err, job.state, self.name, facts, found.verdict
        )

    def seconds(self, config: CrystalWindowsConfig, n: int, pace: Pace) -> float:
        """Return the time of the MD, and of energies at all windows."""
        count = config.n_windows or max(4, 1 + math.ceil(0.05 * n / config.window_length))
        frames = config.n_chains * config.n_frames
        steps = config.n_chains * config.equilibration_steps + frames * config.steps_between
        return count * (1.3 * steps + 0.3 * frames * count) * pace.gradient(n)

    def evaluations(self, config: CrystalWindowsConfig, found: FreeEnergy) -> int:
        """Return how many energies with forces the samples took."""
        return n_evaluations(
            found, config.equilibration_steps, config.steps_between, first_is_drawn=True
        )


ESTIMATORS = (MbarCrystal(),)
