"""The forecast of the time and disk space that a calculation will take.

The pace of this machine is measured in a moment (`pace`). Estimators then forecast their time at
that pace. Expect a factor of two either way: only the run itself shows how many frames decorrelate,
and how many windows a path takes.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.run_config import RunConfig
from openmm_nti.cli.run_directory import RunDirectory
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NoisedFluid, build_model
from openmm_nti.md.platforms import fastest_platform
from openmm_nti.model_files import WEIGHTS_FILE, load_any_model, load_denoiser
from openmm_nti.reference_md import ReferenceConfig
from openmm_nti.runtime.devices import torch_device
from openmm_nti.validation.estimators.base import Estimator
from openmm_nti.validation.estimators.registry import all_estimators, estimator, sections
from openmm_nti.validation.pace import (
    Pace,
    measure,
    recorded_steps,
    reference_seconds,
    training_seconds,
)
from openmm_nti.validation.sweep.anchor import at_temperature

REFERENCE = "reference data"
TRAINING = "training"
_ON_CPU = ("CPU", "Reference")  # platforms of OpenMM
_MEGABYTE = 1e6
_FRAMES_OF_AN_ESTIMATE = 4000  # kept by an estimate, in double precision, with its energies


@dataclass(frozen=True)
class Forecast:
    """The time and disk space that the rest of a calculation will take.

    Attributes
    ----------
    stages
        Seconds of one core for each stage, by its name.
    n_processes
        Number of processes, which share everything but the training.
    megabytes
        Size of the files that will be written.
    gpu
        What will compute instead of the CPU, whose pace was measured; "" for nothing.
    """

    stages: Mapping[str, float]
    n_processes: int
    megabytes: float
    gpu: str = ""

    @property
    def seconds(self) -> float:
        """Wall time on cores that are otherwise idle."""
        return sum(
            value / (1 if name == TRAINING else self.n_processes)
            for name, value in self.stages.items()
        )

    def __str__(self) -> str:
        parts = ", ".join(
            f"{name} {_duration(value)}" for name, value in self.stages.items() if value > 0
        )
        size = f"{max(self.megabytes, 1):.0f} MB"
        pace = f"; this is the CPU's pace, that of {self.gpu} was not measured" if self.gpu else ""
        return (
            f"forecast: about {_duration(self.seconds)} with {self.n_processes} worker(s) "
            f"and {size} on disk ({parts}){pace}"
        )


@dataclass(frozen=True)
class _Remaining:
    """The work whose results are not on disk yet."""

    training: bool
    reference: list[StatePoint]
    estimates: list[tuple[str, StatePoint]]  # sections of the configuration
    swept: list[StatePoint]

    def __bool__(self) -> bool:
        return self.training or bool(self.reference or self.estimates or self.swept)


def forecast_run(
    config: RunConfig, directory: RunDirectory, stages: Sequence[str] | None = None
) -> Forecast:
    """Return the forecast for the rest of a run of `config` in `directory`.

    Parameters
    ----------
    config, directory
        Configuration and directory of the run.
    stages
        Any of `REFERENCE` and `TRAINING`; by default both of these and all estimates.
    """
    remaining = _remaining(config, directory, stages)
    if not remaining:
        return Forecast({}, config.workers, 0.0)
    pace = measure(config.system[0], _model(config))
    seconds: dict[str, float] = {}
    if remaining.reference:
        seconds[REFERENCE] = sum(
            reference_seconds(config.reference, state.n_particles, pace)
            for state in remaining.reference
        )
    if remaining.training:
        numbers = [state.n_particles for state in config.system]
        seconds[TRAINING] = training_seconds(config.training, numbers, pace)
    for section, state in remaining.estimates:
        settings = getattr(config.estimates, section)
        name = sections()[section][0].name
        more = _section_seconds(sections()[section], settings, state, pace)
        seconds[name] = seconds.get(name, 0.0) + more
    for state in remaining.swept:
        more = reference_seconds(config.reference, state.n_particles, pace)
        if config.sweep is not None and config.sweep.method is not None:
            known = estimator(config.sweep.method)
            more += known.seconds(config.settings_of(known), state.n_particles, pace)
        seconds["sweep"] = seconds.get("sweep", 0.0) + more
    simulated = [*remaining.reference, *remaining.swept]
    size = sum(_reference_bytes(config.reference, state) for state in simulated)
    size += sum(_estimate_bytes(state) for _, state in remaining.estimates)
    gpu = _gpu(config.reference.platform, config.device)
    return Forecast(seconds, config.workers, size / _MEGABYTE, gpu)


def _model(config: RunConfig) -> NoisedFluid:
    """Return a model that computes as fast as that of the run."""
    if config.model is None:
        return build_model(config.system[0].pair_potential, config.network)
    return load_any_model(config.model) if config.needs_energy else load_denoiser(config.model)


def is_finished(config: RunConfig, directory: RunDirectory) -> bool:
    """Return whether nothing of a run of `config` is left to do in `directory`."""
    return directory.results.is_file() and not _remaining(config, directory, None)


def _remaining(
    config: RunConfig, directory: RunDirectory, stages: Sequence[str] | None
) -> _Remaining:
    wanted = (REFERENCE, TRAINING) if stages is None else stages
    trains = TRAINING in wanted and config.model is None
    training = trains and not (directory.model / WEIGHTS_FILE).is_file()
    reference = [
        state
        for state in config.system
        if REFERENCE in wanted and not (directory.reference / f"{state.label}.h5").is_file()
    ]
    estimates = dict.fromkeys(
        (known.section, state)
        for known in (all_estimators().values() if stages is None else ())
        for state in config.system
        if is_left(known, config, directory, state)
    )
    swept = _swept(config, directory) if stages is None else []
    return _Remaining(training, reference, list(estimates), swept)


def _swept(config: RunConfig, directory: RunDirectory) -> list[StatePoint]:
    """Return the states of the run's sweep that are not on disk; all where it has no results."""
    if config.sweep is None:
        return []
    (state,) = config.system
    states = [at_temperature(state, one) for one in config.sweep.temperatures(state)]
    if not (directory.sweep / "sweep.json").is_file():
        return states
    files = directory.sweep / "reference"
    return [state for state in states if not (files / f"{state.label}.h5").is_file()]


