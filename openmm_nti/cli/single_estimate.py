"""`openmm-nti estimate`: an estimate by one method at one state point, outside of a run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.forecast import check_disk, forecast_estimate
from openmm_nti.cli.model_commands import state_of_model
from openmm_nti.cli.run_config import RunConfig, load_config, section_config
from openmm_nti.cli.safety.preflight import check_density, check_writable, one_state, with_key
from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian.training_range import check_model_fits
from openmm_nti.md.platforms import fastest_platform
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.reference_md.frame_checks import checked, summary
from openmm_nti.runtime.context import Execution
from openmm_nti.runtime.devices import torch_device
from openmm_nti.shipped import shipped_for
from openmm_nti.validation.estimators.base import Estimator, Job
from openmm_nti.validation.estimators.registry import estimator

_A_MOMENT = 2.0  # seconds


@dataclass(frozen=True)
class Request:
    """The options of `openmm-nti estimate`, which say what to estimate."""

    method: str
    model: str | None
    n_particles: int | None
    box_length_sigma: float | None
    data: Path | None
    settings: list[str]
    config: Path | None  # whose `system` is the state point
    accept_frames: bool
    species: str | None  # whose chemical potential, in a mixture
    execution: Execution  # its folder keeps data and simulations; None leaves nothing on disk


def single_estimate(
    request: Request, say: Callable[[str], None] = lambda _text: None
) -> FreeEnergy:
    """Return the estimate, after loading the model and simulating missing data.

    Parameters
    ----------
    request
        What to estimate.
    say
        Function that receives the forecast as text, if it is longer than a moment.

    Raises
    ------
    ValueError
        If the method is unknown, a model or a state point is missing, or they do not fit together.
        It is raised before any simulation.
    """
    chosen = estimator(request.method)
    with_key("--device", torch_device, request.execution.device)
    if request.execution.directory is not None:
        check_writable(request.execution.directory)
    config = section_config(chosen.section, request.settings)
    with_key("--set platform", fastest_platform, getattr(config, "platform", None))
    stored = _stored(request, say)
    described = None if request.config is None else _described(request, request.config)
    request = _with_a_model(chosen, request, stored, described, say)
    trained, denoiser = (None, None) if request.model is None else chosen.load(request.model)
    reference = ReferenceConfig() if described is None else described.reference
    state = _state(request, stored, described)
    with_key("--method", chosen.check_phase, state)
    with_key("--species", chosen.check_species, state, request.species)
    if trained is not None:
        check_model_fits(trained, state)
    with tempfile.TemporaryDirectory(prefix="openmm-nti-") as temporary:
        directory = request.execution.directory or Path(temporary)
        execution = replace(request.execution, directory=directory)
        job = Job(state, stored, trained, execution.folder(state.label), request.species, denoiser)
        if chosen.needs_model:
            _ = job.score  # raises an error now, not after a simulation, if it is missing
            with_key("--model", getattr, job, "best_score")  # or sees beyond the box
        simulate = stored is None and "data" in chosen.needs
        forecast = forecast_estimate(
            chosen,
            config,
            state,
            trained,
            n_processes=execution.workers,
            simulate=simulate,
            device=execution.device,
        )
        check_disk(forecast, directory)
        if forecast.seconds > _A_MOMENT:
            say(str(forecast))
        if simulate:
            (data,) = generate([state], reference, execution.folder("reference"))
            job = replace(job, data=data)
        return chosen.estimate(job, config)


def _with_a_model(
    chosen: Estimator,
    request: Request,
    stored: Ensemble | None,
    described: RunConfig | None,
    say: Callable[[str], None],
) -> Request:
    """Return the request with the shipped model that serves its state, if it names none."""
    if request.model is not None or not chosen.needs_model or not (stored or described):
        return request
    name = shipped_for(_state(request, stored, described))[0]
    say(f"model: {name}, the shipped one for this state; --model takes another")
    return replace(request, model=name)


def _stored(request: Request, say: Callable[[str], None]) -> Ensemble | None:
    """Return the frames of --data, checked now if they were not when the file was written."""
    if request.data is None:
        return None
    loaded = Ensemble.load(request.data)
    stored = checked(loaded, str(request.data), accept_frames=request.accept_frames)
    if stored is not loaded:
        say(f"frames of --data: {summary(stored.provenance)}")
        for warning in stored.provenance["warnings"]:
            say(f"warning: {warning}")
    return stored


def _described(request: Request, config: Path) -> RunConfig:
    """Return the configuration with one state point: of several, that of --n."""
    resolved = load_config(config, [])
    if len(resolved.system) == 1 and request.n_particles is not None:
        raise ConfigError("--config has N: leave out --n")
    if request.box_length_sigma is not None:
        raise ConfigError("--config has the box: leave out --box-length-sigma")
    state = one_state(resolved, config, "an estimate", request.n_particles)
    check_density(state)
    return resolved.model_copy(update={"system": (state,)})


def _state(request: Request, stored: Ensemble | None, described: RunConfig | None) -> StatePoint:
    if described is not None:
        (state,) = described.system
        if stored is not None and stored.state != state:
            raise ConfigError(f"--data is of {stored.state}, and --config of {state}")
        return state
    if stored is not None:
        if (
            request.n_particles not in (None, stored.state.n_particles)
            or request.box_length_sigma is not None
        ):
            raise ConfigError(f"--data is of {stored.state}: leave out --n and --box-length-sigma")
        return stored.state
    if request.model is None:
        raise ConfigError("the state point is missing. Give --config, --model with --n, or --data")
    if request.n_particles is None:
        raise ConfigError("the number of particles is missing. Add --n N, or --data FILE")
    return state_of_model(request.model, request.n_particles, request.box_length_sigma)
