r"""Equilibrium simulation of windows along the learned path: exact for any network.

Windows are spaced by thermodynamic length, in essence the integral of std(dU/dlambda), measured on
noised reference frames before any MD. In every window several chains start from different noised
frames, which a good model has near equilibrium already. They run side by side as replicas in one
OpenMM Context under the TorchForce, or windows and chains together as one batch of Hamiltonian
Monte Carlo (`lambda_hmc`), if asked for with replica exchange between windows (`lambda_exchange`).
All samples are then evaluated at all windows: MBAR, BAR and TI (`mbar_ti`) follow from the same
data. At lambda = 0 positions are uniform: no simulation is needed.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import atomic_path, fingerprint
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.model_files import check_model_fits, weights_fingerprint
from openmm_nti.runtime.stored import read_arrays
from openmm_nti.runtime.tasks import derive_seed, run_tasks
from openmm_nti.validation.analysis import control_variates
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.sampling import exchange, hmc, langevin
from openmm_nti.validation.sampling.noised_frames import (
    dudl_of_frames,
    noised_frames,
    reduced_potentials,
)
from openmm_nti.validation.sampling.placement import WindowsConfig, frames_needed, place_windows

__all__ = ["WindowsConfig", "frames_needed", "place_windows", "sample"]

Array = NDArray[np.float64]
# chains of all windows in one task, where they exchange: a file each, a step of the progress bar
# each
_LADDERS = 4
# of stored windows: raise it when the same settings make other arrays, so that old files are not
# taken up
_EDITION = 2


@dataclass(frozen=True)
class _Task:
    """Everything that decides the samples of some chains of neighbouring windows, and the file that
    keeps them.
    """

    windows: range
    chains: range
    lambdas: Array
    n_frames: int
    model: LambdaHamiltonian = field(repr=False)
    ensemble: Ensemble = field(repr=False)
    config: WindowsConfig = field(repr=False)
    seed: int = field(repr=False)
    path: Path = field(repr=False)

    @property
    def own_lambdas(self) -> Array:
        """Those of the task's windows, (k,)."""
        return self.lambdas[self.windows]

    @property
    def place(self) -> tuple[int, ...]:
        """What tells its random numbers from those of other tasks."""
        return (self.windows[0], self.chains[0]) if self.config.exchange else (self.windows[0],)


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
    """Sample all windows along the path of `model`; finished windows in `directory` are not run
    again.

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
        Keeps one file a window, or a batch of them, or of ladders where windows exchange, in
        `neural_windows/`.
    workers
        Processes to share the windows out to.
    progress
        Show a progress bar with the time left.

    Returns
    -------
    WindowData
        K windows of n_chains * n_frames samples; a warning where hardly any moves of Monte Carlo
        were accepted.

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
        _EDITION,
    ]
    folder = Path(directory) / "neural_windows"
    name = fingerprint(facts)
    tasks = [
        _Task(
            windows,
            chains,
            lambdas,
            n_frames,
            model,
            ensemble,
            config,
            seed,
            folder / f"{name}_{part}.npz",
        )
        for windows, chains, part in _shared_out(len(lambdas), ensemble.state, config)
    ]
    results = run_tasks(
        _run_task, tasks, workers=workers, description="lambda windows", progress=progress
    )
    arrays = _ladders_together(results) if config.exchange else _windows_together(results)
    if config.engine == "openmm":
        del arrays["acceptance"]
    data = WindowData(
        lambdas=lambdas, chain=np.repeat(np.arange(config.n_chains), n_frames), **arrays
    )
    if data.few_accepted:
        warnings.warn(data.few_accepted, stacklevel=2)
    return data


def _windows_together(results: list[dict[str, Array]]) -> dict[str, Array]:
    """Tasks of all chains of some windows each, in order."""
    return {name: np.concatenate([one[name] for one in results]) for name in results[0]}


def _ladders_together(results: list[dict[str, Array]]) -> dict[str, Array]:
    """Tasks of some chains of all windows each."""
    arrays: dict[str, Array] = {}
    for name in ("u_kln", "dudl", "control_variates"):
        if name in results[0]:
            arrays[name] = np.concatenate([one[name] for one in results], axis=1)
    for name in ("acceptance", "timestep_star"):
        arrays[name] = np.mean([one[name] for one in results], axis=0)
    tried, traded = (np.sum([one[name] for one in results], axis=0) for name in ("tried", "traded"))
    arrays["exchange"] = traded / np.maximum(tried, 1)
    return arrays


def _shared_out(
    n_windows: int, state: StatePoint, config: WindowsConfig
) -> list[tuple[range, range, str]]:
    """Windows and chains of each task, and the end of its file's name.

    With OpenMM a window each; with torch the ideal gas, and then as many as one batch holds; some
    ladders where windows exchange.
    """
    windows, chains = range(n_windows), range(config.n_chains)
    if config.exchange:
        parts = [chains[start : start + _LADDERS] for start in chains[::_LADDERS]]
        return [(windows, part, f"ladders_{part[0]:03d}-{part[-1]:03d}") for part in parts]
    in_batch = max(1, hmc.ATOMS_PER_BATCH // (config.n_chains * state.n_particles))
    size = 1 if config.engine == "openmm" else in_batch
    batches = [windows[:1], *(windows[start : start + size] for start in windows[1::size])]
    return [(batch, chains, f"{batch[0]:03d}-{batch[-1]:03d}") for batch in batches]


def _run_task(task: _Task) -> dict[str, Array]:
    """The arrays of `WindowData` for the k windows and the chains of the task, from file or by
    running.
    """
    names = ["u_kln", "dudl", "acceptance", "timestep_star"]
    names += ["control_variates"] if task.config.controls(task.model) else []
    names += ["tried", "traded"] if task.config.exchange else []
    if not task.path.is_file():
        state, own = task.ensemble.state, torch.as_tensor(task.own_lambdas)
        positions, found = _sampled(task)
        each = own.repeat_interleave(len(positions) // len(own))
        if "u_kln" not in found:
            found["u_kln"] = reduced_potentials(task.model, positions, state, task.lambdas)
        found["dudl"] = dudl_of_frames(task.model, positions, state, each)
        if "control_variates" in names:
            seed = derive_seed(task.seed, "probes", *task.place)
            box = cubic_box(state.box_length_sigma)
            found["control_variates"] = control_variates.functions(
                task.model, positions, box, each, seed=seed
            )
        for name in ("u_kln", "dudl", "control_variates"):
            if name in found:
                found[name] = found[name].reshape(len(own), -1, *found[name].shape[1:])
        with atomic_path(task.path) as temporary:
            np.savez(
                temporary,
                positions_sigma=positions.numpy().astype(np.float32),
                allow_pickle=False,
                **found,
            )
    return read_arrays(task.path, names)


def _sampled(task: _Task) -> tuple[Tensor, dict[str, Array]]:
    """Frames (k * chains * n_frames, N, 3), sigma, and acceptance and time steps (k,), NaN where no
    moves are made.
    """
    if task.config.exchange:
        return _exchanging(task)
    if task.windows[0] == 0:
        return _ideal_gas(task)
    return _monte_carlo(task) if task.config.engine == "torch" else _molecular_dynamics(task)


def _ideal_gas(task: _Task) -> tuple[Tensor, dict[str, Array]]:
    """As `_sampled`, of lambda = 0: no simulation is needed."""
    generator = torch.Generator().manual_seed(derive_seed(task.seed, "ideal gas"))
    state, n_frames = task.ensemble.state, task.config.n_chains * task.n_frames
    box = cubic_box(state.box_length_sigma)
    positions = task.model.reference.sample(n_frames, state.n_particles, box, generator)
    return positions, {"acceptance": np.full(1, np.nan), "timestep_star": np.full(1, np.nan)}


def _start(task: _Task, window: int) -> Tensor:
    """Where the task's chains of a window begin, (chains, N, 3), sigma."""
    generator = torch.Generator().manual_seed(derive_seed(task.seed, "start", window))
    lam = float(task.lambdas[window])
    return noised_frames(task.ensemble, lam, task.config.n_chains, generator)[
        task.chains[0] : task.chains[-1] + 1
    ]


