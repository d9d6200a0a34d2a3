"""Everything that would stop a run late, asked in its first second, before any file is written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.forecast import Forecast, check_disk
from openmm_nti.cli.run_config import RunConfig
from openmm_nti.fluid.of_species import kind_table
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import build_model
from openmm_nti.hamiltonian.networks.registry import network_class
from openmm_nti.hamiltonian.training_range import check_model_fits
from openmm_nti.md.platforms import fastest_platform
from openmm_nti.model_files import load_any_model, load_model
from openmm_nti.runtime.devices import torch_device
from openmm_nti.training.inputs import starting_model
from openmm_nti.validation.estimators.registry import all_estimators
from openmm_nti.validation.sweep.run import states_of
from openmm_nti.validation.sweep.thermodynamics import Anchor

# Cores of atoms, where a pair costs this many kT, do not overlap in any arrangement that is denser.
_CORE_KT = 50.0
_CLOSE_PACKING = 2.0**0.5
_FEWEST_FRAMES = 12  # that estimates and the held-out part of a training can do with


def check_run(config: RunConfig, *, estimates: bool = True) -> None:
    """Refuse what cannot be carried out on this machine, or not at all.

    Parameters
    ----------
    config
        The valid configuration of a run.
    estimates
        Whether estimates will be made; a denoiser can only be trained.

    Raises
    ------
    ConfigError
        In one line that names the key and its value.
    """
    for state in config.system:
        check_density(state)
        for known in all_estimators().values():
            if getattr(config.estimates, known.section) is None:
                continue
            with_key(f"estimates: {known.section}", known.check_phase, state)
            if known.one_species:
                with_key(f"estimates: {known.section}", known.check_species, state)
    _check_frames(config)
    _check_network(config, estimates=estimates and config.model is None)
    if config.model is not None:
        load = load_model if config.needs_energy else load_any_model
        trained = with_key("model", load, config.model)
        for state in config.system:
            with_key("model", check_model_fits, trained, state)
    if config.sweep is not None:
        (state,) = config.system
        anchor = Anchor(state.temperature_star, 0.0, 0.0)
        asked = config.sweep.temperatures(state)
        for other in with_key("sweep", states_of, state, asked, anchor):
            check_density(other)
    for key, name in _platforms(config).items():
        with_key(key, fastest_platform, name)
    with_key("config", torch_device, config.device)
    with_key("training", torch_device, config.training.device)


def one_state(
    config: RunConfig, path: Path, task: str, n_particles: int | None = None
) -> StatePoint:
    """Return the state point of `config`: its only one, or the only one of N particles.

    `path` is the file that it was read from, and `task` what takes one state alone.

    Raises
    ------
    ConfigError
        If there are several, or none of N particles.
    """
    states = [one for one in config.system if n_particles in (None, one.n_particles)]
    if len(states) == 1:
        return states[0]
    listed = ", ".join(dict.fromkeys(str(one.n_particles) for one in config.system))
    if not states:
        raise ConfigError(f"--n {n_particles}: {path} has n_particles = {listed}: take one of them")
    raise ConfigError(
        f"{path}: system: has several state points (n_particles = {listed}), and {task} is of one: "
        "give system one n_particles and one box"
    )


def check_density(state: StatePoint) -> None:
    """Refuse a density at which the cores of the atoms cannot but overlap."""
    reduced = state.pair_potential
    alike = [reduced.kinds[kind] for kind in kind_table(reduced.n_species).diagonal()]
    cores = [kind.pair.core(_CORE_KT * state.temperature_star)[0] for kind in alike]
    filled = sum(n * core**3 for n, core in zip(state.composition.values(), cores, strict=True))
    if filled / state.volume_sigma3 > _CLOSE_PACKING:
        raise ConfigError(
            f"system: n_particles = {state.n_particles} in a box of {state.box_text} "
            f"sigma has density_star = {state.density_star:.4g}, denser than spheres can be "
            "packed: enlarge the box or take fewer particles"
        )


def check_writable(place: Path, option: str = "") -> None:
    """Refuse a directory for results that is a file, or in which no file can be made.

    `option` is what the user wrote; by default, the `--output` that names the directory.

    Raises
    ------
    ConfigError
        With the name of the directory and the operating system's reason.
    """
    if reason := why_not_writable(place):
        raise ConfigError(
            f"{option or f'--output {place}'} cannot be written to ({reason}): name a place of "
            "your own"
        )


def why_not_writable(place: Path) -> str:
    """Return why no file can be made in `place`, or in what there is of it; empty if one can.

    A trial file is made and removed, for permissions alone do not tell about file systems.
    """
    try:
        place = place.absolute()
        while not place.exists():
            if len(os.fsencode(place.name)) > os.pathconf("/", "PC_NAME_MAX"):
                return "File name too long"
            place = place.parent
        if not place.is_dir():
            return f"{place} is a file"
        with tempfile.NamedTemporaryFile(dir=place, prefix=".", suffix=".partial"):
            return ""
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)


def announce(forecast: Forecast, output: Path, console: Console) -> None:
    """Say how long a calculation will take, unless nothing is left of it.

    Raises
    ------
    ConfigError
        If the disk of `output` has too little room for it.
    """
    check_disk(forecast, output)
    if forecast.seconds > 0:
        console.print(str(forecast))


def with_key(key: str, function: Any, *arguments: Any) -> Any:
    """Return `function` of the arguments; what it refuses is a ConfigError that names the key."""
    try:
        return function(*arguments)
    except (ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{key}: {reason}") from error


def _check_frames(config: RunConfig) -> None:
    reference = config.reference
    most = reference.n_replicas * reference.max_segments * reference.segment_frames
    for key, value in (("n_frames", reference.n_frames), ("max_steps", most)):
        if value < _FEWEST_FRAMES:
            allows = "" if key == "n_frames" else f" allows {most} frames, which"
            raise ConfigError(
                f"reference.{key} = {getattr(reference, key)}{allows} is too few: training and "
                f"estimates need {_FEWEST_FRAMES} frames or more"
            )


def _check_network(config: RunConfig, *, estimates: bool) -> None:
    network = config.network
    if estimates and config.needs_energy and not network_class(network.kind).gives_energy:
        raise ConfigError(
            f"network.kind = {network.kind} gives no energies, which estimates need: only `train` "
            "it, use `density`, or leave out all estimates but bound, paths and widom"
        )
    half = 0.5 * min(state.shortest_edge_sigma for state in config.system)
    if network.cutoff_sigma > half * (1 + 1e-9):
        raise ConfigError(
            f"network.cutoff_sigma = {network.cutoff_sigma:g} is above half the box, {half:g} "
            "sigma: lower it or enlarge the box"
        )
    training = config.training
    if training.noise_min_sigma >= half:
        raise ConfigError(
            f"training.noise_min_sigma = {training.noise_min_sigma:g} must be below half the box, "
            f"{half:g}"
        )
    model = with_key("network", build_model, config.system[0].pair_potential, network)
    for state in config.system:
        with_key("network.cutoff_sigma", model.bind, state)
    if training.start_from is not None:
        with_key("training.start_from", starting_model, training.start_from, model)


def _platforms(config: RunConfig) -> dict[str, str | None]:
    """Return every platform that the configuration names, by its key."""
    sections = {"reference": config.reference}
    for name in type(config.estimates).model_fields:
        if (section := getattr(config.estimates, name)) is not None:
            sections[f"estimates.{name}"] = section
    return {
        f"{key}.platform": section.platform
        for key, section in sections.items()
        if "platform" in type(section).model_fields
    }
