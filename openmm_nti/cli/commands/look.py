"""`look_at`: how well a model serves some frames, by a few noising and denoising paths.

They are shorter than those of an estimate, and so overlap less.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch

from openmm_nti.ensemble import Ensemble
from openmm_nti.model_files import load_denoiser
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators.crystals import crystal_paths
from openmm_nti.validation.estimators.path_weights import PathConfig, estimate_bar, sample
from openmm_nti.validation.pace import Pace, measure

ENOUGH = 0.1  # overlap of a model that needs no training
_PATHS = 16
_BUSY = 1.3  # time that passes, over that of the processor
_STEPS = (30, 200)  # of a path, at least and at most


@dataclass(frozen=True)
class Look:
    """How a model does on a few paths through the frames.

    Attributes
    ----------
    model
        Name or directory of the model.
    overlap
        Of both directions, from 0 to 1; 0 where a path failed.
    is_enough
        Whether the model needs no training. It never is where there is no error.
    text
        The overlap in words, or why there is none.
    pace
        Seconds of one core for gradients and steps of MD, while others use the machine as now.
    """

    model: str
    overlap: float
    is_enough: bool
    text: str
    pace: Pace


def look_at(model: str, ensemble: Ensemble, seconds: float, execution: Execution) -> Look:
    """Return how `model`, a name or a directory, does on a few paths, in about `seconds`.

    Where others use the machine, torch is left with one thread: two would wait for each other.

    Raises
    ------
    ValueError
        If the box is too small for the model.
    """
    score = load_denoiser(model).bind(ensemble.state)
    pace = measure(ensemble.state, score)
    for_each_step = 2 * _PATHS * pace.gradient(ensemble.state.n_particles)
    config = PathConfig(n_paths=_PATHS, n_steps=int(np.clip(seconds / for_each_step, *_STEPS)))
    threads, began, used = torch.get_num_threads(), time.monotonic(), time.process_time()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():  # of another fluid: that is the question here
            warnings.simplefilter("ignore", UserWarning)
            is_crystal = ensemble.state.crystal is not None
            paths = crystal_paths.sample if is_crystal else sample
            works = paths(score, ensemble, config, execution)
        found = estimate_bar(works, execution)
    except ValueError as error:
        return Look(model, 0.0, False, f"its paths fail ({error})", pace)
    finally:
        busy = max(1.0, (time.monotonic() - began) / max(time.process_time() - used, 1e-3))
        torch.set_num_threads(threads if busy < _BUSY else 1)
    overlap = float(found.diagnostics["overlap"])
    is_enough = bool(found.verdict.level == "good" and overlap >= ENOUGH)
    text = f"its overlap in {_PATHS} paths each way is {overlap:.2f}"
    return Look(model, overlap, is_enough, text, pace.slowed(busy))
