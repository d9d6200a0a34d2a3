"""Checks of the inputs of a training, and the fingerprint of all that decides its result."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import fingerprint, without_checksum
from openmm_nti.hamiltonian import NetworkConfig, NoisedFluid
from openmm_nti.hamiltonian.growth import may_grow
from openmm_nti.model_files import (
    denoiser_directory,
    load_any_model,
    model_directory,
    training_core_seconds,
    weights_fingerprint,
)
from openmm_nti.runtime.context import Execution
from openmm_nti.training.config import TrainingConfig


def directory_of(execution: Execution) -> Path:
    """Make the folder of the training and return it; ValueError where none is given."""
    if execution.directory is None:
        raise ValueError("directory = None: a training needs a folder for its model and checkpoint")
    execution.directory.mkdir(parents=True, exist_ok=True)
    return execution.directory


def inputs_fingerprint(
    ensembles: Sequence[Ensemble], network: NetworkConfig, config: TrainingConfig, seed: int
) -> str:
    """Return the fingerprint of all that decides a training's result.

    Raises
    ------
    ValueError
        If there is no ensemble, or the ensembles are of different pair potentials, which only a
        conditioned network tells apart.
    """
    if not ensembles:
        raise ValueError("no ensembles to train on: generate reference data first")
    potentials = {ensemble.state.pair_potential for ensemble in ensembles}
    if len(potentials) > 1 and not network.knows_depth:
        raise ValueError(
            "the ensembles differ in temperature, species, cutoff or convention: train one model "
            "for each, or a network with conditioned: true"
        )
    data = [
        [e.state.model_dump(), e.positions_nm.shape[0], float(e.positions_nm.sum())]
        for e in ensembles
    ]
    start = []
    if config.start_from is not None:
        start = [weights_fingerprint(load_any_model(start_directory(config.start_from, network)))]
    return fingerprint([data, network.model_dump(), config.model_dump(), seed, *start])


def start_directory(start: str, network: NetworkConfig | None) -> Path:
    """Return where the weights lie that a network starts from: a denoiser's beside the model."""
    is_denoiser = network is not None and network.kind == "denoiser"
    return denoiser_directory(start) if is_denoiser else model_directory(start)


def starting_model(start: str, model: NoisedFluid) -> NoisedFluid:
    """Return the finished model that `start` names; ValueError if `model` cannot grow from it.

    It may have been trained for another fluid: `model` then takes its length of a pair as well.
    """
    other = load_any_model(start_directory(start, model.network_config))
    if not may_grow(other.network_config, model.network_config):
        raise ValueError(
            f"start_from: the model at {start} is of another network: use the same; only "
            "n_refinements may be larger here, and n_relaxations or conditioned where there were "
            "none"
        )
    return other


def seconds_before(start: str, network: NetworkConfig) -> float:
    """Return the processor time of the training that `start` names, in s; 0 if it is unknown."""
    return training_core_seconds(start_directory(start, network)) or 0.0


def metrics_until(path: Path, step: float = math.inf) -> list[dict[str, Any]]:
    """Return the lines of a file of metrics up to `step`; none if there is no file.

    Raises
    ------
    ValueError
        If the file is damaged; the message names it.
    """
    if not path.is_file():
        return []
    try:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        lines = [without_checksum(line, path) for line in found]
        _ = [line[key] + 0.0 for line in lines for key in ("step", "loss", "validation_loss")]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is truncated or damaged: delete it; the report then shows no training curve"
        ) from error
    return [line for line in lines if line["step"] <= step]
