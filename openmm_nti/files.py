"""Files that are whole or absent, and the provenance that stands beside every result."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import platform
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

_SEAL = b"\nopenmm_nti sha256 "  # the hash of all before it follows, in 64 digits, and a line end
_SEAL_LENGTH = len(_SEAL) + 65
_CHECKSUM = "checksum"
FULL = (errno.ENOSPC, errno.EDQUOT)
_TRIAL_BYTES = 1 << 16
_PACKAGES = ("openmm-nti", "openmm", "torch", "numpy", "scipy", "mdtraj", "pymbar")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which gets its name when the block succeeds.

    When the block fails, the temporary file is removed. The new file may be read and written by
    whom the user's umask lets: some libraries write files that only their owner may read.

    Raises
    ------
    OSError
        Of a full disk and with the name of the file, whatever a library has made of it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: mdtraj and numpy choose the format, or append to the name, by it.
    temporary = path.with_name(f".{path.stem}.{_of_this_process()}{path.suffix}")
    try:
        yield temporary
        temporary.chmod(_mode_of_new_files(path.parent))
        temporary.replace(path)
    except Exception as error:
        said = [code for code in FULL if os.strerror(code) in str(error)]
        if code := said[0] if said else _why_full(path.parent):
            raise OSError(code, os.strerror(code), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _why_full(folder: Path) -> int | None:
    """Return the number of the error that a full disk gives for a small file; None if it fits.

    It is asked while the file that did not fit still takes up all the room.
    """
    trial = folder / f".trial-{threading.get_ident()}.{_of_this_process()}"
    try:
        with trial.open("wb") as file:
            file.write(bytes(_TRIAL_BYTES))
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno if error.errno in FULL else None
    finally:
        with contextlib.suppress(OSError):
            trial.unlink(missing_ok=True)
    return None


def _mode_of_new_files(folder: Path) -> int:
    """Return the permissions that the operating system gives a new file in `folder`.

    Python can only read the umask by changing it, which other threads would see.
    """
    trial = folder / f".mode-{threading.get_ident()}.{_of_this_process()}"
    descriptor = os.open(trial, os.O_CREAT | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        trial.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files below `folder` that dead processes of this machine have left."""
    if os.name != "posix":  # elsewhere, asking whether a process lives may end it
        return
    for path in folder.rglob(".*.partial*"):
        found = re.search(r"\.(\d+)@(.+)\.partial[^/]*$", path.name)
        if found and found[2] == _host() and not _lives(int(found[1])):
            path.unlink(missing_ok=True)


def _of_this_process() -> str:
    return f"{os.getpid()}@{_host()}.partial"


def _host() -> str:
    return platform.node()[:64] or "unknown"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # of another user
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, data: dict[str, Any]) -> None:
    """Write `data` with its checksum as indented JSON to `path` atomically.

    NaN is refused, for it is not JSON.
    """
    write_text(path, json.dumps(with_checksum(data), indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Return what the JSON file at `path` holds, without its checksum.

    Raises
    ------
    ValueError
        If the file is not whole, valid JSON, or has changed since it was written.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested without end
        raise ValueError(
            f"{path} is truncated or not JSON ({_first_line(error)}): delete it and run the stage "
            "again"
        ) from error
    return without_checksum(data, path)


def with_checksum(data: dict[str, Any]) -> dict[str, Any]:
    """Return `data` with one more key, for which `without_checksum` looks."""
    fields = {key: value for key, value in data.items() if key != _CHECKSUM}
    as_read = json.loads(json.dumps(fields, allow_nan=False))
    return {**fields, _CHECKSUM: fingerprint(as_read)}


def without_checksum(data: Any, path: str | Path) -> Any:
    """Return the JSON data of a file without the checksum, which older versions did not write.

    Raises
    ------
    ValueError
        If anything has changed since, be it the name of the key. The message names `path`.
    """
    if not isinstance(data, dict) or not data:
        return data
    name = _CHECKSUM if _CHECKSUM in data else next(reversed(data))
    fields = {key: value for key, value in data.items() if key != name}
    is_right = data[name] == fingerprint(fields)
    if is_right != (name == _CHECKSUM):
        raise ValueError(
            f"{path} is damaged or was edited: its content is not that of its checksum; copy it "
            "again, or delete it and run the stage again"
        )
    return fields if is_right else data


def seal(path: str | Path) -> None:
    """Append the hash of a file to it, so that `is_sealed` finds whether a bit of it has changed.

    HDF5 and zip know where their content ends, and do not look at what comes after it.
    """
    path = Path(path)
    digest = sha256_of(path)
    with path.open("ab") as file:
        file.write(_SEAL + digest.encode() + b"\n")


def is_sealed(path: str | Path) -> bool:
    """Return whether `seal` was applied to a file; older versions did not.

    Raises
    ------
    ValueError
        If the file has changed since. The message names it.
    """
    path = Path(path)
    length = path.stat().st_size - _SEAL_LENGTH
    if length < 0:
        return False
    with path.open("rb") as file:
        file.seek(length)
        tail = file.read()
    if not tail.startswith(_SEAL):
        return False
    if tail[len(_SEAL) : -1] != sha256_of(path, length).encode():
        raise ValueError(
            f"{path} is damaged: its content is not that of its checksum; copy it again, or delete "
            "it and run the stage again"
        )
    return True


def sha256_of(path: str | Path, length: int | None = None) -> str:
    """Return the SHA-256 of a file, or of its first `length` bytes, in hexadecimal digits."""
    digest, left = hashlib.sha256(), Path(path).stat().st_size if length is None else length
    with Path(path).open("rb") as file:
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def finite(data: Any) -> Any:
    """Return `data` with None for numbers that JSON lacks: NaN, and infinite standard errors."""
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def fingerprint(data: Any) -> str:
    """Return a short, stable hash of JSON-ready data; `runtime.stored.fingerprint` takes more."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide numbers; `not installed` where missing."""
    installed = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "not installed"
    return installed


def git_hash() -> str:
    """Return the commit of the source tree in use; `unknown` for an installed package.

    It ends in `-dirty` where files have changed since.
    """
    source = Path(__file__).resolve()
    git = ["git", "-C", str(source.parent)]
    command = [*git, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        # An installed copy may lie inside somebody else's repository.
        subprocess.run(
            [*git, "ls-files", "--error-unmatch", source.name],
            capture_output=True,
            timeout=10,
            check=True,
        )
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip() or "unknown"


def provenance(seed: int) -> dict[str, Any]:
    """Return what made a result: seed, versions, git hash, platform, command and date."""
    return {
        "seed": seed,
        "versions": versions(),
        "git_hash": git_hash(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
