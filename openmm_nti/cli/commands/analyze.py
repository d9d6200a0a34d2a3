"""The commands for a trajectory of your own: `analyze` and `sites`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from openmm_nti.cli.commands.opened import opened_run, show_results
from openmm_nti.cli.commands.options import (
    MODEL_HELP,
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
    model_names,
    overriding,
    print_json,
)


def analyze(
    config: ConfigFile,
    trajectory: Annotated[
        Path,
        typer.Option(help="Trajectory of the fluid at constant N, V and T (.dcd, .xtc, .h5, ...)."),
    ],
    output: Output,
    topology: Annotated[
        Path | None, typer.Option(help="Topology of the trajectory, such as a .pdb.")
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.01, max=100_000, help="Time for all of it, at most.")
    ] = 10.0,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP, autocompletion=model_names)] = None,
    seed: Seed = None,
    settings: Settings = None,
    accept_frames: AcceptFrames = False,
    crystal: Annotated[
        bool,
        typer.Option(
            "--crystal",
            help="The trajectory is of a crystal, whose sites are the mean places of its atoms.",
        ),
    ] = False,
    executor: ExecutorOption = "processes",
    scheduler: Scheduler = None,
    quiet: Quiet = False,  # noqa: ARG001
    json: Json = False,
) -> None:
    """Estimate the free energy of the fluid, or the crystal, in a trajectory of your own.

    CONFIG needs the key `system` alone: the potential, the box and the temperature. The frames are
    checked against it and thinned. A few paths tell whether a shipped model serves them; if not, it
    is trained further in half of the minutes. Fewer paths and chains are taken where there is no
    time for more. The same command after an interruption goes on. A crystal has `crystal` in the
    key `system`, or `--crystal`. Examples:

        openmm-nti analyze fluid.yaml --trajectory run.dcd --topology run.pdb --output analysis

        openmm-nti analyze own.yaml --trajectory run.xtc --topology run.pdb -o own --minutes 5

        openmm-nti analyze solid.yaml --trajectory run.dcd --topology run.pdb -o solid --crystal
    """
    from openmm_nti.cli.commands.analysis import Analysis, check_against_system
    from openmm_nti.reference_md.average_sites import average_sites
    from openmm_nti.runtime.executors import executor as tasks_on

    ends = time.monotonic() + 60.0 * minutes
    given = overriding(settings, seed=seed)
    if crystal:
        found = average_sites(trajectory, topology)
        console().print(str(found), soft_wrap=True)
        given.append(f"system.crystal={found.as_setting()}")
    analysis = Analysis(config, given, output, minutes, model)
    with (
        tasks_on(executor, scheduler),
        opened_run(analysis.config, output, accept_frames, resume=True, estimates=True) as pipeline,
    ):
        pipeline.import_trajectory(trajectory, topology)
        imported = pipeline.directory.ensemble(pipeline.config.system[0])
        if said := check_against_system(config, imported):
            console().print(said, soft_wrap=True)
        analysis.decide(pipeline, ends - time.monotonic())
        pipeline.run()
    show_results(pipeline, json=json)


def sites(
    trajectory: Annotated[
        Path, typer.Option(help="Trajectory of the crystal at constant N, V and T.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="PDB that the sites go to.")],
    topology: Annotated[
        Path | None, typer.Option(help="Topology of the trajectory, such as a .pdb.")
    ] = None,
    quiet: Quiet = False,  # noqa: ARG001
    json: Json = False,
) -> None:
    """Write the mean places of a crystal's atoms to a PDB, for `crystal: {sites: FILE}`.

    The drift of the crystal is taken out. Sites that repeat each other within their errors are
    averaged, and the number of shifts that do so is told. A crystal that has melted, or has
    vacancies, is refused. Examples:

        openmm-nti sites --trajectory run.dcd --topology run.pdb --output sites.pdb
    """
    from openmm_nti.cli.config_errors import ConfigError
    from openmm_nti.cli.safety.preflight import check_writable
    from openmm_nti.reference_md.average_sites import average_sites

    check_writable(output.parent, f"--output {output}")
    if output.suffix.lower() != ".pdb":
        raise ConfigError(f"--output {output}: sites are written to a .pdb")
    if output.exists():
        raise ConfigError(f"--output {output} exists already: delete it or name another file")
    found = average_sites(trajectory, topology)
    found.save(output, trajectory)
    if json:
        print_json(
            {
                "sites": str(output),
                "n_sites": len(found.cell.sites),
                "n_translations": found.cell.n_primitive,
                "box_nm": list(found.cell.edges),
                "n_frames": found.n_frames,
                "error_nm": found.error_nm,
                "vibration_nm": found.vibration_nm,
            }
        )
    else:
        echo(str(found))
