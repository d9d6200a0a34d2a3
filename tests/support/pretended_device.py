"""A device that is not there: tensors that say they lie on `cuda:0` and compute on the CPU.

Inside `pretended_device()` torch obeys the rules of a GPU. What is made on or moved to a CUDA
device lies there. Operations of tensors from both places are refused, and so are `numpy()` and a
generator of the CPU. So what passes here is what a GPU would be asked to do. The numbers are those
of the CPU.
"""

from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only

PLACE = torch.device("cuda", 0)
_CPU = torch.device("cpu")
_NO_OPERATIONS = {"__get__", "__set__", "_has_compatible_shallow_copy_type"}


class There(torch.Tensor):
    """A tensor that says it lies on the pretended device."""

    @property
    def device(self):
        return PLACE

    def __deepcopy__(self, memo):
        return self.detach().clone().requires_grad_(self.requires_grad)

    __torch_function__ = torch._C._disabled_torch_function_impl


def _is_there(value):
    return isinstance(value, There)


class _Pretence(TorchFunctionMode):
    """Counts in `looks` how often a number was read from the device."""

    def __init__(self):
        super().__init__()
        self.looks = 0
        self.operations = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(function, "__name__", "")
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        there = any(map(_is_there, tensors))
        if name in {"to", "cpu", "cuda"}:
            return self._moved(name, *args, *kwargs.values())
        if there:
            self.operations += 1
            if name in {"numpy", "__array__"}:
                raise TypeError("can't convert cuda:0 device type tensor to numpy")
            if name in {"item", "tolist", "__bool__", "__float__", "__int__", "nonzero"}:
                self.looks += 1
            elsewhere = [x for x in tensors if not _is_there(x) and x.dim() > 0]
            if elsewhere and name not in _NO_OPERATIONS:
                raise RuntimeError(
                    f"{name}: expected all tensors to be on the same device, found cuda:0 and cpu"
                )
        if kwargs.get("device") is not None:
            there = torch.device(kwargs["device"]).type == "cuda"
            kwargs["device"] = _CPU
        if there and isinstance(kwargs.get("generator"), torch.Generator):
            raise RuntimeError("expected a 'cuda' device type for generator but found 'cpu'")
        found = function(*args, **kwargs)
        if name == "__get__":
            return found if not isinstance(found, torch.Tensor) else _put(found, there)
        return tree_map_only(torch.Tensor, lambda x: _put(x, there), found)

    @staticmethod
    def _moved(name, tensor, *wanted):
        """Return `tensor` after `to`, `cpu` or `cuda`, of which only device and dtype count."""
        target = {"cpu": _CPU, "cuda": PLACE}.get(name, tensor.device)
        for value in wanted:
            if isinstance(value, torch.Tensor):
                target, tensor = value.device, tensor.to(value.dtype)
            elif isinstance(value, torch.dtype):
                tensor = _put(_put(tensor, False).to(value), _is_there(tensor))
            elif isinstance(value, torch.device | str):
                target = torch.device(value)
        return _put(tensor, target.type == "cuda")


def _put(tensor, there):
    if there == _is_there(tensor):
        return tensor
    return tensor.as_subclass(There if there else torch.Tensor)


@contextmanager
def pretended_device():
    """Let torch have one CUDA device; yields what counts the looks at it."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    answers = {"is_available": True, "device_count": 1, "is_current_stream_capturing": False}
    try:
        with ExitStack() as stack:
            for name, answer in answers.items():
                stack.enter_context(patch.object(torch.cuda, name, return_value=answer))
            yield stack.enter_context(_Pretence())
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
