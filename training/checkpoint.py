"""Checkpoints: one file with all that a training needs to go on as if it had never stopped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from openmm_nti.files import atomic_path
from openmm_nti.hamiltonian import NoisedFluid

CHECKPOINT_FILE = "checkpoint.safetensors"


def save_checkpoint(
    path: Path,
    model: NoisedFluid,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    *,
    step: int,
    seconds: float,
    inputs: str,
) -> None:
    """Write weights, their running average and Adam's moments after `step` steps, atomically.

    `inputs` is the fingerprint of configuration and data. A training of other inputs does not go on
    from the checkpoint.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {
            f"adam.{number}.{name}": torch.as_tensor(value) for name, value in state.items()
        }
    header = {"step": json.dumps(step), "seconds": json.dumps(seconds), "inputs": inputs}
    header["sha256"] = _digest(tensors, header)
    with atomic_path(path) as temporary:
        save_file(
            {name: value.detach().contiguous() for name, value in tensors.items()},
            temporary,
            metadata=header,
        )


def load_checkpoint(
    path: Path,
    model: NoisedFluid,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    *,
    inputs: str,
) -> tuple[int, float]:
    """Restore in place what `save_checkpoint` wrote, and return steps done and seconds spent.

    Raises
    ------
    ValueError
        If the file is damaged or belongs to another configuration or other data.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            # The file has no iterator.
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path} is truncated or no checkpoint ({error}): delete it to start again"
        ) from error
    if header.pop("sha256", None) != _digest(tensors, header):
        raise ValueError(
            f"{path} is damaged: its content is not that of its checksum; delete it to start again"
        )
    if header.get("inputs") != inputs:
        raise ValueError(
            f"{path} was made with another configuration or other data: use a new output directory"
        )
    model.load_state_dict(_part(tensors, "model."))
    for name, value in _part(tensors, "average.").items():
        average[name].copy_(value)
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "adam.").items():
        number, _, key = name.partition(".")
        moments.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict(
        {"state": moments, "param_groups": optimiser.state_dict()["param_groups"]}
    )
    return int(json.loads(header["step"])), float(json.loads(header["seconds"]))


def _digest(tensors: dict[str, Tensor], header: dict[str, str]) -> str:
    """Return the SHA-256 of all tensors with their names, types and shapes, and of the header."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
