"""Whether a module may be computed without being called.

A layer can merge the arithmetic of several modules only if calling them would do nothing else. LoRA and quantisation
replace modules, users register hooks on them, and offloading replaces their `forward`: all of these must be called.
"""

from __future__ import annotations

from typing import TypeGuard, TypeVar

from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def is_untouched(module: nn.Module, kind: type[ModuleT]) -> TypeGuard[ModuleT]:
    """Whether a module is an instance of exactly this class, without hooks and without a `forward` of its own."""
    return (
        type(module) is kind
        and "forward" not in module.__dict__
        and not (module._forward_hooks or module._forward_pre_hooks)
        and not (module._backward_hooks or module._backward_pre_hooks)
    )


def is_plain_linear(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether this is an untouched `nn.Linear` with a bias and a floating-point weight."""
    return is_untouched(module, nn.Linear) and module.weight.is_floating_point() and module.bias is not None


__all__ = ["is_plain_linear", "is_untouched"]