def _moves(task: _Task, windows: range) -> dict[str, Any]:
    """What Hamiltonian Monte Carlo of some windows needs; see `lambda_hmc.sample`."""
    return {
        "potential": task.model,
        "box": cubic_box(task.ensemble.state.box_length_sigma),
        "lambdas": torch.as_tensor(task.lambdas[windows]),
        "start": torch.stack([_start(task, window) for window in windows]),
        "n_steps": task.config.steps_between,
        "equilibration_steps": task.config.equilibration_steps,
        "seed": derive_seed(task.seed, "moves", *task.place),
    }


def _monte_carlo(task: _Task) -> tuple[Tensor, dict[str, Array]]:
    """As `_sampled`, by Hamiltonian Monte Carlo of all windows of the task at once."""
    found = hmc.sample(**_moves(task, task.windows), n_frames=task.n_frames)
    timestep_star = _in_md_units(found.step, task.ensemble.state)
    return found.positions.flatten(0, 2), {
        "acceptance": found.acceptance.numpy(),
        "timestep_star": timestep_star,
    }


def _in_md_units(step: Tensor, state: StatePoint) -> Array:
    """From the time unit sigma sqrt(m / kT) to sigma sqrt(m / epsilon)."""
    return np.asarray(step.numpy() / math.sqrt(state.temperature_star))


