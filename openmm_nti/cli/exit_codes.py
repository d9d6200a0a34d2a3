"""The exit status of `openmm-nti`, and the conversion of errors to messages."""

from __future__ import annotations

import shlex
import signal
from enum import IntEnum
from types import FrameType
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup


class ExitCode(IntEnum):
    """The exit status of a command, for scripts; `meaning` is its text."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    BROKEN_INSTALLATION = 3
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """The meaning of the status in a few words."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "a calculation failed",
    ExitCode.BAD_INPUT: "bad input; the message says what to change",
    ExitCode.BROKEN_INSTALLATION: "the installation is broken; see `openmm-nti doctor`",
    ExitCode.INTERRUPTED: "interrupted; the message says how to go on",
}
_KEEPS_ITS_WORK = ("run", "generate", "train", "paper", "estimate")


class FriendlyGroup(TyperGroup):
    """A group of commands whose expected errors give a message instead of a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the command line, to say how to go on with it."""
        ctx.meta["command_line"] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command; `ExitCode` lists the exit status of each kind of error."""
        previous = signal.signal(signal.SIGTERM, _interrupt)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say(how_to_go_on(ctx.meta["command_line"]))
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except (ValueError, FileNotFoundError) as error:
            self._end(ctx, error, ExitCode.BAD_INPUT)
        except (RuntimeError, OSError) as error:
            self._end(ctx, error, ExitCode.FAILED)
        finally:
            signal.signal(signal.SIGTERM, previous)

    @staticmethod
    def _end(ctx: Any, error: Exception, code: ExitCode) -> None:
        # typer's own exceptions are RuntimeErrors with a meaning of their own.
        if isinstance(error, typer.Exit | typer.Abort) or ctx.params.get("debug"):
            raise error
        _say(str(error) or type(error).__name__)
        raise typer.Exit(code) from None


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


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Treat a stop by the scheduler like Ctrl-C: workers end, and complete files are kept."""
    raise KeyboardInterrupt


def _say(message: str) -> None:
    Console(stderr=True, highlight=False).print(
        message, style="bold red", markup=False, soft_wrap=True
    )
