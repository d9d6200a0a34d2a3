"""Training in several processes, which average their gradients.

Every process draws its own noise.

`torchrun --nproc-per-node 2 -m openmm_nti.cli train CONFIG --output DIR` starts the processes and
tells each its rank in the environment. Without torchrun there is one process, and nothing here does
anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


class Processes:
    """The processes that share this training.

    Attributes
    ----------
    rank, size
        Number of this process, and number of processes.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size = rank_and_size()
        self.device = device
        if self.size > 1 and not dist.is_initialized():
            if device.type == "cuda":
                torch.cuda.set_device(device)  # or all processes would talk through GPU 0
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")

    @property
    def is_main_process(self) -> bool:
        """Whether this process validates and writes files."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace the gradients of `parameters` by their means over the processes."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        for gradient, mean in zip(
            gradients, flat.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(mean.view_as(gradient))

    def of_main_process(self, value: float) -> float:
        """Return `value` of the main process, once all processes have called this."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, src=0)
        return float(shared)


def rank_and_size() -> tuple[int, int]:
    """Return the number of this process and of all processes; (0, 1) without torchrun."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
