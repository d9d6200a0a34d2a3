"""The networks' inner operations in C++ for CPUs; optional, built once by `openmm-nti compile`.

Without them, on a GPU and in float64, PyTorch operations compute the same
(`hamiltonian.networks.edges` and `descriptors`). On a CPU those are several times slower. The
library depends only on PyTorch. Its file name contains a hash of the source, the PyTorch version
and the processor, so another version of any of them has another file.

A library is code that runs in this process. So it is only loaded where no other user can have
written it, and where it is whole: a file beside it holds its hash. A cut library would end the
process by a bus error.
"""

import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from openmm_nti.files import atomic_path, write_text

_FOLDER = Path(__file__).parent
_SOURCE = _FOLDER / "library.cpp"
_FLAGS = (
    "-std=c++20",
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-shared",
    "-fPIC",
)
_THREADS = (
    ("-fopenmp",) if sys.platform == "linux" else ()
)  # PyTorch's own runtime; elsewhere one thread
_ABSENT = "not compiled"
_AGAIN = "run openmm-nti compile"


class CompiledModule(nn.Module):
    """A module with an operation that may be compiled.

    Attributes
    ----------
    compiled
        Whether the library is there. TorchScript leaves the compiled operations out where it is
        False.
    """

    __constants__ = ("compiled",)

    def __init__(self) -> None:
        super().__init__()
        self.compiled = loaded()
        if not self.compiled:
            _warn_of_a_refused_library()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled module, perhaps on a machine where nothing is compiled."""
        super().__setstate__(state)
        self.__dict__["compiled"] = self.compiled and loaded()


def use_compiled(module: nn.Module, wanted: bool) -> None:
    """Let `module` and all in it use the compiled operations, where they are there, or not."""
    for part in module.modules():
        if isinstance(part, CompiledModule):
            part.compiled = wanted and loaded()


def applies_to(values: Tensor) -> bool:
    """Return whether the compiled operations of networks take `values`."""
    return values.device.type == "cpu" and values.dtype == torch.float32


def applies_to_double(values: Tensor) -> bool:
    """Return whether the compiled operations of pairs, in double precision, take `values`."""
    return values.device.type == "cpu" and values.dtype == torch.float64


def library_path() -> Path:
    """Return the path of the library for this source, PyTorch and processor.

    The file need not exist. Its directory is OPENMM_NTI_KERNELS, or else openmm_nti in the user's
    cache.

    Raises
    ------
    RuntimeError
        If there is neither that variable nor a home directory.
    """
    sources = [path.read_text(encoding="utf-8") for path in sorted([*_FOLDER.glob("*.h"), _SOURCE])]
    built_from = " ".join((*sources, torch.__version__, *_FLAGS, *_THREADS, *_processor_flags()))
    name = f"kernels-{hashlib.sha256(built_from.encode()).hexdigest()[:16]}.so"
    chosen = os.environ.get("OPENMM_NTI_KERNELS", "")
    return (_cache_folder() if chosen in {"", "off"} else Path(chosen)) / name


def build() -> Path:
    """Compile the library if it does not exist, in half a minute, and return its path.

    Raises
    ------
    RuntimeError
        If there is no C++ compiler (the one that the environment variable CXX names, or c++), the
        compiler fails, or the directory of the library cannot be written or is open to other users.
    """
    path = library_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if reason := _open_to_others(path.parent):
            raise RuntimeError(reason)
        if _why_not_usable(path):
            _compile(path)
    except OSError as error:
        raise RuntimeError(
            f"the compiled operations cannot be written to {path.parent} ({error.strerror}): set "
            "OPENMM_NTI_KERNELS to a folder of your own"
        ) from None
    why_not_loaded.cache_clear()
    return path


def loaded() -> bool:
    """Load the compiled operations if they exist, and return whether they do.

    OPENMM_NTI_KERNELS=off leaves them out.
    """
    return not why_not_loaded()


@cache
def why_not_loaded() -> str:
    """Load the compiled operations, and return why that cannot be; empty where they are loaded."""
    if os.environ.get("OPENMM_NTI_KERNELS") == "off":
        return "left out by OPENMM_NTI_KERNELS=off"
    try:
        path = library_path()
    except RuntimeError as error:
        return str(error)
    if reason := _why_not_usable(path):
        return reason
    try:
        torch.ops.load_library(path)
    except OSError as error:
        return f"{path} is left out, for it cannot be loaded: {str(error).splitlines()[0]}"
    return ""


def _why_not_usable(path: Path) -> str:
    """Return why the library at `path` is not to be loaded; empty if it may be."""
    try:
        if not path.is_file():
            return _ABSENT
        if reason := _open_to_others(path.parent) or _open_to_others(path):
            return reason
        if (hash_file := _hash_file(path)).read_bytes() != _hash(path).encode():
            return f"{path} is left out, for it or {hash_file.name} is damaged: {_AGAIN}"
    except FileNotFoundError:
        return f"{path} is left out, for its hash is not beside it: {_AGAIN}"
    except OSError as error:
        # A home that this user may not enter is like one without a library.
        return f"{_ABSENT}; {path} cannot be read: {error}"
    return ""


def _cache_folder() -> Path:
    """Return openmm_nti in the user's cache."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if Path(named).is_absolute():  # a relative one is to be ignored, by the standard
        return Path(named) / "openmm_nti"
    try:
        return Path.home() / ".cache" / "openmm_nti"
    except RuntimeError:
        raise RuntimeError(
            f"{_ABSENT}, and this user has no home directory: set OPENMM_NTI_KERNELS to a folder"
        ) from None


