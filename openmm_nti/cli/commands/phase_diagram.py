"""The command for vapour and liquid in equilibrium: `phase-diagram`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
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
from openmm_nti.cli.commands.sweep import check_directory, numbers_in

_COLUMNS = ("temperature_star", "rho_vapour", "rho_liquid")


def phase_diagram(
    config: ConfigFile,
    output: Output,
    temperatures: Annotated[
        str | None,
        typer.Option(
            help="Temperatures T* = kT / epsilon, such as 0.9,1.0,1.1; by default that of CONFIG."
        ),
    ] = None,
    kelvin: Annotated[
        bool, typer.Option("--kelvin", help="--temperatures are in K instead.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help=f"{MODEL_HELP} By default the key `model` of CONFIG.", autocompletion=model_names
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            autocompletion=method_names,
            help="Method that gives the model's free energies; path_bar by default.",
        ),
    ] = None,
    published: Annotated[
        Path | None,
        typer.Option(
            help=f"Known points for the figure: CSV with the columns {', '.join(_COLUMNS)}.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    full_potential: Annotated[
        bool,
        typer.Option(
            "--full-potential", help="Of the full pair potential, not of that with its cutoff."
        ),
    ] = False,
    settings: Settings = None,
    executor: ExecutorOption = "processes",
    scheduler: Scheduler = None,
    quiet: Quiet = False,  # noqa: ARG001
    json: Json = False,
) -> None:
    """Compute where vapour and liquid coexist, from free energies of many N in one box.

    `system.n_particles` of CONFIG is a list: some N of the vapour, some of the liquid. Those in
    between may be left out. At each temperature and N, one simulation and the model give beta F_ex;
    then p(N) at any chemical potential is known. Where its two peaks weigh the same, the phases
    coexist. Writes phase_diagram.json, .csv and .svg. The same command after an interruption goes
    on. An example:

        openmm-nti phase-diagram fluid.yaml --temperatures 0.9,1.0 --model lj-family -o phases
    """
    from openmm_nti.cli.config_errors import ConfigError
    from openmm_nti.cli.results import print_phases
    from openmm_nti.cli.run_config import load_config
    from openmm_nti.cli.safety.one_run import only_run
    from openmm_nti.cli.safety.preflight import check_density, check_writable, with_key
    from openmm_nti.md.platforms import fastest_platform
    from openmm_nti.runtime.context import Execution
    from openmm_nti.runtime.executors import executor as tasks_on
    from openmm_nti.validation.phases import run
    from openmm_nti.validation.sweep.beside import Beside, usual_method

    resolved = load_config(config, settings or [])
    first = resolved.system[0]
    unit = first.temperature_star / first.temperature_kelvin if kelvin else 1.0
    asked = [first.temperature_star]
    if temperatures is not None:
        asked = [unit * one for one in numbers_in(temperatures)]
    states = with_key("system", run.states_of, resolved.system, asked)
    flat = [state for row in states for state in row]
    check_density(states[0][-1])
    if full_potential and not first.is_continuous:
        raise ConfigError(
            f"--full-potential: convention = {first.convention} has no pressure to correct; use "
            "switched, shifted or force_shifted"
        )
    with_key("reference.platform", fastest_platform, resolved.reference.platform)
    name = model or resolved.model
    if name is None:
        raise ConfigError("no model: give --model, or the key `model` in CONFIG")
    known = known_points(published, _COLUMNS)
    beside = with_key(
        "--model", Beside.of, name, method or usual_method(), resolved.settings_of, flat
    )
    check_directory(output, run.NAME)
    check_writable(output)
    with tasks_on(executor, scheduler), only_run(output):
        _forecast(resolved, flat, beside, output)
        execution = Execution(resolved.seed, resolved.workers, output, progress=True)
        results = run.phase_diagram(
            states, resolved.reference, beside, execution, known, full=full_potential
        )
    if json:
        print_json(results)
        return
    print_phases(results, results_console())
    echo(f"Numbers: {output / run.NAME}.json   Figure: {output / run.NAME}.svg")


def _forecast(resolved: Any, states: list[Any], beside: Any, output: Path) -> None:
    """Say how long simulations and estimates will take, and refuse a disk that is too full."""
    from openmm_nti.cli.forecast import forecast_states
    from openmm_nti.cli.safety.preflight import announce

    estimates = [(beside.method, beside.settings, state) for state in states]
    forecast = forecast_states(resolved, states, estimates, beside.model, output)
    announce(forecast, output, console())


def known_points(path: Path | None, columns: Sequence[str]) -> list[dict[str, float]]:
    """Return the published points in the file at `path`, NaN where a place is empty.

    ConfigError unless it is a table with these columns.
    """
    from openmm_nti.cli.config_errors import ConfigError

    if path is None:
        return []
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            table = list(csv.DictReader(lines))
        rows = [{name: float(row[name] or "nan") for name in columns} for row in table]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"--published {path} has no numbers in the columns {', '.join(columns)} ({error})"
        ) from None
    if not rows:
        raise ConfigError(f"--published {path} has no rows")
    return rows
