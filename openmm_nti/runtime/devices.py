"""The device that torch computes on, chosen here for training and for all estimates.

`auto` is a GPU where there is one, and the CPU elsewhere. `auto` and `cuda` leave the number of the
GPU open. Then process k of `tasks.run_tasks`, or of torchrun, takes GPU k, counted around.
"""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    import torch  # the command line imports this module before it needs torch

DeviceName = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$")]
WORKER = "OPENMM_NTI_WORKER"  # set in the processes of `run_tasks`


def torch_device(name: str = "auto") -> torch.device:
    """Return the device called `name`: auto, cpu, cuda or cuda:1.

    Raises
    ------
    ValueError
        If this machine has no such device, or if it cannot compute in double precision.
    """
    import torch

    n_gpus = number_of_gpus()
    if name == "auto":
        name = "cuda" if n_gpus else "cpu"
    if name.startswith("mps"):
        raise ValueError(
            f"device = {name} has no double precision, which energies need: choose cpu"
        )
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= n_gpus:
        raise ValueError(
            f"device = {name} is not there: this machine has {n_gpus} CUDA device(s); choose "
            "another, or auto"
        )
    return torch.device("cuda", process_number() % n_gpus) if name == "cuda" else device


def number_of_gpus() -> int:
    """Return how many CUDA devices torch can compute on."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def process_number() -> int:
    """Return the number of this process among those that share the work, on its machine."""
    return int(os.environ.get("LOCAL_RANK") or os.environ.get(WORKER) or 0)


def number_this_worker() -> None:
    """Give a worker process its number, which is the end of its name: LokyProcess-3."""
    number = multiprocessing.current_process().name.rpartition("-")[2]
    os.environ[WORKER] = str(int(number) - 1 if number.isdecimal() else 0)
