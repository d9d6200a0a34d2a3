"""The typer application `openmm-nti`: its help text, and its commands in order."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from openmm_nti.cli.commands.analyze import analyze, sites
from openmm_nti.cli.commands.coexistence import coexistence
from openmm_nti.cli.commands.estimate import estimate, methods, paper
from openmm_nti.cli.commands.installation import compile_kernels, doctor
from openmm_nti.cli.commands.models import export, models, sample
from openmm_nti.cli.commands.phase_diagram import phase_diagram
from openmm_nti.cli.commands.run import generate, init, report, run, train
from openmm_nti.cli.commands.sweep import sweep
from openmm_nti.cli.exit_codes import ExitCode
from openmm_nti.cli.safety.friendly import FriendlyGroup, HelpIsAResult

_HELP = f"""
Excess free energies of fluids by Neural Thermodynamic Integration, with the learned Hamiltonian
running in OpenMM.

A first calculation:

    openmm-nti init fluid.yaml

    openmm-nti run fluid.yaml --output fluid

lambda = 1 is the Lennard-Jones fluid, lambda = 0 the ideal gas. `run` makes reference data, trains,
estimates and reports; `generate`, `train` and `report` are its stages. All energies are in kT.
Results go to the standard output, progress and messages to the standard error.

Exit status: {"; ".join(f"{code.value} {code.meaning}" for code in ExitCode)}.

TAB completes commands, options and names after `openmm-nti --install-completion` and a new shell.
"""

app = typer.Typer(
    cls=FriendlyGroup,
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
)


def _show_version(wanted: bool) -> None:
    """Print the versions to name in a report of a problem, and end the program."""
    if wanted:
        from openmm_nti.cli.doctor import version_line

        typer.echo(version_line())
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[  # noqa: ARG001
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the versions of openmm-nti, openmm, torch and the plugin.",
        ),
    ] = False,
    debug: Annotated[  # noqa: ARG001
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
) -> None:
    """Print warnings on one line each; `FriendlyGroup` reads `debug`."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"


for _command in (
    init,
    run,
    generate,
    train,
    report,
    analyze,
    sites,
    estimate,
    sweep,
    phase_diagram,
    coexistence,
    paper,
    methods,
    models,
    sample,
    export,
    doctor,
):
    app.command(cls=HelpIsAResult)(_command)
app.command("compile", cls=HelpIsAResult)(compile_kernels)
