"""The lock on the directory of a run: two processes that write there would mix their files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.files import remove_leftovers

LOCK_FILE = ".lock"


@contextmanager
def only_run(place: Path) -> Iterator[None]:
    """Keep the directory `place` for this process inside the block.

    What dead processes have left there is removed. The operating system frees the lock when
    the process ends, however it ends.

    Raises
    ------
    ConfigError
        If another process has the directory.
    """
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(
            f"{place} is in use by another process of openmm-nti: wait for its end, or name "
            "another --output"
        ) from None
    except (OSError, NotImplementedError) as error:
        warnings.warn(
            f"{place} cannot be locked ({error}): let no other run write there", stacklevel=2
        )
    try:
        remove_leftovers(place)
        yield
    finally:
        lock.release()
