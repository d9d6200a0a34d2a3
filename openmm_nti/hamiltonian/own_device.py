"""`on_own_device`: a model computes where its weights are, and answers where it was asked.

Whoever samples keeps positions and random numbers on the CPU, where they are the same on all
machines. What travels is small beside an evaluation: a few positions, energies and gradients.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

Method = TypeVar("Method", bound=Callable[..., Any])


def on_own_device(method: Method) -> Method:
    """Let a method of a model, whose first argument is a tensor, take tensors from elsewhere."""

    @functools.wraps(method)
    def wrapper(model: Any, positions: Tensor, *others: Any, **keywords: Any) -> Any:
        here, there = positions.device, model.two_body.mayer.device
        if here == there:
            return method(model, positions, *others, **keywords)
        given = [_moved(value, there) for value in (positions, *others)]
        named = {name: _moved(value, there) for name, value in keywords.items()}
        return _moved(method(model, *given, **named), here)

    return cast("Method", wrapper)


def _moved(value: Any, device: torch.device) -> Any:
    """Return a tensor, or a tuple of such, on `device`; anything else as it is."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        parts = [_moved(part, device) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value
