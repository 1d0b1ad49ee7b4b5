"""Weights that are no ordinary tensors."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

_ALLOWED = ("__get__", "__set__", "is_floating_point", "detach", "requires_grad_")


class OnlyMultiplies(torch.Tensor):
    """A weight that `F.linear` can use and nothing else, as those that torchao puts into an `nn.Linear`."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is not F.linear and getattr(func, "__name__", "") not in _ALLOWED:
            raise NotImplementedError(f"a quantised weight has no {func}")
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **(kwargs or {}))
        return found.as_subclass(cls) if getattr(func, "__name__", "") == "detach" else found


def linear_layers(model: nn.Module) -> list[nn.Linear]:
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


def multiplying_only(model: nn.Module) -> nn.Module:
    """A copy of a model whose linear layers hold such weights."""
    model = copy.deepcopy(model)
    for layer in linear_layers(model):
        layer.weight = nn.Parameter(layer.weight.detach().as_subclass(OnlyMultiplies), requires_grad=False)
    return model
