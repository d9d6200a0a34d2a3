"""What is said about an error: one line with its cause, and the exit status of its kind."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator

from openmm_nti.cli.exit_codes import ExitCode
from openmm_nti.files import FULL

_OURS = "openmm_nti"
_BAD_PATHS = (
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)


def explained(error: Exception) -> tuple[ExitCode, str]:
    """Return the exit status for `error` and the line that says what happened and what to do."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in FULL:
            return ExitCode.FAILED, _full_disk(cause)
    if isinstance(error, MemoryError):
        return ExitCode.FAILED, (
            "there is not enough memory: lower `workers`, n_particles or the number of frames"
        )
    if isinstance(error, OSError) and error.errno is not None:
        bad = error.errno in _BAD_PATHS
        return (ExitCode.BAD_INPUT if bad else ExitCode.FAILED), _of_a_file(error)
    text = str(error) or type(error).__name__
    if "Particle coordinate is NaN" in text or "Particle coordinate is nan" in text:
        return ExitCode.FAILED, (
            "a simulation ran into NaN: lower the timestep_star of its section, or train longer"
        )
    if isinstance(error, ValueError | RuntimeError | OSError) and _is_ours(error):
        bad = isinstance(error, ValueError | FileNotFoundError)
        return (ExitCode.BAD_INPUT, text) if bad else (ExitCode.FAILED, _one_line(text))
    return ExitCode.FAILED, (
        f"unexpected error, {type(error).__name__}: {_one_line(text)}. `openmm-nti --debug ...` "
        "shows where; please report it, with the line of `openmm-nti --version`"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and the errors that led to it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _is_ours(error: Exception) -> bool:
    """Return whether this package raised `error`, and so worded it for its users."""
    if type(error).__module__.partition(".")[0] == _OURS:
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    name = str(frames[-1].f_globals.get("__name__", "")) if frames else ""
    return name.partition(".")[0] == _OURS


def _full_disk(error: OSError) -> str:
    place = f" at {error.filename}" if error.filename else ""
    return (
        f"no space left on the disk{place}: free some, then run the same command again; a `run` "
        "goes on with --resume"
    )


def _of_a_file(error: OSError) -> str:
    names = " -> ".join(str(name) for name in (error.filename, error.filename2) if name)
    reason = error.strerror or type(error).__name__
    advice = "name another file or directory, or change its permissions"
    return f"{names or 'a file'} cannot be used: {reason}: {advice}"


def _one_line(text: str) -> str:
    """Return the line of `text` that says what happened: the last one under a TorchScript stack."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return text
    return lines[-1] if any("TorchScript" in line for line in lines) else lines[0]
