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


def keep_in_memory(*modules: nn.Module) -> None:
    """Loads the offloaded weights of modules that are read outside of their `forward`, and keeps them loaded.

    Args:
        modules: the weights that belong to each without a sub-module between are loaded.
    """
    for module in modules:
        offloaded = {name: weight for name, weight in module.named_parameters(recurse=False) if weight.is_meta}
        if offloaded:
            _load(module, offloaded)


def _load(module: nn.Module, offloaded: dict[str, nn.Parameter]) -> None:
    for hook in _hooks(module):
        if getattr(hook, "offload", False) and hook.weights_map is not None:
            hook.offload = False  # these weights must not be moved away again, and the module has no others of its own
            device = torch.device(hook.execution_device)
            for name, weight in offloaded.items():
                value: Tensor = hook.weights_map[name]
                setattr(module, name, nn.Parameter(value.to(device), requires_grad=weight.requires_grad))


def in_memory(device_map: object, *names: str) -> object:
    """A device map in which some weights and modules are not on disk. Other kinds of device maps stay as they are."""
    if not isinstance(device_map, dict):
        return device_map
    inside = tuple(f"{name}." for name in names)
    return {
        key: "cpu" if place == "disk" and (key in names or key.startswith(inside)) else place
        for key, place in device_map.items()
    }


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
