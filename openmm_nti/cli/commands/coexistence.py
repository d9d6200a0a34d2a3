"""The command for a fluid and its crystal in equilibrium: `coexistence`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from openmm_nti.cli.commands.options import (
    MODEL_HELP,
    ConfigFile,
    ExecutorOption,
    Json,
    Output,
    Quiet,
    Scheduler,
    Settings,
    console,
    echo,
    method_names,
    model_names,
    print_json,
    results_console,
)
from openmm_nti.cli.commands.phase_diagram import known_points
from openmm_nti.cli.commands.sweep import check_directory

_COLUMNS = ("temperature_star", "rho_fluid", "rho_crystal", "pressure_star")


def coexistence(
    config: ConfigFile,
    output: Output,
    model: Annotated[
        str | None,
        typer.Option(
            help=f"{MODEL_HELP} By default the key `model` of CONFIG.", autocompletion=model_names
        ),
    ] = None,
    fluid_method: Annotated[
        str | None,
        typer.Option(
            autocompletion=method_names,
            help="Method for the fluid; by default one in stages with a model that has an energy, "
            "mbar_softcore without a model.",
        ),
    ] = None,
    crystal_method: Annotated[
        str | None,
        typer.Option(
            autocompletion=method_names,
            help="Method for the crystal; by default crystal_path_bar with a model, frenkel_ladd "
            "without.",
        ),
    ] = None,
    as_simulated: Annotated[
        bool,
        typer.Option(
            "--as-simulated", help="Of the potential with its cutoff, not of the full potential."
        ),
    ] = False,
    everywhere: Annotated[
        bool,
        typer.Option(
            "--everywhere", help="A free energy at every density, not at one of each phase."
        ),
    ] = False,
    published: Annotated[
        Path | None,
        typer.Option(
            help=f"Known points for the figure of a line: CSV with the columns "
            f"{', '.join(_COLUMNS)}, empty where unknown.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    settings: Settings = None,
    executor: ExecutorOption = "processes",
    scheduler: Scheduler = None,
    quiet: Quiet = False,  # noqa: ARG001
    json: Json = False,
) -> None:
    """Compute where a fluid and its crystal coexist: both densities, pressure, chemical potential.

    `system` of CONFIG is a list of state points: the fluid at two densities or more, and the
    crystal (key `crystal`) at two or more, at one temperature or several. MD runs at each. The
    middle density of each phase, at the middle temperature, has a free energy. Pressures and
    energies lead from there to the others. Numbers are of the full potential, unless
    --as-simulated, and of infinite size. Writes coexistence.json, .csv and .svg; with several
    temperatures, the melting line. The same command after an interruption goes on. An example:

        openmm-nti coexistence melting.yaml --model lj-fluid-t1.25 --output melting
    """
    from openmm_nti.cli.forecast import forecast_states
    from openmm_nti.cli.results import print_coexistence
    from openmm_nti.cli.run_config import load_config
    from openmm_nti.cli.safety.one_run import only_run
    from openmm_nti.cli.safety.preflight import announce, check_density, check_writable, with_key
    from openmm_nti.md.platforms import fastest_platform
    from openmm_nti.runtime.context import Execution
    from openmm_nti.runtime.executors import executor as tasks_on
    from openmm_nti.validation.melting import run, states

    resolved = load_config(config, settings or [], trains=False)
    with_key("system", states.check_states, resolved.system)
    for state in resolved.system:
        check_density(state)
    with_key("reference.platform", fastest_platform, resolved.reference.platform)
    methods = {
        phase: _method(phase, name, model or resolved.model, resolved)
        for phase, name in zip(states.PHASES, (fluid_method, crystal_method), strict=True)
    }
    known = known_points(published, _COLUMNS)
    check_directory(output, run.NAME)
    check_writable(output)
    with tasks_on(executor, scheduler), only_run(output):
        estimates = [
            (methods[states.phase_of(state)].known, methods[states.phase_of(state)].settings, state)
            for state in states.with_free_energies(resolved.system, everywhere=everywhere)
        ]
        model_there = methods["crystal"].trained or methods["fluid"].trained
        forecast = forecast_states(resolved, resolved.system, estimates, model_there, output)
        announce(forecast, output, console())
        execution = Execution(
            resolved.seed, resolved.workers, output, progress=True, device=resolved.device
        )
        results = run.melting(
            resolved.system,
            resolved.reference,
            methods,
            execution,
            full=not as_simulated,
            everywhere=everywhere,
            published=known,
        )
    if json:
        print_json(results)
        return
    print_coexistence(results, results_console())
    echo(f"Numbers: {output / run.NAME}.json   Figure: {output / run.NAME}.svg")


def _method(phase: Any, name: str | None, model: str | None, resolved: Any) -> Any:
    """Return the method of a phase, checked against its state points."""
    from openmm_nti.cli.safety.preflight import with_key
    from openmm_nti.validation.melting.run import Method
    from openmm_nti.validation.melting.states import phase_of

    option = f"--{phase}-method"
    name = name or with_key("--model", _usual, phase, model)
    method = with_key(option, Method.of, name, model, resolved.settings_of)
    for state in resolved.system:
        if phase_of(state) == phase:
            with_key(option, method.known.check_phase, state)
            if method.trained is not None:
                with_key("--model", method.trained.bind, state)
    return method


def _usual(phase: Any, model: str | None) -> str:
    """Return the name of the method for a phase; works of dense fluids need stages to meet."""
    from openmm_nti.hamiltonian import LambdaHamiltonian
    from openmm_nti.model_files import load_any_model
    from openmm_nti.validation.sweep.beside import usual_method

    if phase == "fluid" and model and isinstance(load_any_model(model), LambdaHamiltonian):
        return usual_method(in_stages=True)
    return usual_method(phase, with_model=model is not None)
