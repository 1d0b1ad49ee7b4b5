"""FSDP: what must not be sharded, and checkpoints that `from_pretrained` can read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.utils import SAFE_WEIGHTS_NAME

if TYPE_CHECKING:
    from accelerate import Accelerator


def set_up_fsdp(accelerator: Accelerator, whole: Sequence[nn.Parameter] = ()) -> None:
    """Sets those options of FSDP that the caller does not choose, before the model is wrapped. Every checkpoint then
    holds one whole `model.safetensors`.

    Args:
        accelerator: accelerator of the run, with FSDP.
        whole: weights that every process keeps whole. They must not train, because nothing sums their gradients.

    Raises:
        ValueError: for version 1 of FSDP, which cannot wrap trainable and frozen weights together, and for loading on
            one process only, which cannot fill weights that stay whole.
    """
    plugin: Any = accelerator.state.fsdp_plugin
    version = getattr(plugin, "fsdp_version", 1)  # older versions of accelerate only have version 1
    if version != 2:
        raise ValueError(
            f"This run would use FSDP version {version}; only version 2 is supported. Set fsdp_version: 2 "
            "in the accelerate configuration (examples/configs/fsdp2.yaml has it)."
        )
    if plugin.cpu_ram_efficient_loading:
        raise ValueError(
            "fsdp_cpu_ram_efficient_loading is on: only one process would have the weights. Set "
            "fsdp_cpu_ram_efficient_loading: false in the accelerate configuration."
        )
    plugin.state_dict_config = plugin.optim_state_dict_config = None  # they belong to the type that was configured
    plugin.set_state_dict_type("FULL_STATE_DICT")
    if not plugin.transformer_cls_names_to_wrap:
        # Without the embedding layer: accelerate shards the word embeddings in it separately.
        plugin.transformer_cls_names_to_wrap = ["RecformerLayer"]
    plugin.ignored_modules = [nn.ParameterList(whole)] if whole else None


def load_whole_weights(model: nn.Module, checkpoint: Path) -> None:
    """Reads a checkpoint's `model.safetensors` into a model, sharded or not. Every process reads the file.

    Raises:
        RuntimeError: if weights are missing or unexpected.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    weights: dict[str, Any] = load_file(checkpoint / SAFE_WEIGHTS_NAME)
    set_model_state_dict(model, weights, options=StateDictOptions(full_state_dict=True))


def reshard(model: nn.Module) -> None:
    """Makes the shards the weights of a sharded model again.

    After a forward pass without a backward pass, FSDP leaves some weights gathered, and changes to gathered weights are
    lost.
    """
    for module in model.modules():
        if (to_shards := getattr(module, "reshard", None)) is not None:
            to_shards()


def copy_into(weight: nn.Parameter, values: Tensor) -> None:
    """Sets a weight, sharded or not, to values that every process holds as a whole.

    torch counts the change, so that what a model has derived from the weight is derived again.
    """
    if hasattr(weight, "device_mesh"):
        from torch.distributed.tensor import distribute_tensor

        values = distribute_tensor(values, weight.device_mesh, weight.placements)  # type: ignore[attr-defined]
    with torch.no_grad():
        weight.copy_(values)
