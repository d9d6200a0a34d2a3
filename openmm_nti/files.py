"""Files that are whole or absent, and the provenance written beside every result."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("openmm-nti", "openmm", "torch", "numpy", "scipy", "mdtraj", "pymbar")
_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block succeeds, remove it
    when it fails.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: mdtraj and numpy choose the format, or append to the name, by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)  # safetensors writes files that only their owner may read
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, data: Any) -> None:
    """Write `data` as indented JSON to `path` atomically; NaN is refused, for it is not JSON."""
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read JSON from `path`.

    Raises
    ------
    ValueError
        If the file is not whole, valid JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is truncated or not JSON ({error}): delete it and run the stage again"
        ) from error


def finite(data: Any) -> Any:
    """`data` with null for numbers that JSON does not have: an unknown standard error is
    infinite.
    """
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def fingerprint(data: Any) -> str:
    """A short, stable hash of JSON-ready data: equal inputs, equal name."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide numbers; `not installed` where one is
    missing.
    """
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_hash() -> str:
    """Commit of the source tree this package runs from (`-dirty` with local changes), or
    `unknown`.
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
    """What made a result: seed, versions, git hash, platform, command and date."""
    return {
        "seed": seed,
        "versions": versions(),
        "git_hash": git_hash(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
