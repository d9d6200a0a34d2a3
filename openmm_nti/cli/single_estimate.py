"""`openmm-nti estimate`: one method at one state point, outside of a run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.estimators import Job, method
from openmm_nti.cli.forecast import check_disk, foresee_estimate
from openmm_nti.cli.model_commands import state_of_model
from openmm_nti.cli.run_config import section_config
from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.model_files import check_model_fits, load_denoiser, load_model
from openmm_nti.reference_md import ReferenceConfig, generate

_A_MOMENT = 2.0  # seconds


@dataclass(frozen=True)
class Request:
    """What to estimate; the options of `openmm-nti estimate`."""

    method: str
    model: str | None
    n_particles: int | None
    box_length_sigma: float | None
    data: Path | None
    settings: list[str]
    seed: int
    workers: int


def single_estimate(
    request: Request, output: Path | None, say: Callable[[str], None] = lambda _text: None
) -> FreeEnergy:
    """Load, simulate what is missing, and estimate.

    Parameters
    ----------
    request
        What to estimate.
    output
        Directory that keeps reference data and simulations for the next time; None leaves nothing
        on disk.
    say
        Receives what is foreseen, where that is more than a moment.

    Raises
    ------
    ValueError
        Before any simulation, if the method is unknown, a model or a state point is missing, or
        they do not fit.
    """
    chosen = method(request.method)
    config = section_config(chosen.section, request.settings)
    load = load_model if chosen.needs_energy else load_denoiser
    trained = load(request.model) if request.model is not None else None
    stored = Ensemble.load(request.data) if request.data is not None else None
    state = _state(request, stored)
    if trained is not None:
        check_model_fits(trained, state)
    with tempfile.TemporaryDirectory(prefix="openmm-nti-") as temporary:
        directory = output or Path(temporary)
        job = Job(state, stored, trained, request.seed, request.workers, directory / state.label)
        if chosen.needs_model:
            _ = job.score  # say that it is missing before anything is simulated
        simulate = stored is None and chosen.needs_data
        forecast = foresee_estimate(
            request.method, config, state, trained, workers=request.workers, simulate=simulate
        )
        check_disk(forecast, directory)
        if forecast.seconds > _A_MOMENT:
            say(str(forecast))
        if simulate:
            job = replace(job, data=_reference(state, request, directory))
        return chosen.compute(job, config)


def _state(request: Request, stored: Ensemble | None) -> StatePoint:
    if stored is not None:
        if (
            request.n_particles not in (None, stored.state.n_particles)
            or request.box_length_sigma is not None
        ):
            raise ConfigError(f"--data is of {stored.state}: leave out --n and --box-length-sigma")
        return stored.state
    if request.model is None:
        raise ConfigError("which state point? Give --model with --n, or --data")
    if request.n_particles is None:
        raise ConfigError("how many particles? Add --n N, or --data FILE")
    return state_of_model(request.model, request.n_particles, request.box_length_sigma)


def _reference(state: StatePoint, request: Request, directory: Path) -> Ensemble:
    """Reference data at `state` by MD with the default effort, or as found in `directory`."""
    config = ReferenceConfig()
    return generate(
        [state],
        config,
        seed=request.seed,
        directory=directory / "reference",
        workers=request.workers,
        progress=True,
    )[0]
