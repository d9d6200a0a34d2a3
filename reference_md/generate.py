"""The simulation of reference ensembles by molecular dynamics, until each has enough frames.

Every state point runs `n_replicas` independent chains. After each round the statistical
inefficiency of the energy says how long the chains must become to hold `n_frames` decorrelated
frames, and they are continued to that length.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import fingerprint, provenance
from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.platforms import description_of_fastest
from openmm_nti.reference_md import statistics
from openmm_nti.reference_md._chain import Chain, run_chain
from openmm_nti.reference_md._thinning import judge, thin
from openmm_nti.reference_md.config import ReferenceConfig
from openmm_nti.reference_md.frame_checks import checked
from openmm_nti.runtime.context import Execution, takes_execution

_PILOT_SEGMENTS = 2
_MARGIN = 1.05  # factor on the predicted length, so that one more round is seldom needed
_log = logging.getLogger(__name__)


@takes_execution
def generate(
    states: Sequence[StatePoint], config: ReferenceConfig, execution: Execution
) -> list[Ensemble]:
    """Simulate each state point and write `<state.label>.h5` into the execution's folder.

    Finished ensembles in the folder are read, and interrupted chains go on. The frames are those of
    an undisturbed run, to the bit on the CPU platform.

    Parameters
    ----------
    states
        State points, all different.
    config
        Settings of the simulations.
    execution
        Seed, folder, workers and progress. The seed and `config` decide every frame. The folder,
        which must be given, receives the ensembles, and the recorded chains in `chains`. The parts
        may be given as keywords instead: `seed=1, directory=folder, workers=2, progress=True`.

    Returns
    -------
    list[Ensemble]
        Ensembles in the order of `states`. Warnings are in `provenance["warnings"]`.

    Raises
    ------
    ValueError
        If there is no folder, two states have the same label, or the folder holds an ensemble made
        with other settings.
    TaskError
        If a simulation fails.
    """
    if execution.directory is None:
        raise ValueError("directory = None: reference ensembles need a folder for their files")
    labels = [state.label for state in states]
    if len(set(labels)) < len(labels):
        raise ValueError(
            f"states = {', '.join(labels)}: each label must occur once; remove the repeated state "
            "point"
        )
    paths = {state: execution.directory / f"{state.label}.h5" for state in states}
    done = {
        state: _read_finished(path, _made_with(state, config, execution))
        for state, path in paths.items()
        if path.exists()
    }
    for ensemble in _simulate([state for state in states if state not in done], config, execution):
        ensemble.save(paths[ensemble.state])
        done[ensemble.state] = ensemble
    return [done[state] for state in states]


def _simulate(
    states: Sequence[StatePoint], config: ReferenceConfig, execution: Execution
) -> Iterator[Ensemble]:
    """Yield the ensembles of `states` as they get ready; chains grow from round to round."""
    lengths = dict.fromkeys(states, min(_PILOT_SEGMENTS, config.max_segments))
    description = "reference MD"
    while lengths:
        groups = {
            state: [
                Chain(state, config, execution, number, length)
                for number in range(config.n_replicas)
            ]
            for state, length in lengths.items()
        }
        largest_first = sorted(groups, key=lambda state: -state.n_particles)
        chains = [chain for state in largest_first for chain in groups[state]]
        execution.run(run_chain, chains, description)
        for state, group in groups.items():
            needed = _segments_needed(group, config)
            if needed > lengths[state]:
                lengths[state] = needed
                continue
            del lengths[state]
            yield _finish(group, config, execution)
        description = "reference MD, until enough frames are decorrelated"


def _made_with(state: StatePoint, config: ReferenceConfig, execution: Execution) -> str:
    """Return the fingerprint of everything that decides an ensemble."""
    return fingerprint([state.model_dump(), config.model_dump(), execution.seed])


def _read_finished(path: Path, made_with: str) -> Ensemble:
    ensemble = Ensemble.load(path)
    if ensemble.provenance.get("made_with") != made_with:
        raise ValueError(
            f"{path} was made with another seed or other settings: choose another directory, or "
            "delete it"
        )
    return ensemble


def _segments_needed(chains: Sequence[Chain], config: ReferenceConfig) -> int:
    """Return the number of segments at which the chains hold enough decorrelated frames.

    It is their present number if they hold enough already, or if they may not grow.
    """
    sampling = judge(_read(chains, "reduced_potentials"))
    length = chains[0].n_segments
    if sampling.n_decorrelated >= config.n_frames:
        return length
    frames = sampling.t0 + _MARGIN * config.n_frames * sampling.g / config.n_replicas
    return min(config.max_segments, max(length + 1, math.ceil(frames / config.segment_frames)))


def _read(chains: Sequence[Chain], name: str) -> np.ndarray:
    """Return a recorded quantity of all chains. Shape (chains, frames, ...)."""
    return np.stack([chain.read(name) for chain in chains])


def _finish(chains: Sequence[Chain], config: ReferenceConfig, execution: Execution) -> Ensemble:
    state = chains[0].state
    temperature = statistics.mean_and_error(_read(chains, "temperatures_star").ravel())
    facts: dict[str, Any] = {
        **provenance(execution.seed),
        "made_with": _made_with(state, config, execution),
        "config": config.model_dump(),
        "platform": description_of_fastest(config.platform),
        "n_steps": chains[0].n_segments * config.segment_steps * len(chains),
        "temperature_star": list(temperature),
        "warnings": temperature_warnings(*temperature, state),
    }
    thinned = thin(
        state,
        _read(chains, "frames_nm"),
        _read(chains, "reduced_potentials"),
        _read(chains, "log_weights"),
        n_frames=config.n_frames,
        provenance=facts,
    )
    # What is wrong with frames of our own is a warning: the simulation is done.
    ensemble = checked(thinned, state.label, accept_frames=True)
    for warning in ensemble.provenance["warnings"]:
        _log.warning("%s: %s", state.label, warning)
    return ensemble


def temperature_warnings(mean: float, error: float, state: StatePoint) -> list[str]:
    """Return a warning unless the kinetic temperature is that of `state` within its error."""
    if error == math.inf:
        return ["the frames are too few to know their temperature: raise max_steps or n_frames"]
    allowed = 5 * error + 0.005 * state.temperature_star
    if math.isfinite(allowed) and abs(mean - state.temperature_star) <= allowed:
        return []
    warning = (
        f"the velocities say T* = {mean:.4f} ± {error:.4f} instead of {state.temperature_star:g}: "
        "lower timestep_star"
    )
    return [warning]
