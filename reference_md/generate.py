"""Reference ensembles of the Lennard-Jones fluid: several state points in one call, each until it
has enough frames.

Every state point runs `n_replicas` independent chains. After each round the statistical
inefficiency of the energy says how long the chains must become to hold `n_frames` decorrelated
frames, and they are continued to that length.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import fingerprint, provenance
from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.platforms import fastest_platform
from openmm_nti.reference_md import statistics
from openmm_nti.reference_md._chain import Chain, run_chain
from openmm_nti.reference_md._thinning import judge, thin
from openmm_nti.reference_md.config import ReferenceConfig
from openmm_nti.runtime.tasks import run_tasks

_PILOT_SEGMENTS = 2
_MARGIN = 1.05  # on the predicted length, so that one more round is seldom needed
_log = logging.getLogger(__name__)


def generate(
    states: Sequence[StatePoint],
    config: ReferenceConfig,
    *,
    seed: int,
    directory: Path,
    workers: int = 1,
    progress: bool = True,
) -> list[Ensemble]:
    """Simulate each state point and write `directory/<state.label>.h5`.

    What is there already is not simulated again: finished ensembles are read, interrupted chains go
    on, and the frames are those of an undisturbed run, to the bit on the CPU platform.

    Parameters
    ----------
    states
        State points, each once.
    config
        How to simulate.
    seed
        With `config`, decides every frame.
    directory
        Where the ensembles go; the recorded chains are under its folder `chains`.
    workers
        Processes, one chain at a time each.
    progress
        Show a progress bar.

    Returns
    -------
    list[Ensemble]
        In the order of `states`. What looks doubtful is in `provenance["warnings"]`.

    Raises
    ------
    ValueError
        If two states have the same label, or `directory` holds an ensemble made with other
        settings.
    TaskError
        If a simulation fails.
    """
    directory = Path(directory)
    labels = [state.label for state in states]
    if len(set(labels)) < len(labels):
        raise ValueError(
            f"states = {', '.join(labels)}: each label must occur once; remove the repeated state "
            "point"
        )
    made_with = {
        state.label: fingerprint([state.model_dump(), config.model_dump(), seed])
        for state in states
    }
    done = {
        state.label: _read_finished(directory, state, made_with[state.label])
        for state in states
        if _ensemble_path(directory, state).exists()
    }
    lengths = {
        state: min(_PILOT_SEGMENTS, config.max_segments)
        for state in states
        if state.label not in done
    }
    description = "reference MD"
    while lengths:
        groups = {
            state: _chains(state, config, seed, directory, length)
            for state, length in lengths.items()
        }
        largest_first = sorted(groups, key=lambda state: -state.n_particles)
        run_tasks(
            run_chain,
            [chain for state in largest_first for chain in groups[state]],
            workers=workers,
            description=description,
            progress=progress,
        )
        for state, chains in groups.items():
            needed = _segments_needed(chains, config)
            if needed > lengths[state]:
                lengths[state] = needed
                continue
            del lengths[state]
            done[state.label] = _finish(chains, config, made_with[state.label], seed)
            done[state.label].save(_ensemble_path(directory, state))
        description = "reference MD, until enough frames are decorrelated"
    return [done[label] for label in labels]


def _ensemble_path(directory: Path, state: StatePoint) -> Path:
    return directory / f"{state.label}.h5"


def _read_finished(directory: Path, state: StatePoint, made_with: str) -> Ensemble:
    path = _ensemble_path(directory, state)
    ensemble = Ensemble.load(path)
    if ensemble.provenance.get("made_with") != made_with:
        raise ValueError(
            f"{path} was made with another seed or other settings: choose another directory, or "
            "delete it"
        )
    return ensemble


def _chains(
    state: StatePoint, config: ReferenceConfig, seed: int, directory: Path, length: int
) -> list[Chain]:
    return [
        Chain(state, config, seed, number, length, directory) for number in range(config.n_replicas)
    ]


def _segments_needed(chains: Sequence[Chain], config: ReferenceConfig) -> int:
    """Length at which the chains hold enough decorrelated frames; their present one when they do,
    or may not grow.
    """
    sampling = judge(_read(chains, "reduced_potentials"))
    length = chains[0].n_segments
    if sampling.n_decorrelated >= config.n_frames:
        return length
    frames = sampling.t0 + _MARGIN * config.n_frames * sampling.g / config.n_replicas
    return min(config.max_segments, max(length + 1, math.ceil(frames / config.segment_frames)))


def _read(chains: Sequence[Chain], name: str) -> np.ndarray:
    """One recorded quantity of all chains. Shape (chains, frames, ...)."""
    return np.stack([chain.read(name) for chain in chains])


def _finish(
    chains: Sequence[Chain], config: ReferenceConfig, made_with: str, seed: int
) -> Ensemble:
    state = chains[0].state
    temperature = statistics.mean_and_error(_read(chains, "temperatures_star").ravel())
    facts: dict[str, Any] = {
        **provenance(seed),
        "made_with": made_with,
        "config": config.model_dump(),
        "platform": fastest_platform(config.platform).getName(),
        "n_steps": chains[0].n_segments * config.segment_steps * len(chains),
        "temperature_star": list(temperature),
        "warnings": _temperature_doubts(temperature, state),
    }
    ensemble = thin(
        state,
        _read(chains, "frames_nm"),
        _read(chains, "reduced_potentials"),
        _read(chains, "log_weights"),
        n_frames=config.n_frames,
        provenance=facts,
    )
    for warning in ensemble.provenance["warnings"]:
        _log.warning("%s: %s", state.label, warning)
    return ensemble


def _temperature_doubts(temperature: tuple[float, float], state: StatePoint) -> list[str]:
    mean, error = temperature
    if abs(mean - state.temperature_star) <= 5 * error + 0.005 * state.temperature_star:
        return []
    return [
        f"the velocities say T* = {mean:.4f} +- {error:.4f} instead of {state.temperature_star:g}: "
        "lower timestep_star"
    ]
