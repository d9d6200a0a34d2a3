"""How long a calculation will take and what it leaves on disk, foretold before it starts.

CPU seconds are those that `validation.cost` has measured; what evaluates the network is scaled by
how quickly this machine evaluates the network of the configuration. Expect a factor of two either
way: how many frames decorrelate and how many windows a path takes is seen only when it runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.estimators import METHODS
from openmm_nti.cli.run_config import RunConfig
from openmm_nti.cli.run_directory import RunDirectory
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NoisedFluid, build_model
from openmm_nti.model_files import WEIGHTS_FILE
from openmm_nti.reference_md import ReferenceConfig
from openmm_nti.training import TrainingConfig
from openmm_nti.validation.estimators import cost
from openmm_nti.validation.estimators.denoising_bound import BoundConfig

_STARTING = 5.0  # seconds of one training before its first step
_STEP_IN_GRADIENTS = 3.5  # a training step over gradients of the same configurations
_MEGABYTE = 1e6


@dataclass(frozen=True)
class Forecast:
    """What is left to do.

    Attributes
    ----------
    stages
        Seconds of one core for each stage, by its name.
    workers
        Processes that share everything but the training.
    megabytes
        What will be written.
    """

    stages: Mapping[str, float]
    workers: int
    megabytes: float

    @property
    def seconds(self) -> float:
        """Wall time on cores that have nothing else to do."""
        return sum(
            value / (1 if name == "training" else self.workers)
            for name, value in self.stages.items()
        )

    def __str__(self) -> str:
        parts = ", ".join(
            f"{name} {_duration(value)}" for name, value in self.stages.items() if value > 0
        )
        size = f"{max(self.megabytes, 1):.0f} MB"
        return (
            f"foreseen: about {_duration(self.seconds)} with {self.workers} worker(s) and {size} "
            f"on disk ({parts})"
        )


def foresee_run(config: RunConfig, directory: RunDirectory, only: Sequence[str] = ()) -> Forecast:
    """What is left of a run of `config` in `directory`: of the stages in `only`, or of all."""
    wanted = set(only) or {"reference data", "training", *METHODS}
    stages: dict[str, float] = {}
    size = 0.0
    model = build_model(config.system[0].pair_potential, config.network)
    slowness = cost.slowness(model, config.system[0].box_length_sigma)
    if "training" in wanted and not (directory.model / WEIGHTS_FILE).is_file():
        stages["training"] = training_seconds(config.training, config.system, slowness)
    for state in config.system:
        if not (directory.reference / f"{state.label}.h5").is_file():
            _add(
                stages,
                "reference data",
                cost.reference_seconds(config.reference, state.n_particles),
            )
            size += _reference_bytes(config.reference, state)
        counted: set[str] = set()  # methods of one section share their samples
        for name, method in METHODS.items():
            settings = getattr(config.estimates, method.section)
            if name not in wanted or settings is None or method.section in counted:
                continue
            counted.add(method.section)
            if not (directory.estimates(state) / f"{name}.json").is_file():
                _add(stages, name, estimate_seconds(name, settings, state, slowness))
                size += _estimate_bytes(name, settings, state)
    return Forecast(stages, config.workers, size / _MEGABYTE)


def _add(stages: dict[str, float], name: str, seconds: float) -> None:
    stages[name] = stages.get(name, 0.0) + seconds


def foresee_estimate(
    name: str,
    settings: Any,
    state: StatePoint,
    model: NoisedFluid | None,
    *,
    workers: int,
    simulate: bool,
) -> Forecast:
    """One estimate, with the reference data before it where `simulate` says so."""
    slowness = cost.slowness(model, state.box_length_sigma) if model is not None else 1.0
    stages = {name: estimate_seconds(name, settings, state, slowness)}
    size = _estimate_bytes(name, settings, state)
    if simulate:
        reference = ReferenceConfig()
        stages = {"reference data": cost.reference_seconds(reference, state.n_particles), **stages}
        size += _reference_bytes(reference, state)
    return Forecast(stages, workers, size / _MEGABYTE)


def check_disk(forecast: Forecast, output: Path) -> None:
    """Refuse to begin what the disk of `output` has no room for.

    Raises
    ------
    ConfigError
        Naming what is needed and what is free.
    """
    place = next(path for path in (output.absolute(), *output.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free / _MEGABYTE
    if free < forecast.megabytes:
        raise ConfigError(
            f"{place} has {free:.0f} MB free, but about {forecast.megabytes:.0f} MB will be "
            "written: "
            "make room, or name an --output on another disk"
        )


def training_seconds(
    config: TrainingConfig, states: tuple[StatePoint, ...], slowness: float
) -> float:
    """The training of a model of `slowness`, on a machine like that of the measurements."""
    per_atom = sum(cost.gradient(state.n_particles) / state.n_particles for state in states) / len(
        states
    )
    seconds = (
        _STARTING
        + slowness * config.n_steps * _STEP_IN_GRADIENTS * config.atoms_per_step * per_atom
    )
    return seconds if config.max_minutes is None else min(seconds, 60 * config.max_minutes)


def estimate_seconds(name: str, settings: Any, state: StatePoint, slowness: float) -> float:
    """CPU seconds of one estimate, its samples included."""
    n = state.n_particles
    if name == "widom":
        return cost.widom_seconds(ReferenceConfig().n_frames, settings.n_insertions_per_frame, n)
    if isinstance(settings, BoundConfig) and not settings.measures_gap(state):
        settings = settings.model_copy(update={"n_tethered": 0})
    return cost.estimate_seconds(name, settings, n, slowness)


def _reference_bytes(config: ReferenceConfig, state: StatePoint) -> float:
    """Positions of the recorded chains and of the ensemble, in single precision."""
    recorded = cost.recorded_steps(config) / config.frame_interval
    return 12 * state.n_particles * (recorded + config.n_frames)


def _estimate_bytes(name: str, settings: Any, state: StatePoint) -> float:
    n = state.n_particles
    if name == "mbar_neural":  # energies at all windows, of each window and of all; and the frames
        windows, frames = cost.neural_windows(settings, n), cost.frames_of_a_window(settings, n)
        return windows * frames * (16 * windows + 12 * n)
    if name in {"mbar_softcore", "mu_decoupling"}:
        return 16 * cost.softcore_windows(settings, n) ** 2 * settings.n_chains * settings.n_frames
    if name == "bar_chain":
        return n * settings.n_walkers * settings.n_frames * 4 * (settings.n_insertions + n)
    return 24 * n * settings.n_samples if name == "neural_ti" else 0.0


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
