"""The exit status of `openmm-nti`."""

from __future__ import annotations

from enum import IntEnum


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
