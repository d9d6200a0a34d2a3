"""The networks' inner operations in C++ for CPUs, built once by `openmm-nti compile`; optional.

Without them, on a GPU and in float64, the same runs as PyTorch operations
(`hamiltonian.networks.edges` and `descriptors`). On a CPU those are several times slower. The
library depends on nothing but PyTorch. Its file name holds what it was built from and for, so that
another version of either leads to another file.
"""

import hashlib
import os
import platform
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from openmm_nti.files import atomic_path

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

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A pickled model may arrive where nothing is compiled."""
        super().__setstate__(state)
        self.__dict__["compiled"] = self.compiled and loaded()


def use_compiled(module: nn.Module, wanted: bool) -> None:
    """Let `module` and all in it use the compiled operations, where they are there, or not."""
    for part in module.modules():
        if isinstance(part, CompiledModule):
            part.compiled = wanted and loaded()


def applies_to(values: Tensor) -> bool:
    """Whether the compiled operations take `values`."""
    return values.device.type == "cpu" and values.dtype == torch.float32


def applies_to_double(values: Tensor) -> bool:
    """Whether those of pairs, which are in double precision, take `values`."""
    return values.device.type == "cpu" and values.dtype == torch.float64


def library_path() -> Path:
    """Where the library of this source, PyTorch and processor is, or would be.

    In the directory of OPENMM_NTI_KERNELS, or else openmm_nti in the user's cache.
    """
    sources = [path.read_text() for path in sorted([*_FOLDER.glob("*.h"), _SOURCE])]
    built_from = " ".join((*sources, torch.__version__, *_FLAGS, *_THREADS, *_processor_flags()))
    name = f"kernels-{hashlib.sha256(built_from.encode()).hexdigest()[:16]}.so"
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    chosen = os.environ.get("OPENMM_NTI_KERNELS", "")
    return (Path(cache_home) / "openmm_nti" if chosen in {"", "off"} else Path(chosen)) / name


def build() -> Path:
    """Compile the library if it is not there, and return its path; half a minute.

    Raises
    ------
    RuntimeError
        If there is no C++ compiler (that of the environment variable CXX, or c++), or it fails.
    """
    path = library_path()
    if path.is_file():
        return path
    compiler = os.environ.get("CXX", "c++")
    root = Path(torch.__file__).parent
    includes = (
        f"-I{root / 'include'}",
        f"-I{root / 'include' / 'torch' / 'csrc' / 'api' / 'include'}",
    )
    links = (f"-L{root / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10")
    with atomic_path(path) as temporary:
        command = [
            compiler,
            *_FLAGS,
            *_THREADS,
            *_processor_flags(),
            *includes,
            str(_SOURCE),
            *links,
            "-o",
            str(temporary),
        ]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise RuntimeError(
                f"there is no C++ compiler {compiler!r}: install one (apt install g++, or conda "
                "install cxx-compiler) "
                "or name it in CXX; everything works without the compiled operations, but slower"
            ) from None
        except subprocess.CalledProcessError as error:
            raise RuntimeError(
                f"{compiler} could not compile {_SOURCE}:\n{error.stderr[-2000:]}"
            ) from None
        temporary.chmod(0o755)
    loaded.cache_clear()
    return path


@cache
def loaded() -> bool:
    """Whether the compiled operations are there; they are loaded if so. OPENMM_NTI_KERNELS=off
    leaves them out.
    """
    if os.environ.get("OPENMM_NTI_KERNELS") == "off":
        return False
    path = library_path()
    if not path.is_file():
        return False
    try:
        torch.ops.load_library(path)
    except OSError:
        warnings.warn(
            f"{path} cannot be loaded and is left out: remove it, then run openmm-nti compile",
            stacklevel=2,
        )
        return False
    return True


def _processor_flags() -> tuple[str, ...]:
    """Compiler flags for the vector units that PyTorch finds: not of this very processor, for homes
    are shared.
    """
    if (
        platform.machine().lower() in {"x86_64", "amd64"}
        and torch.backends.cpu.get_cpu_capability() != "DEFAULT"
    ):
        return ("-march=x86-64-v3",)
    return ()


loaded()  # at import, for a TorchForce read from XML may ask for the operations
