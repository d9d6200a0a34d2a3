r"""Equilibrium simulation of windows along the learned path: exact for any network.

Windows are spaced by thermodynamic length, in essence the integral of std(dU/dlambda), measured on noised reference
frames before any MD. In every window several chains start from different noised frames, which a good model has near
equilibrium already. They run side by side as replicas in one OpenMM Context under the TorchForce, or windows and chains
together as one batch of Hamiltonian Monte Carlo (`lambda_hmc`). All samples are then evaluated at all windows: MBAR and
TI (`mbar_ti`) follow from the same data. At lambda = 0 positions are uniform: no simulation is needed.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import atomic_path, fingerprint
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.model_files import check_model_fits, weights_fingerprint
from openmm_nti.state import StatePoint
from openmm_nti.tasks import derive_seed, run_tasks
from openmm_nti.validation import control_variates, lambda_hmc, lambda_langevin
from openmm_nti.validation.path_values import dudl_of_frames, noised_frames, reduced_potentials
from openmm_nti.validation.window_data import WindowData, read_arrays

Array = NDArray[np.float64]
_PILOT_LAMBDAS = 49
_MAX_FRAMES = 200


class WindowsConfig(BaseModel):
    """Effort spent on MD along the learned path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["openmm", "torch"] = Field(
        default="openmm",
        description="openmm: MD in Contexts with the force; torch: Hamiltonian Monte Carlo, many windows in one batch, "
        "without OpenMM, which finds its steps itself and is exact at any.",
    )
    n_windows: int | None = Field(
        default=None, ge=3, description="Windows, both ends included; empty: as many as `window_length` asks for."
    )
    window_length: float = Field(
        default=1.0, gt=0, description="Thermodynamic length between neighbouring windows, about std(Delta U) in kT."
    )
    n_chains: int = Field(default=32, ge=2, description="Independent chains in each window.")
    n_frames: int | None = Field(
        default=None, ge=1, description="Frames kept of each chain; empty: as many as `target_error` asks for."
    )
    target_error: float = Field(
        default=0.2, gt=0, description="Standard error of beta F_ex aimed at, in kT; foreseen from the pilot."
    )
    steps_between: int = Field(default=20, ge=1, description="Steps between frames; with `torch`, of one move.")
    equilibration_steps: int = Field(default=80, ge=0, description="Steps before the first frame.")
    timestep_star: float = Field(
        default=0.006,
        gt=0,
        lt=0.02,
        description="Time step of `openmm` at lambda = 1, in sigma sqrt(m / epsilon); longer where forces are weaker.",
    )
    friction_star: float = Field(
        default=1.0, gt=0, description="Langevin friction of `openmm`, in the inverse of that time."
    )
    control_variates: bool = Field(
        default=True,
        description="Subtract functions of zero mean, where the potential is `switched`: fewer samples do.",
    )
    pilot_frames: int = Field(default=32, ge=4, description="Noised frames per lambda to place the windows with.")
    force: Literal["torch", "python"] = Field(default="torch", description="TorchForce, or PythonForce where it lacks.")
    platform: str | None = Field(default=None, description="OpenMM platform; empty: the fastest.")


@dataclass(frozen=True)
class _Windows:
    """One task: everything that decides the samples of neighbouring windows, and the file that keeps them."""

    numbers: range
    lambdas: Array
    n_frames: int
    model: LambdaHamiltonian = field(repr=False)
    ensemble: Ensemble = field(repr=False)
    config: WindowsConfig = field(repr=False)
    seed: int = field(repr=False)
    path: Path = field(repr=False)


