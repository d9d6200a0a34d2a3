"""The commands for a whole run, and for its stages one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openmm_nti.cli.commands.opened import opened_run, show_results
from openmm_nti.cli.commands.options import (
    AcceptFrames,
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


def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("nti.yaml"),
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file if it exists.")
    ] = False,
) -> None:
    """Write a complete configuration in which every key is explained.

    Only `system` needs your values. An example:

        openmm-nti init fluid.yaml
    """
    from openmm_nti.cli.config_errors import ConfigError
    from openmm_nti.cli.safety.preflight import check_writable
    from openmm_nti.cli.template import commented_yaml
    from openmm_nti.files import write_text

    if path.exists() and not force:
        raise ConfigError(f"{path} exists: name another file, or add --force to overwrite it")
    if path.is_dir():
        raise ConfigError(f"{path} is a directory: name a file")
    check_writable(path.parent, str(path))
    write_text(path, commented_yaml())
    echo(f"Wrote {path}. Next: openmm-nti run {path} --output {path.stem}")


def run(
    config: ConfigFile,
    output: Output,
    seed: Seed = None,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the directory of --output.")
    ] = False,
    accept_frames: AcceptFrames = False,
    executor: ExecutorOption = "processes",
    scheduler: Scheduler = None,
    quiet: Quiet = False,  # noqa: ARG001
    json: Json = False,
) -> None:
    """Run all stages: reference data, training, estimates, results.json and report.html.

    It first says how long it will take and how much it will write. A run that was stopped at any
    moment goes on with --resume, and gives the same numbers. Examples:

        openmm-nti run fluid.yaml --output fluid

        openmm-nti run fluid.yaml --output fluid --resume

        openmm-nti run fluid.yaml --output dense --set system.n_particles=160 --set workers=2
    """
    from openmm_nti.cli.run_config import load_config
    from openmm_nti.runtime.executors import executor as tasks_on

    changes = overriding(settings, seed=seed)
    with (
        tasks_on(executor, scheduler),
        opened_run(
            lambda: load_config(config, changes),
            output,
            accept_frames,
            resume=resume,
            estimates=True,
        ) as pipeline,
    ):
        pipeline.run()
    show_results(pipeline, json=json)


def generate(
    config: ConfigFile,
    output: Output,
    seed: Seed = None,
    settings: Settings = None,
    trajectory: Annotated[
        Path | None,
        typer.Option(
            help="Use your own trajectory of the fluid (.dcd, .xtc, .h5, ...) instead of MD."
        ),
    ] = None,
    topology: Annotated[
        Path | None, typer.Option(help="Topology of the trajectory, such as a .pdb.")
    ] = None,
    accept_frames: AcceptFrames = False,
    executor: ExecutorOption = "processes",
    scheduler: Scheduler = None,
    quiet: Quiet = False,  # noqa: ARG001
    json: Json = False,
) -> None:
    """Make only the reference data of a run, by MD or from your own trajectory.

    Continue with `train`, or with `run ... --resume`, on the same CONFIG and DIR. Examples:

        openmm-nti generate fluid.yaml --output fluid

        openmm-nti generate fluid.yaml --output mine --trajectory argon.dcd --topology argon.pdb
    """
    from openmm_nti.cli.config_errors import ConfigError
    from openmm_nti.cli.run_config import load_config
    from openmm_nti.runtime.executors import executor as tasks_on

    if topology is not None and trajectory is None:
        raise ConfigError(f"--topology {topology} is of no trajectory: give --trajectory too")
    changes = overriding(settings, seed=seed)
    with (
        tasks_on(executor, scheduler),
        opened_run(
            lambda: load_config(config, changes), output, accept_frames, resume=True
        ) as pipeline,
    ):
        if trajectory is not None:
            pipeline.import_trajectory(trajectory, topology)
        else:
            pipeline.forecast("reference data")
        ensembles = pipeline.reference()
    if json:
        files = {ensemble.state.label: ensemble.n_frames for ensemble in ensembles}
        print_json({"directory": str(pipeline.directory.reference), "decorrelated_frames": files})
        return
    for ensemble in ensembles:
        echo(f"{ensemble.state}: {ensemble.n_frames} decorrelated frames")


def train(
    config: ConfigFile,
    output: Output,
    seed: Seed = None,
    settings: Settings = None,
    accept_frames: AcceptFrames = False,
    quiet: Quiet = False,  # noqa: ARG001
    json: Json = False,
) -> None:
    """Train only the model of a run, after making its reference data if they are missing.

    The same command after an interruption goes on from the last checkpoint. Examples:

        openmm-nti train fluid.yaml --output fluid

        torchrun --nproc-per-node 2 -m openmm_nti.cli train fluid.yaml --output fluid
    """
    from openmm_nti.cli.run_config import load_config
    from openmm_nti.model_files import read_card

    changes = overriding(settings, seed=seed)
    with opened_run(
        lambda: load_config(config, changes), output, accept_frames, resume=True
    ) as pipeline:
        pipeline.forecast("reference data", "training")
        pipeline.train(pipeline.reference())
    if json:
        print_json(
            {
                "model": str(pipeline.directory.model),
                "card": read_card(str(pipeline.directory.model)),
            }
        )
    else:
        echo(f"Model: {pipeline.directory.model}")


def report(
    directory: Annotated[
        Path, typer.Argument(help="Directory of a run.", exists=True, metavar="DIR")
    ],
    json: Json = False,
) -> None:
    """Write results.json and report.html again from the estimates in DIR, and show the table.

    It works on an unfinished run, too. Where DIR is read-only, the table is all. An example:

        openmm-nti report fluid
    """
    from openmm_nti.cli.pipeline import Pipeline
    from openmm_nti.cli.results import print_table, results_of
    from openmm_nti.cli.run_directory import RunDirectory
    from openmm_nti.cli.safety.preflight import why_not_writable

    run_directory = RunDirectory(directory)
    read_only = why_not_writable(directory)
    pipeline = Pipeline(
        run_directory.stored_config(), run_directory, console(), read_only=read_only
    )
    pipeline.report()
    if json:
        print_json(results_of(run_directory, pipeline.config))
    else:
        print_table(run_directory, pipeline.config, results_console())
