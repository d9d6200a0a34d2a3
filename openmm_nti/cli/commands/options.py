"""The options and arguments that several commands share, and the console for messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

LARGEST_SEED = 2**63 - 1  # of torch's and numpy's random numbers
MODEL_HELP = "Name of a shipped model (see `models`), or directory of a model or of a run."


def _be_quiet(context: typer.Context, quiet: bool) -> bool:
    """Hide all progress bars until the end of the command, if `quiet`."""
    from openmm_nti.runtime.tasks import silence

    if quiet:
        context.with_resource(silence())
    return quiet


def _plain_length(length: float | None) -> float | None:
    """Refuse a length that is no length."""
    if length is not None and not 0.0 < length <= 1e6:
        raise typer.BadParameter(f"{length:g} must be a positive number of at most 1e+06")
    return length


def method_names() -> list[str]:
    """Return the names of all methods."""
    from openmm_nti.validation.estimators.registry import all_estimators

    return list(all_estimators())


def model_names() -> list[str]:
    """Return the names of the shipped models."""
    from openmm_nti.model_files import shipped_models

    return list(shipped_models())


ConfigFile = Annotated[
    Path, typer.Argument(help="YAML configuration.", exists=True, dir_okay=False, metavar="CONFIG")
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Directory of the run; made if missing.")
]
Seed = Annotated[
    int | None,
    typer.Option(help="Random seed; replaces that of the configuration.", min=0, max=LARGEST_SEED),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Value to replace, such as system.n_particles=60; repeatable.",
    ),
]
Device = Annotated[
    str,
    typer.Option(help="Where models compute: auto (a GPU if there is one), cpu, cuda or cuda:1."),
]
ExecutorOption = Annotated[
    str,
    typer.Option(
        "--executor", help="Where simulations run: local, processes (as many as `workers`) or dask."
    ),
]
Scheduler = Annotated[
    str | None, typer.Option(help="Address of the dask scheduler, such as tcp://node1:8786.")
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        callback=_be_quiet,
        help="Print the result alone: no progress, no forecast.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Model = Annotated[str, typer.Argument(help=MODEL_HELP, metavar="MODEL", autocompletion=model_names)]
Number = Annotated[
    int | None,
    typer.Option(
        "--n-particles",
        "--n",
        "-n",
        min=2,
        max=10_000_000,
        help="Number of particles N; by default that of the training.",
    ),
]
BoxLength = Annotated[
    float | None,
    typer.Option(
        "--box-length-sigma",
        "-l",
        callback=_plain_length,
        help="Edge of the box in sigma; by default that of the training.",
    ),
]


AcceptFrames = Annotated[
    bool,
    typer.Option(
        "--accept-frames",
        help="Keep frames that do not look like this fluid, with a warning that stays with them.",
    ),
]


def overriding(settings: list[str] | None, **values: object) -> list[str]:
    """Return the settings of `--set`, followed by the options that were given."""
    given = [f"{name}={value}" for name, value in values.items() if value is not None]
    return [*(settings or []), *given]


def console(*, quiet: bool = False) -> Console:
    """Return the console for messages of commands; it prints nothing with --quiet."""
    from openmm_nti.runtime.tasks import is_silent

    return Console(stderr=True, highlight=False, quiet=quiet or is_silent())


def results_console() -> Console:
    """Return the console for tables of results, on the standard output."""
    from openmm_nti.runtime.quiet import result_stream

    return Console(file=result_stream())


def echo(text: str) -> None:
    """Print a line of results on the standard output."""
    from openmm_nti.runtime.quiet import result_stream

    typer.echo(text, file=result_stream())


def print_json(data: dict[str, Any]) -> None:
    """Print the result of a command as JSON on the standard output."""
    echo(json.dumps(data, indent=2))
