"""The group of all commands: one line for every mistake and every failure, and its exit status."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from types import FrameType
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

from openmm_nti.cli.exit_codes import ExitCode
from openmm_nti.cli.safety.failures import explained
from openmm_nti.runtime.quiet import result_stream, results_alone

_KEEPS_ITS_WORK = ("run", "generate", "train", "analyze", "paper", "estimate")

# The base of all mistakes in options: click's, or that of the copy of click inside of newer typer.
UsageProblem: Any = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


class FriendlyGroup(TyperGroup):
    """A group of commands whose expected errors give a message instead of a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the command line, to say how to go on with it."""
        ctx.meta["command_line"] = list(args)
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program; a mistake in the options is one line, as all others are."""
        standalone = kwargs.pop("standalone_mode", True)
        kwargs["standalone_mode"] = False
        if not standalone:
            return super().main(*args, **kwargs)
        try:
            code = super().main(*args, **kwargs)
        except UsageProblem as error:
            say_usage(error)
            sys.exit(ExitCode.BAD_INPUT)
        except (KeyboardInterrupt, typer.Abort):
            say("Interrupted; nothing was kept.")
            sys.exit(ExitCode.INTERRUPTED)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command; `ExitCode` lists the exit status of each kind of error."""
        with interruptible() as interrupted, results_alone():
            try:
                return super().invoke(ctx)
            except (typer.Exit, typer.Abort, UsageProblem):
                raise
            except KeyboardInterrupt:
                code, message = ExitCode.INTERRUPTED, how_to_go_on(ctx.meta["command_line"])
            except Exception as error:
                if isinstance(error, BrokenPipeError):  # `openmm-nti methods | head`
                    raise typer.Exit(ExitCode.FAILED) from None
                if ctx.params.get("debug"):
                    raise
                code, message = explained(error)
                if interrupted():  # a library made another error of it
                    code, message = ExitCode.INTERRUPTED, how_to_go_on(ctx.meta["command_line"])
            say(message)
            raise typer.Exit(code) from None


class HelpIsAResult(TyperCommand):
    """A command whose help goes to the standard output, as all results do."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the options, of which one prints the help."""
        with redirect_stdout(result_stream()):
            return super().make_context(*args, **kwargs)


def how_to_go_on(arguments: list[str]) -> str:
    """Return the message after an interruption of the command with these arguments."""
    command = next((word for word in arguments if not word.startswith("-")), "")
    keeps = any(word.startswith(("--output", "-o")) for word in arguments)
    if command not in _KEEPS_ITS_WORK or not keeps:
        return "Interrupted; nothing was kept." + (
            " With --output DIR it can go on." if command == "estimate" else ""
        )
    more = ["--resume"] if command == "run" and "--resume" not in arguments else []
    return (
        "Interrupted. What is finished is on disk; to go on:\n  "
        f"{shlex.join(['openmm-nti', *arguments, *more])}"
    )


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and a stop by the scheduler end the block by a KeyboardInterrupt.

    Workers end, and complete files are kept. Yields a function that says whether it happened: an
    interrupt inside of an import may come out of it as another error.
    """
    stops: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stops.append(number)
        threading.excepthook = lambda _fault: None  # of threads whose worker processes are gone
        raise KeyboardInterrupt

    hook = threading.excepthook
    before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(stops)
    finally:
        threading.excepthook = hook
        for name, handler in before.items():
            signal.signal(name, handler)


def say(message: str) -> None:
    """Print a message on the standard error stream."""
    Console(stderr=True, highlight=False).print(
        message, style="bold red", markup=False, soft_wrap=True
    )


def say_usage(error: Any) -> None:
    """Print what is wrong with the options, with the command and its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message(), err=True)
        return
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "openmm-nti"
    problem = " ".join(error.format_message().split())
    say(f"{command}: {problem.rstrip('.')}. See `{command} --help`")
