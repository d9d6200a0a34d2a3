"""What an analysis does with its minutes: which model it takes or trains, and how many paths.

A shipped model serves any fluid, well or less well. A look at the frames tells how well: then it is
taken as it is, or trained further. It also tells how many paths the estimate needs, and how many
there is time for.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from openmm_nti.cli.commands.look import ENOUGH, Look, look_at
from openmm_nti.cli.run_config import RunConfig
from openmm_nti.ensemble import Ensemble
from openmm_nti.files import read_json, write_json
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import build_model
from openmm_nti.model_files import load_denoiser, load_model
from openmm_nti.runtime.context import Execution
from openmm_nti.shipped import shipped_for
from openmm_nti.validation.estimators.crystals.crystal_bound import CrystalBound
from openmm_nti.validation.estimators.crystals.crystal_path_bar import CrystalPathBar
from openmm_nti.validation.estimators.registry import sections
from openmm_nti.validation.pace import Pace, measure

FILE = "analysis.json"  # in the directory of the analysis, which goes on with it
_AIM_KT = 0.17  # standard error of path_bar from independent works; that of real ones is larger
_LOOK_SHARE = 0.15  # of the time
TRAINING_SHARE = 0.5  # of the time after the look
_END_SECONDS = 8.0  # until processes have started, and for the report
_SHORTEST_TRAINING = 0.01  # minutes


class _Effort(NamedTuple):
    """A number of samples: its section, the least and the most, and its share of the time."""

    section: str
    least: int
    most: int
    share: float


_EFFORTS = {
    "n_paths": _Effort("paths", 16, 512, 0.5),
    "n_pairs": _Effort("bound", 32, 192, 0.2),
    "n_tethered": _Effort("bound", 8, 12, 0.3),
}
_OF_CRYSTALS = {
    "n_paths": _Effort(CrystalPathBar.section, 16, 512, 0.7),
    "n_pairs": _Effort(CrystalBound.section, 32, 192, 0.3),
}
_IN_ONE_PROCESS = ("n_pairs",)
_LEARNING_RATE = 5e-4  # larger ones first undo what the shipped weights know
_PATHS_OF_A_TRAINED_MODEL = 128  # whose overlap nobody knows yet


@dataclass(frozen=True)
class Choice:
    """What was chosen: settings as after `--set`, and a line on each with the reason."""

    settings: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

    def save(self, directory: Path) -> None:
        """Keep the choice in the directory of the analysis."""
        write_json(directory / FILE, {"settings": list(self.settings), "said": list(self.said)})

    @classmethod
    def stored(cls, directory: Path) -> Choice | None:
        """Return the choice that was made in `directory`, if any; ValueError if it is damaged."""
        path = directory / FILE
        if not path.is_file():
            return None
        kept = read_json(path)
        try:
            return cls(tuple(kept["settings"]), tuple(kept["said"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} holds no choice: delete it and run again") from error


def efforts_at(state: StatePoint) -> dict[str, _Effort]:
    """Return the numbers of samples to choose at a state, by their keys."""
    return _EFFORTS if state.crystal is None else _OF_CRYSTALS


def choose(config: RunConfig, ensemble: Ensemble, is_open: set[str], seconds: float) -> Choice:
    """Return what to do with the frames of `ensemble` in `seconds`.

    Parameters
    ----------
    config
        What the user has said, with defaults for the rest.
    ensemble
        The frames.
    is_open
        What the user has not said: of `model`, and the sections of paths and of the bound.
    seconds
        Time that is left for the whole analysis.
    """
    ends = time.monotonic() + seconds - _END_SECONDS
    best, refused = _best_look(config, ensemble, is_open, seconds)
    settings: list[str] = []
    said: list[str] = []
    training = 60.0 * (config.training.max_minutes or 0.0) if config.model is None else 0.0
    if "model" in is_open:
        minutes = max(_SHORTEST_TRAINING, TRAINING_SHARE * (ends - time.monotonic()) / 60.0)
        training = 0.0 if best is not None and best.is_enough else 60.0 * minutes
        settings, said = _model_or_training(config, best, refused, minutes)
    pace = best.pace if best else _pace_of_network(config, ensemble.state)
    overlap = best.overlap if best and not training else math.nan
    numbers = _efforts(config, ensemble.state, pace, ends - time.monotonic() - training, overlap)
    for name, number in numbers.items():
        if (section := efforts_at(ensemble.state)[name].section) in is_open:
            settings.append(f"estimates.{section}.{name}={number}")
    return Choice(tuple(settings), tuple(said))


def _best_look(
    config: RunConfig, ensemble: Ensemble, is_open: set[str], seconds: float
) -> tuple[Look | None, str]:
    """Return how the best of the models in question does, and why another is of no use.

    Shipped models are looked at one after another until one is enough.
    """
    models = [config.model] if config.model else []
    if not models and "model" in is_open:
        models = shipped_for(ensemble.state)
    looks, refused = [], ""
    for model in models:
        share = _LOOK_SHARE * max(seconds, 0.0) / len(models)
        try:
            looks.append(look_at(model, ensemble, share, Execution(config.seed)))
        except ValueError as error:
            refused = str(error)
        else:
            if looks[-1].is_enough:
                break
    return max(looks, key=lambda look: (look.is_enough, look.overlap), default=None), refused


def _model_or_training(
    config: RunConfig, look: Look | None, refused: str, minutes: float
) -> tuple[list[str], list[str]]:
    """Return the settings that take a model or train one, and the reason."""
    if look is None:
        why = f"model: trained from random weights for {minutes:.2g} minutes: {refused}"
        return [f"training.max_minutes={minutes:.4g}"], [why]
    if look.is_enough:
        why = f"model: {look.model} without training: {look.text}, and {ENOUGH:g} is enough"
        return [f"model={look.model}"], [why]
    load = load_model if config.needs_energy else load_denoiser
    network = load(look.model).network_config
    if network is None:
        raise ValueError(f"{look.model} has no network to train: take another")
    why = (
        f"model: {look.model} trained further for {minutes:.2g} minutes: {look.text}, and "
        f"{ENOUGH:g} would be enough"
    )
    settings = {
        "training.max_minutes": f"{minutes:.4g}",
        "training.start_from": look.model,
        "training.learning_rate": f"{_LEARNING_RATE:g}",
        "network": json.dumps(network.model_dump()),
    }
    return [f"{key}={value}" for key, value in settings.items()], [why]


def _pace_of_network(config: RunConfig, state: StatePoint) -> Pace:
    return measure(state, build_model(state.pair_potential, config.network))


def _efforts(
    config: RunConfig, state: StatePoint, pace: Pace, seconds: float, overlap: float
) -> dict[str, int]:
    """Return how many samples of each kind to take, by the names of their keys.

    `overlap` is NaN where the model is still to be trained.
    """
    known, efforts = sections(), efforts_at(state)
    chosen = {name: getattr(config.estimates, name) for name in known}
    work = max(0.0, seconds) * config.workers - sum(
        known[name][0].seconds(settings, state.n_particles, pace)
        for name, settings in chosen.items()
        if settings is not None and name not in {effort.section for effort in efforts.values()}
    )
    numbers = {}
    for name, effort in efforts.items():
        settings = chosen[effort.section]
        if settings is None:
            continue
        one = settings.model_copy(update={key: key == name for key in efforts})
        cost = known[effort.section][0].seconds(one, state.n_particles, pace)
        cost *= config.workers if name in _IN_ONE_PROCESS else 1
        most = min(effort.most, _paths_for(overlap)) if name == "n_paths" else effort.most
        affordable = effort.share * max(work, 0.0) / max(cost, 1e-12)
        numbers[name] = int(max(effort.least, min(most, affordable)))
    return numbers


def _paths_for(overlap: float) -> int:
    """Return how many paths each way give BAR the error that is aimed at, at this overlap."""
    if not overlap > 0:
        return _PATHS_OF_A_TRAINED_MODEL
    return math.ceil(2.0 * (1.0 / overlap - 1.0) / _AIM_KT**2)