def sample(
    model: LambdaHamiltonian,
    ensemble: Ensemble,
    config: WindowsConfig,
    *,
    seed: int,
    directory: str | Path,
    workers: int = 1,
    progress: bool = True,
) -> WindowData:
    """Sample all windows along the path of `model`; finished windows in `directory` are not run again.

    Parameters
    ----------
    model
        Any `LambdaHamiltonian` of the ensemble's pair potential.
    ensemble
        Reference frames to start from.
    config
        Effort.
    seed
        Of starts and thermostats; the same seed gives the same samples on the same platform.
    directory
        Keeps one file a window, or a batch of them, in `neural_windows/`.
    workers
        Processes to share the windows out to.
    progress
        Show a progress bar with the time left.

    Returns
    -------
    WindowData
        K windows of n_chains * n_frames samples; a warning where hardly any moves of Monte Carlo were accepted.

    Raises
    ------
    ValueError
        If model and ensemble are of different pair potentials.
    """
    check_model_fits(model, ensemble.state)
    lambdas, length = place_windows(model, ensemble, config, seed=seed)
    n_frames = config.n_frames or frames_needed(length, len(lambdas), config)
    facts = [
        ensemble.state.model_dump(),
        config.model_dump(),
        seed,
        weights_fingerprint(model),
        lambdas.tolist(),
        n_frames,
    ]
    folder = Path(directory) / "neural_windows"
    name = fingerprint(facts)
    tasks = [
        _Windows(
            some, lambdas, n_frames, model, ensemble, config, seed, folder / f"{name}_{some[0]:03d}-{some[-1]:03d}.npz"
        )
        for some in _shared_out(len(lambdas), ensemble.state, config)
    ]
    results = run_tasks(_run_windows, tasks, workers=workers, description="lambda windows", progress=progress)
    arrays = {name: np.concatenate([one[name] for one in results]) for name in results[0]}
    if config.engine == "openmm":
        del arrays["acceptance"]
    data = WindowData(lambdas=lambdas, chain=np.repeat(np.arange(config.n_chains), n_frames), **arrays)
    if data.few_accepted:
        warnings.warn(data.few_accepted, stacklevel=2)
    return data


def frames_needed(length: float, n_windows: int, config: WindowsConfig) -> int:
    """Frames of each chain for `target_error`, foreseen from the length of the path as `place_windows` returns it.

    K - 1 gaps of std(Delta U) = length / (K - 1) and n decorrelated samples a window give the variance
    length^2 / ((K - 1) n); of neighbouring frames about two in five count. The error reported is the measured one.
    """
    samples = 2.5 * length**2 / ((n_windows - 1) * config.target_error**2)
    return min(_MAX_FRAMES, max(4, math.ceil(samples / config.n_chains)))


def place_windows(
    model: LambdaHamiltonian, ensemble: Ensemble, config: WindowsConfig, *, seed: int
) -> tuple[Array, float]:
    """Lambdas (K,) from 0 to 1, spaced by what noised frames show; and the length of the path, to judge the effort by.

    The thermodynamic length is the integral of std(dU/dlambda), of what control variates leave of it. Windows are
    equidistant in one of element sqrt(var(dU/dlambda) + |d<dU/dlambda>/dlambda|) dlambda: the first term keeps
    neighbours overlapping for MBAR, the second keeps the mean resolved for TI where it varies and hardly fluctuates.
    """
    pilot = np.linspace(0.0, 1.0, _PILOT_LAMBDAS)
    slopes, functions, box = [], [], cubic_box(ensemble.state.box_length_sigma)
    for value in pilot:
        # The same frames and noise at every lambda: their mean then varies smoothly.
        generator = torch.Generator().manual_seed(derive_seed(seed, "pilot"))
        positions = noised_frames(ensemble, value, config.pilot_frames, generator)
        slopes.append(dudl_of_frames(model, positions, ensemble.state, value))
        if _controlled(model, config):
            at = torch.full((len(positions),), value, dtype=torch.float64)
            functions.append(control_variates.functions(model, positions, box, at, seed=seed))
    dudl = np.array(slopes)
    left = control_variates.share_left(dudl, np.array(functions)) if functions else np.ones(_PILOT_LAMBDAS)
    variance = dudl.var(axis=1, ddof=1)
    speed = np.sqrt(variance + np.abs(np.gradient(dudl.mean(axis=1), pilot)))
    length = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * np.diff(pilot))])
    count = config.n_windows or max(4, 1 + math.ceil(length[-1] / config.window_length))
    # A trickle of length everywhere keeps flat stretches of the path from being left without a window.
    length = length / length[-1] + 0.15 * pilot
    lambdas = np.interp(np.linspace(0.0, length[-1], count), length, pilot)
    lambdas[0], lambdas[-1] = 0.0, 1.0
    return lambdas, float(np.trapezoid(np.sqrt(variance) * left, pilot))


