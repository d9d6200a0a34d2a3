"""The typer application: what each command takes, and nothing else. Heavy packages are imported inside commands."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from openmm_nti.cli.exit_codes import ExitCode, FriendlyGroup

_HELP = f"""
Excess free energies of fluids by Neural Thermodynamic Integration, with the learned Hamiltonian running in OpenMM.

A first calculation:

    openmm-nti init fluid.yaml

    openmm-nti run fluid.yaml --output fluid

lambda = 1 is the Lennard-Jones fluid, lambda = 0 the ideal gas. `run` makes reference data, trains, estimates and
reports; `generate`, `train` and `report` are its stages. All energies are in kT. Results go to the standard output,
progress and messages to the standard error.

Exit status: {"; ".join(f"{code.value} {code.meaning}" for code in ExitCode)}.

TAB completes commands, options and names after `openmm-nti --install-completion` and a new shell.
"""
METHOD_NAMES = (
    "neural_ti_bound", "neural_ti", "path_bar", "path_bracket", "mbar_neural", "ti_neural_md", "widom", "mbar_softcore",
    "mu_decoupling", "bar_chain", "eos",
)  # fmt: skip

app = typer.Typer(
    cls=FriendlyGroup,
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
)


def _be_quiet(context: typer.Context, quiet: bool) -> bool:
    """No progress bars from here on to the end of the command."""
    from openmm_nti.tasks import silence

    if quiet:
        context.with_resource(silence())
    return quiet


def _model_names() -> list[str]:
    from openmm_nti.model_files import shipped_models

    return list(shipped_models())


ConfigFile = Annotated[Path, typer.Argument(help="YAML configuration.", exists=True, dir_okay=False, metavar="CONFIG")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Directory of the run; made if missing.")]
Seed = Annotated[int | None, typer.Option(help="Replaces `seed` of the configuration.", min=0)]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replaces one value, such as system.n_particles=60; repeatable."),
]
ExecutorOption = Annotated[
    str,
    typer.Option("--executor", help="Where simulations run: local, processes (as many as `workers`) or dask."),
]
Scheduler = Annotated[str | None, typer.Option(help="Address of the dask scheduler, such as tcp://node1:8786.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_be_quiet, help="Only the result: no progress, no forecast.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
_MODEL_HELP = "Name of a shipped model (see `models`), or directory of a model or of a run."
Model = Annotated[str, typer.Argument(help=_MODEL_HELP, metavar="MODEL", autocompletion=_model_names)]
Number = Annotated[
    int | None,
    typer.Option("--n-particles", "--n", "-n", min=2, help="Number of particles N; by default that of the training."),
]
BoxLength = Annotated[
    float | None,
    typer.Option(
        "--box-length-sigma", "-l", min=0.0, help="Edge of the box in sigma; by default that of the training."
    ),
]


@app.callback()
def main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
) -> None:
    """`debug` is read by `FriendlyGroup`; the help text is the application's."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("nti.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Write a complete configuration in which every key is explained.

    Only `system` needs your values. An example:

        openmm-nti init fluid.yaml
    """
    from openmm_nti.cli.template import commented_yaml
    from openmm_nti.files import write_text

    if path.exists() and not force:
        raise ValueError(f"{path} exists: name another file, or add --force to overwrite it")
    write_text(path, commented_yaml())
    typer.echo(f"Wrote {path}. Next: openmm-nti run {path} --output {path.stem}")


@app.command()
def run(
    config: ConfigFile,
    output: Output,
    seed: Seed = None,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that --output holds.")] = False,
    executor: ExecutorOption = "processes",
    scheduler: Scheduler = None,
    quiet: Quiet = False,  # noqa: ARG001
    json: Json = False,
) -> None:
    """Do everything: reference data, training, all estimates, results.json and report.html.

    Says first how long it will take and what it will write. A run that was stopped, at any moment, goes on with
    --resume and ends in the same numbers. Examples:

        openmm-nti run fluid.yaml --output fluid

        openmm-nti run fluid.yaml --output fluid --resume

        openmm-nti run fluid.yaml --output dense --set system.n_particles=160 --set workers=2
    """
    from openmm_nti.cli.results import print_table
    from openmm_nti.executors import executor as tasks_on
    from openmm_nti.files import read_json

    with tasks_on(executor, scheduler):
        pipeline = _pipeline(config, output, seed, settings, resume=resume)
        pipeline.run()
    if json:
        _print_json(read_json(pipeline.directory.results))
        return
    print_table(pipeline.directory, pipeline.config, Console())
    typer.echo(f"Report: {pipeline.directory.report}   Numbers: {pipeline.directory.results}")


@app.command()
def generate(
    config: ConfigFile,
    output: Output,
    seed: Seed = None,
    settings: Settings = None,
    trajectory: Annotated[
        Path | None, typer.Option(help="Use your own trajectory of the fluid (.dcd, .xtc, .h5, ...) instead of MD.")
    ] = None,
    topology: Annotated[Path | None, typer.Option(help="Topology of the trajectory, such as a .pdb.")] = None,
    executor: ExecutorOption = "processes",
    scheduler: Scheduler = None,
    quiet: Quiet = False,  # noqa: ARG001
    json: Json = False,
) -> None:
    """Make the reference data of a run only, by MD or from your own trajectory.

    Go on with `train`, or with `run ... --resume`, on the same CONFIG and DIR. Examples:

        openmm-nti generate fluid.yaml --output fluid

        openmm-nti generate fluid.yaml --output mine --trajectory argon.dcd --topology argon.pdb
    """
    from openmm_nti.executors import executor as tasks_on

    with tasks_on(executor, scheduler):
        pipeline = _pipeline(config, output, seed, settings, resume=True)
        if trajectory is not None:
            pipeline.import_trajectory(trajectory, topology)
        else:
            pipeline.foresee("reference data")
        ensembles = pipeline.reference()
    if json:
        files = {ensemble.state.label: ensemble.n_frames for ensemble in ensembles}
        _print_json({"directory": str(pipeline.directory.reference), "decorrelated_frames": files})
        return
    for ensemble in ensembles:
        typer.echo(f"{ensemble.state}: {ensemble.n_frames} decorrelated frames")


@app.command()
def train(
    config: ConfigFile,
    output: Output,
    seed: Seed = None,
    settings: Settings = None,
    quiet: Quiet = False,  # noqa: ARG001
    json: Json = False,
) -> None:
    """Train the Hamiltonian of a run only (and make its reference data first, where they are missing).

    Given again, it goes on from the last checkpoint. Examples:

        openmm-nti train fluid.yaml --output fluid

        torchrun --nproc-per-node 2 -m openmm_nti.cli train fluid.yaml --output fluid
    """
    from openmm_nti.model_files import read_card

    pipeline = _pipeline(config, output, seed, settings, resume=True)
    pipeline.foresee("reference data", "training")
    pipeline.train(pipeline.reference())
    if json:
        _print_json({"model": str(pipeline.directory.model), "card": read_card(str(pipeline.directory.model))})
    else:
        typer.echo(f"Model: {pipeline.directory.model}")


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="Directory of a run.", exists=True, metavar="DIR")],
    json: Json = False,
) -> None:
    """Write results.json and report.html again from the estimates in DIR, and show the table.

    It works on an unfinished run too. An example:

        openmm-nti report fluid
    """
    from openmm_nti.cli.pipeline import Pipeline
    from openmm_nti.cli.results import print_table
    from openmm_nti.cli.run_directory import RunDirectory
    from openmm_nti.files import read_json

    run_directory = RunDirectory(directory)
    pipeline = Pipeline(run_directory.stored_config(), run_directory, _console())
    pipeline.report()
    if json:
        _print_json(read_json(run_directory.results))
    else:
        print_table(run_directory, pipeline.config, Console())


@app.command()
def estimate(
    method: Annotated[
        str,
        typer.Option(
            "--method", "-m", autocompletion=lambda: list(METHOD_NAMES), help=f"One of {', '.join(METHOD_NAMES)}."
        ),
    ],
    model: Annotated[str | None, typer.Option(help=_MODEL_HELP, autocompletion=_model_names)] = None,
    n_particles: Number = None,
    box_length_sigma: BoxLength = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Ensemble file (.h5), such as DIR/reference/*.h5; made by MD if not given.", exists=True),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Keep reference data and simulations here, and go on from them the next time."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Effort, such as n_levels=64; keys as in estimates.* of `init`."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides every random number.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes for independent simulations.")] = 1,
    executor: ExecutorOption = "processes",
    scheduler: Scheduler = None,
    quiet: Quiet = False,  # noqa: ARG001
    json: Annotated[bool, typer.Option("--json", help="Print the estimate with its diagnostics as JSON.")] = False,
) -> None:
    """Make one estimate with a trained model, outside of a run.

    The state point is that of --data, or else the model's with N particles; reference data are simulated where the
    method needs them. widom, mbar_softcore, mu_decoupling and bar_chain need no model when there are --data. Examples:

        openmm-nti estimate --model lj-fluid-t1.25 --n 100 --method neural_ti_bound

        openmm-nti estimate --model fluid --data fluid/reference/N40_L6_T1.25_switched.h5 --method path_bar --json

        openmm-nti estimate --model lj-fluid-t1.25 --n 200 --method mu_decoupling --output decoupling
    """
    from openmm_nti.cli.single_estimate import Request, single_estimate
    from openmm_nti.executors import executor as tasks_on
    from openmm_nti.files import finite

    request = Request(method, model, n_particles, box_length_sigma, data, settings or [], seed, workers)
    with tasks_on(executor, scheduler):
        result = single_estimate(request, output, _console().print)
    if json:
        _print_json(finite(result.to_dict()))
    else:
        typer.echo(str(result))


@app.command()
def paper(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the reproduction; made if missing.")],
    quick: Annotated[bool, typer.Option("--quick", help="Fewer N and less effort: minutes instead of hours.")] = False,
    only: Annotated[
        str | None, typer.Option(help="Comma-separated: fig3, fig4, fig5, fig6, toy, gcmc. By default all.")
    ] = None,
    model: Annotated[str, typer.Option(help=_MODEL_HELP, autocompletion=_model_names)] = "lj-fluid-t1.25",
    seed: Annotated[int, typer.Option(min=0, help="Decides every random number.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes for independent pieces.")] = 2,
    quiet: Quiet = False,  # noqa: ARG001
    json: Json = False,
) -> None:
    """Compute the figures of the paper from a trained model, with errors and every baseline beside them.

    Writes table.csv, table.json, figures with their numbers, and paper.md. Says first how long it will take; run again
    after an interruption, it goes on. Examples:

        openmm-nti paper --output paper --quick

        openmm-nti paper --output paper --quick --only toy
    """
    from openmm_nti.files import read_json
    from openmm_nti.validation.paper import presets
    from openmm_nti.validation.paper.jobs import Work
    from openmm_nti.validation.paper.run import run as reproduce

    work = Work(presets.QUICK if quick else presets.FULL, model, seed, output)
    names = [name.strip() for name in only.split(",")] if only else []
    page = reproduce(work, names, workers=workers, say=_console().print)
    if json:
        _print_json(read_json(output / "table.json"))
    else:
        typer.echo(f"Summary: {page}   Numbers: {output / 'table.csv'}")


@app.command()
def models(
    json: Annotated[bool, typer.Option("--json", help="Print the cards as JSON.")] = False,
) -> None:
    """List the trained models that come with the package, with what they are for.

    An example:

        openmm-nti models --json
    """
    from openmm_nti.cli.model_commands import print_models
    from openmm_nti.model_files import read_card, shipped_models

    if json:
        _print_json({name: read_card(path) for name, path in shipped_models().items()})
    else:
        print_models(Console())


@app.command()
def sample(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Ensemble file to write (.h5, read by mdtraj).")],
    n_particles: Number = None,
    box_length_sigma: BoxLength = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Effort; keys as in estimates.neural_ti of `init`."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides every random number.")] = 1,
    quiet: Quiet = False,  # noqa: ARG001
    json: Json = False,
) -> None:
    """Draw configurations of the fluid from the model alone, by reverse diffusion from the ideal gas.

    An example:

        openmm-nti sample lj-fluid-t1.25 --n 100 --output samples.h5 --set n_samples=64
    """
    from openmm_nti.cli.model_commands import state_of_model, write_samples
    from openmm_nti.cli.run_config import section_config

    state = state_of_model(model, n_particles, box_length_sigma)
    n_frames = write_samples(model, state, output, section_config("neural_ti", settings or []), seed=seed)
    if json:
        _print_json({"file": str(output), "configurations": n_frames, "state": state.model_dump(mode="json")})
    else:
        typer.echo(f"Wrote {n_frames} configurations of {state} to {output}")


@app.command()
def export(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the two files.")],
    n_particles: Number = None,
    box_length_sigma: BoxLength = None,
    json: Json = False,
) -> None:
    """Write the model for OpenMM: hamiltonian.pt (TorchScript, for TorchForce) and system.xml (a whole System).

    Either file is enough: the System contains the model. Its global parameter is lambda_nti. An example:

        openmm-nti export lj-fluid-t1.25 --n 100 --output exported
    """
    from openmm_nti.cli.model_commands import export_model, state_of_model

    paths = export_model(model, state_of_model(model, n_particles, box_length_sigma), output)
    if json:
        _print_json({"files": [str(path) for path in paths]})
        return
    for path in paths:
        typer.echo(f"Wrote {path}")


@app.command(name="compile")
def compile_kernels() -> None:
    """Build the compiled operations for this processor, once: half a minute, and a CPU is several times faster.

    Needs a C++ compiler: c++, or the one that CXX names. They go to the directory of OPENMM_NTI_KERNELS, or to
    openmm_nti in the user's cache, and are found there from then on; OPENMM_NTI_KERNELS=off leaves them out.
    An example:

        openmm-nti compile
    """
    from openmm_nti.kernels import build

    typer.echo(build())


@app.command()
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the installation: versions, plugins, and the energy and dU/dlambda of a TorchForce on three particles.

    Ends with status 3 where something is broken. An example:

        openmm-nti doctor --json
    """
    from openmm_nti.cli.doctor import examine, print_findings

    findings = examine()
    if json:
        _print_json(findings.to_dict())
    else:
        print_findings(findings, Console())
    if not findings.healthy:
        raise typer.Exit(ExitCode.BROKEN_INSTALLATION)


def _pipeline(config: Path, output: Path, seed: int | None, settings: list[str] | None, *, resume: bool) -> Any:
    from openmm_nti.cli.pipeline import Pipeline
    from openmm_nti.cli.run_config import load_config
    from openmm_nti.cli.run_directory import open_run
    from openmm_nti.training.parallel import rank_and_size

    resolved = load_config(config, settings or [], seed)
    leads = rank_and_size()[0] == 0  # of the processes that torchrun starts, one speaks
    return Pipeline(resolved, open_run(output, resolved, resume=resume), _console(quiet=not leads))


def _console(*, quiet: bool = False) -> Console:
    """Where commands say what they are doing; nowhere with --quiet."""
    from openmm_nti.tasks import is_silent

    return Console(stderr=True, highlight=False, quiet=quiet or is_silent())


def _print_json(data: dict[str, Any]) -> None:
    import json as json_module

    typer.echo(json_module.dumps(data, indent=2))