def _open_to_others(path: Path) -> str:
    """Return why another user may have written to `path`; empty where none can."""
    if os.name != "posix":
        return ""
    found = path.stat()
    # Who owns the package or the machine can change what runs here in any case.
    if found.st_uid not in {0, os.geteuid(), _SOURCE.stat().st_uid}:
        return (
            f"{path} is left out, for it belongs to another user (uid {found.st_uid}): set "
            "OPENMM_NTI_KERNELS to a folder of your own, then run openmm-nti compile"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} is left out, for other users may write to it: run chmod go-w {path}"
    return ""


def _hash_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _compile(path: Path) -> None:
    """Write the library to `path`, and its hash beside it once it is whole."""
    compiler = _compiler()
    root = Path(torch.__file__).parent
    includes = (
        f"-I{root / 'include'}",
        f"-I{root / 'include' / 'torch' / 'csrc' / 'api' / 'include'}",
    )
    links = (f"-L{root / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10")
    options = [*_FLAGS, *_THREADS, *_processor_flags(), *includes, str(_SOURCE), *links]
    _hash_file(path).unlink(missing_ok=True)  # of an older library, while this one takes its place
    with atomic_path(path) as temporary:
        try:
            subprocess.run(
                [*compiler, *options, "-o", str(temporary)],
                check=True,
                capture_output=True,
                text=True,
                errors="replace",
            )
        except (FileNotFoundError, PermissionError):
            raise RuntimeError(
                f"there is no C++ compiler {shlex.join(compiler)!r}: install one (apt install g++, "
                "or conda install cxx-compiler) or name it in CXX; everything works without the "
                "compiled operations, but slower"
            ) from None
        except subprocess.CalledProcessError as error:
            raise RuntimeError(
                f"{shlex.join(compiler)} could not compile {_SOURCE}:\n{error.stderr[-2000:]}"
            ) from None
    path.chmod(0o755)  # a umask may let the group write to new files
    write_text(_hash_file(path), _hash(path))


def _compiler() -> list[str]:
    """Return the words of the command that CXX names, such as `ccache g++`; c++ without it."""
    named = os.environ.get("CXX", "").strip() or "c++"
    if shutil.which(named):  # a path with spaces in it is one word
        return [named]
    try:
        return shlex.split(named)
    except ValueError as error:
        raise RuntimeError(f"CXX = {named!r} is not a command ({error}): name a compiler") from None


@cache
def _warn_of_a_refused_library() -> None:
    """Say once why a library that is there is not used; at a first model, not at import."""
    reason = why_not_loaded()
    if " is left out, " in reason:
        warnings.warn(reason, stacklevel=3)


def _processor_flags() -> tuple[str, ...]:
    """Return compiler flags for the vector units that PyTorch finds.

    They are not for this very processor, because several machines may share a home directory.
    """
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return ()
    levels = {"AVX2": "x86-64-v3", "AVX512": "x86-64-v4"}
    level = levels.get(torch.backends.cpu.get_cpu_capability().upper())
    return () if level is None else (f"-march={level}",)


loaded()  # at import, for a TorchForce read from XML may ask for the operations