def _shared_out(n_windows: int, state: StatePoint, config: WindowsConfig) -> list[range]:
    """The windows of each task: one with OpenMM; with torch, the ideal gas and then as many as one batch holds."""
    in_batch = max(1, lambda_hmc.ATOMS_PER_BATCH // (config.n_chains * state.n_particles))
    size = 1 if config.engine == "openmm" else in_batch
    return [range(1), *(range(start, min(start + size, n_windows)) for start in range(1, n_windows, size))]


def _run_windows(task: _Windows) -> dict[str, Array]:
    """The arrays of `WindowData` for the k windows of the task, from file or by running."""
    controlled = ("control_variates",) if _controlled(task.model, task.config) else ()
    names = ("u_kln", "dudl", "acceptance", "timestep_star", *controlled)
    if not task.path.is_file():
        state, own = task.ensemble.state, torch.as_tensor(task.lambdas[task.numbers])
        positions, acceptance, timestep_star = _sampled(task)
        each = own.repeat_interleave(len(positions) // len(own))
        u_kln = reduced_potentials(task.model, positions, state, task.lambdas).reshape(len(own), -1, len(task.lambdas))
        dudl = dudl_of_frames(task.model, positions, state, each).reshape(u_kln.shape[:2])
        found = {"u_kln": u_kln, "dudl": dudl, "acceptance": acceptance, "timestep_star": timestep_star}
        if controlled:
            seed = derive_seed(task.seed, "probes", task.numbers[0])
            box = cubic_box(state.box_length_sigma)
            functions = control_variates.functions(task.model, positions, box, each, seed=seed)
            found["control_variates"] = functions.reshape(*u_kln.shape[:2], -1)
        with atomic_path(task.path) as temporary:
            np.savez(temporary, positions_sigma=positions.numpy().astype(np.float32), allow_pickle=False, **found)
    return read_arrays(task.path, names)


def _controlled(model: LambdaHamiltonian, config: WindowsConfig) -> bool:
    return config.control_variates and control_variates.apply_to(model)


def _sampled(task: _Windows) -> tuple[Tensor, Array, Array]:
    """Frames (k * n_chains * n_frames, N, 3), sigma; acceptance and time steps (k,), NaN where no moves are made."""
    if task.numbers[0] > 0 and task.config.engine == "torch":
        return _monte_carlo(task)
    return _molecular_dynamics(task)


def _uniform(task: _Windows) -> Tensor:
    """The ideal gas needs no simulation: (n, N, 3), sigma."""
    generator = torch.Generator().manual_seed(derive_seed(task.seed, "ideal gas"))
    shape = (task.config.n_chains * task.n_frames, task.ensemble.state.n_particles, 3)
    return torch.rand(shape, generator=generator, dtype=torch.float64) * task.ensemble.state.box_length_sigma


def _start(task: _Windows, number: int) -> Tensor:
    """Where the chains of window `number` begin, (n_chains, N, 3), sigma."""
    generator = torch.Generator().manual_seed(derive_seed(task.seed, "start", number))
    return noised_frames(task.ensemble, float(task.lambdas[number]), task.config.n_chains, generator)


def _monte_carlo(task: _Windows) -> tuple[Tensor, Array, Array]:
    """As `_sampled`, by Hamiltonian Monte Carlo of all windows of the task at once."""
    config, state = task.config, task.ensemble.state
    found = lambda_hmc.sample(
        task.model,
        cubic_box(state.box_length_sigma),
        torch.as_tensor(task.lambdas[task.numbers]),
        torch.stack([_start(task, number) for number in task.numbers]),
        n_frames=task.n_frames,
        n_steps=config.steps_between,
        equilibration_steps=config.equilibration_steps,
        seed=derive_seed(task.seed, "moves", task.numbers[0]),
    )
    # From the time unit sigma sqrt(m / kT) to sigma sqrt(m / epsilon).
    timestep_star = found.step.numpy() / math.sqrt(state.temperature_star)
    return found.positions.flatten(0, 2), found.acceptance.numpy(), timestep_star


def _molecular_dynamics(task: _Windows) -> tuple[Tensor, Array, Array]:
    """As `_sampled`, of one window, by OpenMM."""
    config, number = task.config, task.numbers[0]
    lam = float(task.lambdas[number])
    if lam == 0.0:
        return _uniform(task), np.full(1, np.nan), np.full(1, np.nan)
    frames, timestep_star = lambda_langevin.sample(
        task.model,
        task.ensemble.state,
        lam,
        _start(task, number),
        torch.as_tensor(task.ensemble.positions_sigma[: config.n_chains]),
        n_frames=task.n_frames,
        n_steps=config.steps_between,
        equilibration_steps=config.equilibration_steps,
        timestep_star=config.timestep_star,
        friction_star=config.friction_star,
        force=config.force,
        platform=config.platform,
        seed=derive_seed(task.seed, "moves", number),
    )
    return frames.flatten(0, 1), np.full(1, np.nan), np.full(1, timestep_star)
