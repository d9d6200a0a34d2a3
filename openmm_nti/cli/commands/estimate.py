"""The commands for estimates from a trained model: `estimate`, `methods` and `paper`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openmm_nti.cli.commands.options import (
    LARGEST_SEED,
    MODEL_HELP,
    AcceptFrames,
    BoxLength,
    Device,
    ExecutorOption,
    Json,
    Number,
    Quiet,
    Scheduler,
    console,
    echo,
    method_names,
    model_names,
    print_json,
    results_console,
)


def estimate(
    method: Annotated[
        str,
        typer.Option(
            "--method",
            "-m",
            autocompletion=method_names,
            help="Name of the method; `openmm-nti methods` lists them.",
        ),
    ],
    model: Annotated[str | None, typer.Option(help=MODEL_HELP, autocompletion=model_names)] = None,
    n_particles: Number = None,
    box_length_sigma: BoxLength = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML configuration whose `system` is the state point; --n takes one of several.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Ensemble file (.h5), such as DIR/reference/*.h5; made by MD if not given.",
            exists=True,
        ),
    ] = None,
    accept_frames: AcceptFrames = False,
    species: Annotated[
        str | None,
        typer.Option(help="Species of a mixture whose chemical potential is asked for."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Directory for reference data and simulations, which the next call goes on from.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Setting of the method, such as n_levels=64; keys as in estimates.* of `init`.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Random seed.")] = 1,
    workers: Annotated[
        int, typer.Option(min=1, max=10_000, help="Processes for independent simulations.")
    ] = 1,
    device: Device = "auto",
    executor: ExecutorOption = "processes",
    scheduler: Scheduler = None,
    quiet: Quiet = False,  # noqa: ARG001
    json: Annotated[
        bool, typer.Option("--json", help="Print the estimate with its diagnostics as JSON.")
    ] = False,
) -> None:
    """Make one estimate with a trained model, outside of a run.

    The state point is that of --config or --data, or else that of the model with N particles.
    Reference data are simulated if the method needs them. `openmm-nti methods` lists the methods
    and what each needs. Classical methods need no model. Examples:

        openmm-nti estimate --model lj-fluid-t1.25 --n 100 --method neural_ti_bound

        openmm-nti estimate --config fluid.yaml --method mbar_softcore --json

        openmm-nti estimate --model fluid --data fluid/reference/N40_L6_T1.25_switched.h5 --method
        path_bar --json

        openmm-nti estimate --model lj-fluid-t1.25 --n 200 --method mu_decoupling --output
        decoupling
    """
    from openmm_nti.cli.single_estimate import Request, single_estimate
    from openmm_nti.files import finite, provenance
    from openmm_nti.runtime.context import Execution
    from openmm_nti.runtime.executors import executor as tasks_on

    execution = Execution(seed, workers, output, progress=True, device=device)
    request = Request(
        method,
        model,
        n_particles,
        box_length_sigma,
        data,
        settings or [],
        config,
        accept_frames,
        species,
        execution,
    )
    with tasks_on(executor, scheduler):
        result = single_estimate(request, console().print)
    if result.platform:
        console().print(f"MD on {result.platform}", soft_wrap=True)
    if json:
        made_by = {**provenance(seed), "platform": result.platform}
        print_json(finite({**result.to_dict(), "provenance": made_by}))
    else:
        echo(str(result))


def methods(
    json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the methods: what each estimates, what it needs, and whether a run uses it.

    An exact method is right for any network, given enough samples. A model method is as good as the
    network. A bound is rigorous. An insertion is an approximation without a network. Examples:

        openmm-nti methods

        openmm-nti methods --json
    """
    from openmm_nti.cli.methods import list_methods, print_methods

    if json:
        print_json(list_methods())
    else:
        print_methods(results_console())


def paper(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Directory of the results; made if missing.")
    ],
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer N and fewer samples: minutes instead of hours.")
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(help="Comma-separated: fig3, fig4, fig5, fig6, toy, gcmc. By default all."),
    ] = None,
    model: Annotated[
        str, typer.Option(help=MODEL_HELP, autocompletion=model_names)
    ] = "lj-fluid-t1.25",
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Random seed.")] = 1,
    workers: Annotated[
        int, typer.Option(min=1, max=10_000, help="Processes for independent simulations.")
    ] = 2,
    device: Device = "auto",
    quiet: Quiet = False,  # noqa: ARG001
    json: Json = False,
) -> None:
    """Compute the figures of the paper from a trained model, with errors and all baselines.

    Writes table.csv, table.json, figures with their numbers, and paper.md. It first says how long
    it will take. After an interruption, the same command goes on. Examples:

        openmm-nti paper --output paper --quick

        openmm-nti paper --output paper --quick --only toy
    """
    from openmm_nti.cli.safety.preflight import check_writable, with_key
    from openmm_nti.files import read_json
    from openmm_nti.runtime.context import Execution
    from openmm_nti.runtime.devices import torch_device
    from openmm_nti.validation.paper import presets
    from openmm_nti.validation.paper.run import run as reproduce
    from openmm_nti.validation.paper.work import Work

    check_writable(output)
    with_key("--device", torch_device, device)
    execution = Execution(seed, workers, output, progress=True, device=device)
    work = Work(presets.QUICK if quick else presets.FULL, model, execution)
    names = [name.strip() for name in only.split(",")] if only else []
    page = reproduce(work, names, console().print)
    if json:
        print_json(read_json(output / "table.json"))
    else:
        echo(f"Summary: {page}   Numbers: {output / 'table.csv'}")
