"""What the exit status of `openmm-nti` means, and how errors become one message."""

from __future__ import annotations

import signal
from enum import IntEnum
from types import FrameType
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup


class ExitCode(IntEnum):
    """Documented in `openmm-nti --help`."""

    FAILED = 1
    BAD_INPUT = 2
    BROKEN_INSTALLATION = 3
    INTERRUPTED = 130


class FriendlyGroup(TyperGroup):
    """A group of commands whose expected errors are a message instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command; see `ExitCode` for how each kind of error ends."""
        previous = signal.signal(signal.SIGTERM, _interrupt)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say("Interrupted. What is finished is on disk: run the same command again, `run` with --resume, to go on.")
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


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End a job that its scheduler stops as Ctrl-C would: worker processes are ended, whole files are kept."""
    raise KeyboardInterrupt


def _say(message: str) -> None:
    Console(stderr=True, highlight=False).print(message, style="bold red", markup=False, soft_wrap=True)
