"""The command for one fluid at several temperatures: `sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openmm_nti.cli.commands.options import (
    MODEL_HELP,
    ConfigFile,
    ExecutorOption,
    Json,
    Output,
    Quiet,
    Scheduler,
    Seed,
    Settings,
    console,
    echo,
    method_names,
    model_names,
    overriding,
    print_json,
    results_console,
)

if TYPE_CHECKING:
    from openmm_nti.fluid.state import StatePoint
    from openmm_nti.validation.sweep.beside import Beside


def sweep(
    config: ConfigFile,
    anchor: Annotated[
        str,
        typer.Option(
            help="Known beta F_ex: VALUE,ERROR in kT at the temperature of CONFIG, or a run's "
            "results.json with this fluid, N and box at any temperature."
        ),
    ],
    output: Output,
    temperatures: Annotated[
        str | None,
        typer.Option(
            help="Temperatures T* = kT / epsilon, such as 1.25,1.4,1.6,2; by default those of the "
            "key `sweep` of CONFIG."
        ),
    ] = None,
    kelvin: Annotated[
        bool, typer.Option("--kelvin", help="--temperatures are in K instead.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help=f"{MODEL_HELP} Its own thermodynamics stand beside the data.",
            autocompletion=model_names,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            autocompletion=method_names,
            help="Method that gives the model's free energies; path_bar by default.",
        ),
    ] = None,
    seed: Seed = None,
    settings: Settings = None,
    executor: ExecutorOption = "processes",
    scheduler: Scheduler = None,
    quiet: Quiet = False,  # noqa: ARG001
    json: Json = False,
) -> None:
    """Show one fluid at several temperatures: free energy, energy, entropy, C_v and pressure.

    MD runs at each temperature and at that of the anchor, with the settings of `reference`. MBAR in
    beta joins all frames at the same N and volume. Neighbouring temperatures must overlap; the
    verdict says where they do not. With --model, the free energies of a model from the same frames
    stand beside, and what follows from their slope. Writes sweep.json, sweep.csv and sweep.svg. The
    same command after an interruption goes on. Examples:

        openmm-nti sweep fluid.yaml --temperatures 1.25,1.4,1.6,2 --anchor=-45.4,0.2 --output sweep

        openmm-nti sweep fluid.yaml --anchor fluid/results.json -o sweep --model lj-fluid-t1.25
    """
    from openmm_nti.cli.forecast import REFERENCE, forecast_run
    from openmm_nti.cli.results import print_sweep
    from openmm_nti.cli.run_config import load_config
    from openmm_nti.cli.run_directory import RunDirectory
    from openmm_nti.cli.safety.one_run import only_run
    from openmm_nti.cli.safety.preflight import (
        announce,
        check_density,
        check_writable,
        one_state,
        with_key,
    )
    from openmm_nti.md.platforms import fastest_platform
    from openmm_nti.runtime.context import Execution
    from openmm_nti.runtime.executors import executor as tasks_on
    from openmm_nti.validation.sweep import run
    from openmm_nti.validation.sweep.anchor import anchor_from

    resolved = load_config(config, overriding(settings, seed=seed))
    state = one_state(resolved, config, "a sweep")
    check_density(state)
    with_key("reference.platform", fastest_platform, resolved.reference.platform)
    known = with_key("--anchor", anchor_from, anchor, state)
    asked, key = _temperatures(resolved, state, temperatures, kelvin)
    states = with_key(key, run.states_of, state, asked, known)
    beside = _beside(resolved, states, model, method)
    check_directory(output)
    check_writable(output)
    with tasks_on(executor, scheduler), only_run(output):
        all_of_it = resolved.model_copy(update={"system": tuple(states)})
        forecast = forecast_run(all_of_it, RunDirectory(output), (REFERENCE,))
        announce(forecast, output, console())
        execution = Execution(resolved.seed, resolved.workers, output, progress=True)
        results = run.sweep(states, resolved.reference, known, execution, beside)
    if json:
        print_json(results)
        return
    print_sweep(results, results_console())
    echo(f"Numbers: {output / 'sweep.json'}   Figure: {output / 'sweep.svg'}")


def _temperatures(
    resolved: Any, state: StatePoint, given: str | None, kelvin: bool
) -> tuple[list[float], str]:
    """Return the temperatures T* of --temperatures or of the key `sweep`, and which it is."""
    from openmm_nti.cli.config_errors import ConfigError

    if given is not None:
        unit = state.temperature_star / state.temperature_kelvin if kelvin else 1.0
        return [one * unit for one in numbers_in(given)], "--temperatures"
    if kelvin:
        raise ConfigError("--kelvin is the unit of --temperatures: give them, or leave it out")
    if resolved.sweep is None:
        raise ConfigError("no temperatures: give --temperatures, or the key `sweep` in CONFIG")
    return resolved.sweep.temperatures(state), "sweep"


def _beside(
    resolved: Any, states: list[StatePoint], model: str | None, method: str | None
) -> Beside | None:
    """Return what stands beside the data, if a model is named."""
    from openmm_nti.cli.config_errors import ConfigError
    from openmm_nti.cli.safety.preflight import with_key

    if model is None:
        if method is not None:
            raise ConfigError(f"--method {method} is of no model: give --model too")
        return None
    from openmm_nti.validation.sweep.beside import Beside, usual_method

    name = method or (resolved.sweep and resolved.sweep.method) or usual_method()
    beside: Beside = with_key("--model", Beside.of, model, name, resolved.settings_of, states)
    return beside


def numbers_in(text: str) -> list[float]:
    """Return the numbers of --temperatures; ConfigError unless all are positive."""
    from openmm_nti.cli.config_errors import ConfigError
    from openmm_nti.fluid.units import positive_number

    try:
        return [positive_number("--temperatures", part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"{error}: give them as 1.25,1.4,1.6") from None


def check_directory(output: Path, name: str = "sweep") -> None:
    """Refuse a directory of other things than a sweep, or a calculation of another `name`."""
    from openmm_nti.cli.config_errors import ConfigError

    there = [] if not output.is_dir() else [one.name for one in output.iterdir()]
    others = {one for one in there if not one.startswith(".")}
    own = {
        "reference",
        "model",
        "estimates",
        *(f"{name}.{kind}" for kind in ("json", "csv", "svg")),
    }
    if others - own:
        raise ConfigError(
            f"{output} holds something other than a {name.replace('_', ' ')} "
            f"({min(others - own)}): name another --output"
        )
