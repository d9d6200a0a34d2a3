"""Arrays on disk that are taken up again only if everything that decided them is the same.

The name of a file ends in a fingerprint of all inputs. Another model, other data, another setting
or another seed have another name, so an old file can never stand in for a new result.
"""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel

from openmm_nti import files
from openmm_nti.files import atomic_path, is_sealed, seal

Arrays = Mapping[str, Any]


def mark(name: str, seed: int, inputs: Any) -> str:
    """Return what the name of a stored file ends in: the fingerprint of all that decided it.

    The version of the package is in it, so an upgrade computes anew. Whoever changes what equal
    inputs give raises the version.
    """
    from openmm_nti import __version__  # the package imports this module before it has a version

    return fingerprint([__version__, name, seed, inputs])


@runtime_checkable
class Fingerprinted(Protocol):
    """Anything that can say in a short string which one it is: models and ensembles can."""

    def fingerprint(self) -> str:
        """Return the same string for equal contents, and another one for others."""
        ...


def fingerprint(inputs: Any) -> str:
    """Return a short, stable hash of `inputs`: equal inputs, equal string.

    Parameters
    ----------
    inputs
        Numbers, strings, None, lists, tuples and mappings of these; numpy arrays; pydantic models;
        dataclasses; and objects with a method `fingerprint`.

    Raises
    ------
    TypeError
        For anything else: what cannot be told apart must not decide whether a file is used again.
    """
    return files.fingerprint(_plain(inputs))


def _plain(data: Any) -> Any:
    """Return `data` as what JSON knows."""
    if data is None or isinstance(data, str | bool | int | float):
        plain: Any = data
    elif isinstance(data, Fingerprinted) and not isinstance(data, type):
        plain = data.fingerprint()
    elif isinstance(data, BaseModel):
        plain = [type(data).__name__, _plain(data.model_dump(mode="json"))]
    elif isinstance(data, np.ndarray | np.generic):
        digest = hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()
        plain = ["array", str(data.dtype), list(data.shape), digest]
    elif isinstance(data, Mapping):
        plain = {str(key): _plain(value) for key, value in data.items()}
    elif isinstance(data, Sequence):
        plain = [_plain(item) for item in data]
    elif isinstance(data, set | frozenset):
        plain = [_plain(item) for item in sorted(data)]
    elif dataclasses.is_dataclass(data) and not isinstance(data, type):
        names = [field.name for field in dataclasses.fields(data)]
        plain = [type(data).__name__, {name: _plain(getattr(data, name)) for name in names}]
    else:
        raise TypeError(f"{type(data).__name__} has no fingerprint: give it a method `fingerprint`")
    return plain


def write_arrays(path: str | Path, arrays: Arrays) -> None:
    """Write `arrays` to `path` (.npz) atomically; objects that would need pickling are refused."""
    with atomic_path(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)
        seal(temporary)


def read_arrays(
    path: str | Path, names: Sequence[str] | None = None, optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Return arrays from `path` (.npz): those called `names` and what there is of `optional`.

    Without `names`, all of them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file has changed, is damaged or lacks one of `names`; the message names the file.
    """
    is_sealed(path)
    with Path(path).open("rb") as raw:
        try:
            with np.load(raw, allow_pickle=False) as file:
                wanted = file.files if names is None else names
                present = [name for name in optional if name in file]
                return {name: file[name] for name in (*wanted, *present)}
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError, ValueError) as error:
            raise ValueError(
                f"{path} is truncated or not whole ({error}): delete it and run again"
            ) from error


@dataclass(frozen=True)
class StoredTask:
    """One independent piece of work, and the file that keeps its arrays.

    Attributes
    ----------
    function
        A module-level function (or a `functools.partial` of one) from `item` to named arrays.
    item
        Its argument; anything that pickles.
    label
        What messages call the task.
    path
        The file; None keeps nothing.
    """

    function: Callable[[Any], Arrays] = field(repr=False)
    item: Any = field(repr=False)
    label: str
    path: Path | None = field(repr=False)

    def __str__(self) -> str:
        return self.label


def run_stored(task: StoredTask) -> dict[str, np.ndarray]:
    """Return the arrays of `task`: from its file if that is there, otherwise computed and kept."""
    if task.path is None:
        return {name: np.asarray(value) for name, value in task.function(task.item).items()}
    if not task.path.is_file():
        write_arrays(task.path, task.function(task.item))
    return read_arrays(task.path)
