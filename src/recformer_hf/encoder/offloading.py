"""Weights that accelerate keeps elsewhere (on disk, or in the memory of the host) and loads when a module is called.

Such a weight is a tensor of the meta device, which has no numbers; only the hook of its module can load them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def execution_device(module: nn.Module) -> torch.device | None:
    """The device on which a module with offloaded weights computes; None if nothing is offloaded."""
    for part in module.modules():
        for hook in _hooks(part):
            if getattr(hook, "execution_device", None) is not None:
                return torch.device(hook.execution_device)
    return None


def keep_in_memory(module: nn.Module, name: str) -> None:
    """Loads an offloaded weight that is read outside of its module's `forward`, and keeps it loaded.

    Args:
        module: the module that the weight belongs to, without a sub-module between.
        name: the weight's name.
    """
    if not getattr(module, name).is_meta:
        return
    for hook in _hooks(module):
        if getattr(hook, "offload", False) and hook.weights_map is not None:
            value: Tensor = hook.weights_map[name]
            hook.offload = False  # the module has no other weight of its own, and this one must not be moved away again
            requires_grad = getattr(module, name).requires_grad
            device = torch.device(hook.execution_device)
            setattr(module, name, nn.Parameter(value.to(device), requires_grad=requires_grad))


def in_memory(device_map: object, name: str) -> object:
    """A device map in which a weight is not on disk. Other kinds of device maps stay as they are."""
    if isinstance(device_map, dict) and device_map.get(name) == "disk":
        return {**device_map, name: "cpu"}
    return device_map


def check_not_meta(hidden: Tensor) -> None:
    """Raises RuntimeError if weights have no numbers, as the embeddings that they gave show."""
    if hidden.is_meta:
        raise RuntimeError(
            "The model is on the meta device: its weights have no numbers. Load them by from_pretrained, or after "
            "init_empty_weights by load_checkpoint_and_dispatch or model.to_empty(device=...) and load_state_dict."
        )


def _hooks(module: nn.Module) -> Iterator[Any]:
    hook = getattr(module, "_hf_hook", None)
    if hook is not None:
        yield from getattr(hook, "hooks", (hook,))


__all__ = ["check_not_meta", "execution_device", "in_memory", "keep_in_memory"]
