"""The directory of a run, opened for a command and closed after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from openmm_nti.cli.commands.options import console, echo, print_json, results_console


@contextmanager
def opened_run(
    load: Callable[[], Any],
    output: Path,
    accept_frames: bool,
    *,
    resume: bool,
    estimates: bool = False,
) -> Iterator[Any]:
    """Yield the stages of a run in a directory that no other process may use meanwhile.

    Parameters
    ----------
    load
        Returns the configuration.
    output
        Directory of the run.
    accept_frames
        Whether frames that do not look like the fluid are kept.
    resume
        Whether a run in the directory goes on.
    estimates
        Whether estimates will be made.
    """
    from openmm_nti.cli.forecast import is_finished
    from openmm_nti.cli.pipeline import Pipeline
    from openmm_nti.cli.run_directory import RunDirectory
    from openmm_nti.cli.safety.changes import Changes
    from openmm_nti.cli.safety.one_run import only_run
    from openmm_nti.cli.safety.opening import open_run, refuse_other_files
    from openmm_nti.cli.safety.preflight import check_run, check_writable, why_not_writable
    from openmm_nti.training.parallel import rank_and_size

    resolved = load()
    check_run(resolved, estimates=estimates)
    read_only = why_not_writable(output)
    there = RunDirectory(output)
    shown = read_only and estimates and resume and is_finished(resolved, there)
    if shown and not Changes(there, resolved).settings:
        yield Pipeline(resolved, there, console(), read_only=read_only)
        return
    check_writable(output)
    refuse_other_files(output)
    is_main_process = rank_and_size()[0] == 0  # only one of torchrun's processes prints messages
    messages = console(quiet=not is_main_process)
    with only_run(output) if is_main_process else nullcontext():
        directory = open_run(output, resolved, resume=resume, say=messages.print)
        yield Pipeline(resolved, directory, messages, accept_frames=accept_frames)


def show_results(pipeline: Any, *, json: bool) -> None:
    """Print the results of a finished run as `json`, or as a table that ends with what to quote."""
    from openmm_nti.cli.results import print_sweep, print_table
    from openmm_nti.files import read_json

    if json:
        print_json(read_json(pipeline.directory.results))
        return
    echo(f"Report: {pipeline.directory.report}   Numbers: {pipeline.directory.results}")
    print_table(pipeline.directory, pipeline.config, results_console())
    swept = pipeline.directory.sweep / "sweep.json"
    if pipeline.config.sweep is not None and swept.is_file():
        print_sweep(read_json(swept), results_console())
        echo(f"Numbers: {swept}   Figure: {swept.with_suffix('.svg')}")
