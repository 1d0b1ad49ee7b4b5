"""Whether a trainer was handed what it needs: a model with the right head, its own arguments, datasets."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from ..data.dataset import SequentialDataset
from .arguments import RecformerTrainingArguments


def check_model(model: object, head: type[PreTrainedModel], others: str = "") -> None:
    """Refuses everything but a whole model with a head, in memory and not wrapped.

    Args:
        model: what the caller passed as a model.
        head: the class of the model.
        others: where else a model of that class comes from; ends the message for other classes.

    Raises:
        TypeError: for another class, a wrapper, and a model whose weights cannot train; the message says what to pass.
    """
    expected, found = head.__name__, type(model).__name__
    load = f"{expected}.from_pretrained"
    wrappers: dict[str, str] = {
        "_orig_mod": "Pass the model before torch.compile, and set torch_compile=True in the arguments.",
        "peft_config": "Its checkpoints would hold the adapters alone, without item vectors. Finetune the whole model, "
        "or merge the adapters first: model.merge_and_unload().requires_grad_(True).",
        "module": "Pass its `module`: the trainer wraps the model itself. Start several processes with "
        "`accelerate launch`.",
    }
    if isinstance(model, type):
        raise TypeError(f"The model is the class {model.__name__}, not a model. {load}(...) gives one.")
    if model is None or isinstance(model, (str, bytes)):
        raise TypeError(f"The model is {model!r}, not a {expected}. {load}({model or 'folder'!r}) loads one.")
    for attribute, what in wrappers.items():
        if hasattr(model, attribute) and not _is_named(model, expected):
            raise TypeError(f"The model is wrapped in a {found}. {what}")
    if not _is_named(model, expected):
        raise TypeError(
            f"The model must be a {expected}, got {found}. {load} loads any Recformer checkpoint with that head."
            f"{others}"
        )
    _check_weights(cast(nn.Module, model))


def _is_named(model: object, name: str) -> bool:
    # Not isinstance: a checkpoint that carries its own code has another class of the same name.
    return any(each.__name__ == name for each in type(model).__mro__)


def _check_weights(model: nn.Module) -> None:
    if any(type(module).__module__.partition(".")[0] == "peft" for module in model.modules()):
        raise TypeError(
            "The model has PEFT adapters in it: its checkpoints would hold them alone, without item vectors. Finetune "
            "the whole model, or merge the adapters first: merge_and_unload().requires_grad_(True) of the PeftModel."
        )
    for name, weight in model.named_parameters():
        if weight.is_meta:
            raise TypeError(
                f"{name} is not in memory (the model was loaded with a device_map, or on the meta device). Load it "
                "without device_map: the trainer moves it to its device."
            )
        if not weight.is_floating_point() or (type(weight.data) is not torch.Tensor and not _is_sharded(weight)):
            raise TypeError(
                f"{name} is quantised ({type(weight.data).__name__}, {weight.dtype}), so it cannot train. Load the "
                "model without quantisation, and quantise the finished one."
            )


def _is_sharded(weight: nn.Parameter) -> bool:
    return hasattr(weight, "device_mesh")


def check_arguments_class(args: object, expected: type[RecformerTrainingArguments]) -> None:
    """Refuses arguments of another class, such as `transformers.TrainingArguments`.

    Raises:
        TypeError: the message names the class to use.
    """
    if not isinstance(args, expected):
        found = f"the class {args.__name__}" if isinstance(args, type) else f"{type(args).__name__}"
        raise TypeError(
            f"args must be {expected.__name__}, got {found}. It takes every setting of transformers' TrainingArguments "
            f"that is supported, and those of the paper: {expected.__name__}(output_dir=...)."
        )


def check_dataset(dataset: object, what: str) -> None:
    """Refuses everything but a `SequentialDataset` with a training split.

    Args:
        dataset: what the caller passed.
        what: name of the argument.

    Raises:
        TypeError: the message says how to get one.
    """
    if isinstance(dataset, SequentialDataset):
        return
    found = f"the class {dataset.__name__}" if isinstance(dataset, type) else type(dataset).__name__
    more = f" ({dataset!r})" if isinstance(dataset, str) else ""
    raise TypeError(
        f"{what} must be a SequentialDataset, got {found}{more}. SequentialDataset.load reads one from a folder or the "
        "Hub; recformer prepare creates one from a log."
    )
