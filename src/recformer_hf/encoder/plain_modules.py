"""Whether a module may be computed without being called.

A layer can merge the arithmetic of several modules only if calling them would do nothing else. LoRA and quantisation
replace modules, users register hooks on them, and offloading replaces their `forward`: all of these must be called.
"""

from __future__ import annotations

from typing import TypeGuard, TypeVar

import torch
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def is_untouched(module: nn.Module, kind: type[ModuleT]) -> TypeGuard[ModuleT]:
    """Whether a module is an instance of exactly this class, without hooks and without a `forward` of its own."""
    return (
        type(module) is kind
        and "forward" not in module.__dict__
        and not (module._forward_hooks or module._forward_pre_hooks)
        and not (module._backward_hooks or module._backward_pre_hooks)
    )


def is_plain_tensor(value: object) -> TypeGuard[Tensor]:
    """Whether this is an ordinary floating-point tensor that holds its numbers, so that any operation may read it.

    A subclass may know products only (torchao keeps `nn.Linear` and puts such a weight into it), and a tensor on the
    meta device has no numbers (offloading loads them when the module is called).
    """
    return type(value) in (Tensor, nn.Parameter) and isinstance(value, Tensor) and _holds_floats(value)


def _holds_floats(value: Tensor) -> bool:
    return value.is_floating_point() and not value.is_meta and value.layout == torch.strided


def is_plain_linear(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether this is an untouched `nn.Linear` whose weight and bias are plain tensors."""
    return is_untouched(module, nn.Linear) and is_plain_tensor(module.weight) and is_plain_tensor(module.bias)


__all__ = ["is_plain_linear", "is_plain_tensor", "is_untouched"]
