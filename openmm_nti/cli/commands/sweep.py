"""The command for one fluid at several temperatures: `sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openmm_nti.cli.commands.options import (
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
    overriding,
    print_json,
    results_console,
)

if TYPE_CHECKING:
    from openmm_nti.fluid.state import StatePoint

_COLUMNS = {
    "beta_f_ex": "beta F_ex",
    "beta_u_ex": "beta U",
    "s_ex": "S_ex / k",
    "c_v_ex": "C_v,ex / k",
    "pressure_star": "p*",
}


def sweep(
    config: ConfigFile,
    temperatures: Annotated[
        str, typer.Option(help="Temperatures T* = kT / epsilon, such as 1.25,1.4,1.6,2.")
    ],
    anchor: Annotated[
        str,
        typer.Option(
            help="Known beta F_ex: VALUE,ERROR in kT at the temperature of CONFIG, or a run's "
            "results.json with this fluid, N and box at any temperature."
        ),
    ],
    output: Output,
    kelvin: Annotated[
        bool, typer.Option("--kelvin", help="--temperatures are in K instead.")
    ] = False,
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
    verdict says where they do not. Writes sweep.json, sweep.csv and sweep.svg. The same command
    after an interruption goes on. Examples:

        openmm-nti sweep fluid.yaml --temperatures 1.25,1.4,1.6,2 --anchor -45.4,0.2 --output sweep

        openmm-nti sweep fluid.yaml --temperatures 1.4,1.6,2 --anchor fluid/results.json -o sweep
    """
    from openmm_nti.cli.forecast import REFERENCE, check_disk, forecast_run
    from openmm_nti.cli.run_config import load_config
    from openmm_nti.cli.run_directory import RunDirectory
    from openmm_nti.cli.safety.one_run import only_run
    from openmm_nti.cli.safety.preflight import check_density, check_writable, with_key
    from openmm_nti.md.platforms import fastest_platform
    from openmm_nti.runtime.context import Execution
    from openmm_nti.runtime.executors import executor as tasks_on
    from openmm_nti.validation.sweep import run
    from openmm_nti.validation.sweep.anchor import anchor_from

    resolved = load_config(config, overriding(settings, seed=seed))
    state = _one_state(resolved, config)
    check_density(state)
    with_key("reference.platform", fastest_platform, resolved.reference.platform)
    known = with_key("--anchor", anchor_from, anchor, state)
    asked = [one * _unit(state, kelvin) for one in _numbers(temperatures)]
    states = with_key("--temperatures", run.states_of, state, asked, known)
    _check_directory(output)
    check_writable(output)
    with tasks_on(executor, scheduler), only_run(output):
        all_of_it = resolved.model_copy(update={"system": tuple(states)})
        forecast = forecast_run(all_of_it, RunDirectory(output), (REFERENCE,))
        check_disk(forecast, output)
        if forecast.seconds > 0:
            console().print(str(forecast))
        execution = Execution(resolved.seed, resolved.workers, output, progress=True)
        results = run.sweep(states, resolved.reference, known, execution)
    if json:
        print_json(results)
        return
    _print_table(results)
    echo(f"Numbers: {output / 'sweep.json'}   Figure: {output / 'sweep.svg'}")


def _one_state(resolved: Any, config: Path) -> StatePoint:
    from openmm_nti.cli.config_errors import ConfigError

    if len(resolved.system) != 1:
        raise ConfigError(f"{config}: system: has several state points; a sweep is of one N")
    state: StatePoint = resolved.system[0]
    return state


def _numbers(text: str) -> list[float]:
    """Return the numbers of --temperatures; ConfigError unless all are positive."""
    from openmm_nti.cli.config_errors import ConfigError
    from openmm_nti.fluid.units import positive_number

    try:
        return [positive_number("--temperatures", part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"{error}: give them as 1.25,1.4,1.6") from None


def _unit(state: StatePoint, kelvin: bool) -> float:
    """Return T* for one of the given unit."""
    return state.temperature_star / state.temperature_kelvin if kelvin else 1.0


def _check_directory(output: Path) -> None:
    """Refuse a directory of other things: one of a sweep has `reference/`, and no run's config."""
    from openmm_nti.cli.config_errors import ConfigError

    there = [] if not output.is_dir() else [one.name for one in output.iterdir()]
    others = {one for one in there if not one.startswith(".")}
    if others - {"reference", "sweep.json", "sweep.csv", "sweep.svg"}:
        raise ConfigError(
            f"{output} holds something other than a sweep ({min(others)}): name another --output"
        )


def _print_table(results: dict[str, Any]) -> None:
    from rich.table import Table

    from openmm_nti.free_energy import uncertain

    table = Table(title=f"N = {results['state']['n_particles']}, all particles together")
    table.add_column("T*", justify="right")
    for heading in _COLUMNS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in results["temperatures"]:
        shown = (row.get(name) for name in _COLUMNS)
        numbers = [uncertain(one["value"], one["std_err"]) if one else "none" for one in shown]
        numbers = [number.replace(" ± ", "\n± ") for number in numbers]  # 80 columns
        table.add_row(f"{row['temperature_star']:.5g}", *numbers)
    results_console().print(table)
    total = 1.5 * results["state"]["n_particles"]
    echo(f"C_v = C_v,ex + {total:g} k with the kinetic part. {results['verdict']['text']}")