def _langevin(task: _Task, windows: range) -> langevin.Chains:
    """Chains of Langevin dynamics in OpenMM, where they begin."""
    config = task.config
    return langevin.Chains(
        task.model,
        task.ensemble.state,
        task.lambdas[windows],
        torch.stack([_start(task, window) for window in windows]),
        torch.as_tensor(task.ensemble.positions_sigma[: config.n_chains]),
        langevin.Settings(
            config.timestep_star, config.friction_star, config.force, config.platform
        ),
        seed=derive_seed(task.seed, "moves", *task.place),
    )


def _molecular_dynamics(task: _Task) -> tuple[Tensor, dict[str, Array]]:
    """As `_sampled`, of one window, by OpenMM."""
    config, chains = task.config, _langevin(task, task.windows)
    chains.advance(config.equilibration_steps)
    frames = []
    for _ in range(task.n_frames):
        chains.advance(config.steps_between)
        frames.append(chains.positions)
    positions = torch.stack(frames, dim=2).flatten(0, 2)
    return positions, {"acceptance": np.full(1, np.nan), "timestep_star": chains.timestep_star}


def _exchanging(task: _Task) -> tuple[Tensor, dict[str, Array]]:
    """As `_sampled`, with the trades of each pair of neighbours and the potentials that decided
    them.
    """
    state, config, above = task.ensemble.state, task.config, task.windows[1:]
    dynamics: exchange.Dynamics
    if config.engine == "torch":
        dynamics = moves = hmc.equilibrated(**_moves(task, above))
        timestep_star = _in_md_units(moves.step, state)
    else:
        dynamics = langevin = _langevin(task, above)
        langevin.advance(config.equilibration_steps)
        timestep_star = langevin.timestep_star
    found = exchange.sample(
        dynamics,
        lambda positions: reduced_potentials(task.model, positions, state, task.lambdas),
        state.box_length_sigma,
        n_frames=task.n_frames,
        n_steps=config.steps_between,
        seed=derive_seed(task.seed, "trades", *task.place),
    )
    return found.positions.flatten(0, 2), {
        "u_kln": found.potentials.reshape(-1, len(task.lambdas)),
        "acceptance": found.acceptance,
        "timestep_star": np.concatenate([[np.nan], timestep_star]),
        "tried": found.tried,
        "traded": found.traded,
    }