def is_left(
    known: Estimator, config: RunConfig, directory: RunDirectory, state: StatePoint
) -> bool:
    """Return whether a run makes this estimate at `state` and has not done so yet."""
    settings = getattr(config.estimates, known.section)
    if settings is None or not known.applies(settings, state):
        return False
    files = [directory.estimate(state, known.name, species) for species in known.species_at(state)]
    return not all(file.is_file() for file in files)


def forecast_estimate(
    known: Estimator,
    settings: Any,
    state: StatePoint,
    model: NoisedFluid | None,
    *,
    n_processes: int,
    simulate: bool,
    device: str = "auto",
) -> Forecast:
    """Return the forecast for one estimate, with its reference data if `simulate`."""
    pace = measure(state, model)
    stages = {known.name: _section_seconds([known], settings, state, pace)}
    size = _estimate_bytes(state)
    if simulate:
        reference = ReferenceConfig()
        stages = {REFERENCE: reference_seconds(reference, state.n_particles, pace), **stages}
        size += _reference_bytes(reference, state)
    gpu = _gpu(getattr(settings, "platform", None), device)
    return Forecast(stages, n_processes, size / _MEGABYTE, gpu)


def forecast_states(
    config: RunConfig,
    states: Sequence[StatePoint],
    estimates: Sequence[tuple[Estimator, Any, StatePoint]],
    model: NoisedFluid | None,
    output: Path,
) -> Forecast:
    """Return the forecast for simulations at `states`, less what is on disk, and their estimates.

    `estimates` are estimators with their settings and states.
    """
    reference = output / "reference"
    left = [state for state in states if not (reference / f"{state.label}.h5").is_file()]
    if not left:
        return Forecast({}, config.workers, 0.0)
    pace = measure(states[-1], model)
    stages = {
        REFERENCE: sum(reference_seconds(config.reference, s.n_particles, pace) for s in left)
    }
    for known, settings, state in estimates:
        if state in left:
            more = known.seconds(settings, state.n_particles, pace)
            stages[known.name] = stages.get(known.name, 0.0) + more
    size = sum(_reference_bytes(config.reference, state) for state in left)
    gpu = _gpu(config.reference.platform, config.device)
    return Forecast(stages, config.workers, size / _MEGABYTE, gpu)


def check_disk(forecast: Forecast, output: Path) -> None:
    """Refuse a calculation if the disk of `output` has too little room for it.

    Raises
    ------
    ConfigError
        If the disk is too full; the message names the needed and the free space.
    """
    place = next(path for path in (output.absolute(), *output.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free / _MEGABYTE
    if not free >= forecast.megabytes:
        raise ConfigError(
            f"{place} has {free:.0f} MB free, but about {forecast.megabytes:.0f} MB will be "
            "written: make room, or name an --output on another disk"
        )


def _gpu(platform: str | None, device: str) -> str:
    """Return what OpenMM and torch compute on, unless it is the CPU."""
    names = [fastest_platform(platform).getName()]
    if torch_device(device).type != "cpu":
        names.append("torch's GPU")
    return " and ".join(name for name in names if name not in _ON_CPU)


def _section_seconds(
    estimators: Sequence[Estimator], settings: Any, state: StatePoint, pace: Pace
) -> float:
    """Return the time of estimators that share their samples: the longest of their times."""
    return max(
        known.seconds(settings, state.n_particles, pace)
        for known in estimators
        if known.applies(settings, state)
    )


def _reference_bytes(config: ReferenceConfig, state: StatePoint) -> float:
    """Return the size of the recorded chains and of the ensemble, in bytes."""
    recorded = recorded_steps(config) / config.frame_interval
    return 12 * state.n_particles * (recorded + config.n_frames)


def _estimate_bytes(state: StatePoint) -> float:
    """Return the rough size of the files of the estimates of one section, in bytes."""
    return 24 * state.n_particles * _FRAMES_OF_AN_ESTIMATE


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
