"""Which weights train: neither those that the caller freezes nor those that no gradient can reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

from torch import nn

from ..modeling_recformer import RecformerModel
from .sharding import reshard

Freeze = Literal["none", "word_embeddings", "embeddings", "lower_layers", "encoder"]
"""What to freeze: nothing; the word embeddings; all of the embedding layer (words, positions, types, its norm); with it
all layers but the last two; or the whole text encoder, so that only the recommender's head trains."""

TOP_LAYERS = 2
"""Layers that train with `lower_layers`."""


def unreachable(encoder: RecformerModel, *, pooled_only: bool) -> list[nn.Parameter]:
    """Weights that no gradient reaches.

    The key bias of the global attention shifts all scores of the only global query equally, so the softmax cancels it.
    With `pooled_only` and the state of `<s>` as the sequence's vector, only the global attention of the last layer
    counts. DDP waits for the gradients of all trainable weights, so these must not be among them.
    """
    layers: list[Any] = list(encoder.encoder.layer)
    attentions = [layer.attention.self for layer in layers]
    found = [attention.key_global.bias for attention in attentions]
    if pooled_only and encoder.config.pooler_type == "cls":
        last = attentions[-1]
        for projection in (last.query, last.key, last.value):
            found.extend(projection.parameters())
    return [weight for weight in found if isinstance(weight, nn.Parameter)]  # a layer may have no bias


@contextmanager
def frozen(model: nn.Module, encoder: RecformerModel, freeze: Freeze, *, pooled_only: bool) -> Iterator[None]:
    """Freezes weights, and those that no gradient reaches, while the block runs.

    Args:
        model: to train.
        encoder: the part of it that `freeze` is about.
        freeze: see `Freeze`.
        pooled_only: whether the loss only uses sequence vectors (`unreachable`).

    Raises:
        ValueError: for an unknown `freeze`, or if no weight of the model is left to train.
    """
    if freeze not in get_args(Freeze):
        raise ValueError(f"freeze must be one of {', '.join(get_args(Freeze))}, got {freeze!r}.")
    embeddings = encoder.embeddings
    parts: dict[str, list[nn.Module]] = {
        "none": [], "word_embeddings": [embeddings.word_embeddings], "embeddings": [embeddings],
        "lower_layers": [embeddings, *list(encoder.encoder.layer)[:-TOP_LAYERS]], "encoder": [encoder],
    }  # fmt: skip
    weights = [weight for module in parts[freeze] for weight in module.parameters()]
    weights += unreachable(encoder, pooled_only=pooled_only)
    with without_gradient(model, weights):
        if not any(weight.requires_grad for weight in model.parameters()):
            raise ValueError(
                "Nothing is left to train: every weight of the model is frozen. model.requires_grad_(True) unfreezes "
                "them (merging PEFT adapters leaves them frozen). With freeze='encoder', the model needs a head that "
                "learns: --recipe hybrid gives it one, as does model.set_head."
            )
        yield


@contextmanager
def without_gradient(model: nn.Module, weights: Iterable[nn.Parameter]) -> Iterator[None]:
    """Some weights of a model get no gradient while the block runs; afterwards, each is as trainable as before.

    They are remembered by name, because sharding replaces the parameters, and may happen in the block.
    """
    chosen = {id(weight) for weight in weights if weight.requires_grad}
    names = {plain_name(name) for name, weight in model.named_parameters() if id(weight) in chosen}
    _set_trainable(model, names, False)
    try:
        yield
    finally:
        _set_trainable(model, names, True)


def _set_trainable(model: nn.Module, names: set[str], trainable: bool) -> None:
    reshard(model)  # parameters that FSDP has gathered are not the ones that train
    for name, weight in model.named_parameters():
        if plain_name(name) in names:
            weight.requires_grad_(trainable)


def plain_name(name: str) -> str:
    """A parameter's name without the parts that wrappers (activation checkpointing, torch.compile, DDP) add."""
    return name.replace("_checkpoint_wrapped_module.", "").replace("_orig_mod.", "").removeprefix("module.")
