"""Which weights train: what a person freezes, and what no gradient can reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

from torch import nn

from .sharding import reshard

Freeze = Literal["none", "word_embeddings", "embeddings"]
"""What to freeze: nothing; the word embeddings; all of the embedding layer (words, positions, types, its norm)."""


def unreachable(encoder: Any, *, pooled_only: bool) -> list[nn.Parameter]:
    """Weights of a [`RecformerModel`] that no gradient reaches.

    The key bias of the global attention shifts all scores of the one global query alike, and the softmax forgets it.
    With `pooled_only` and the state of `<s>` as the sequence's vector, the last layer is its global attention alone.
    DDP waits for the gradients of all trainable weights, so these must not be among them.
    """
    layers = list(encoder.encoder.layer)
    found = [layer.attention.self.key_global.bias for layer in layers]
    if pooled_only and encoder.config.pooler_type == "cls":
        last = layers[-1].attention.self
        for projection in (last.query, last.key, last.value):
            found.extend(projection.parameters())
    return [weight for weight in found if isinstance(weight, nn.Parameter)]


@contextmanager
def frozen(model: nn.Module, encoder: Any, freeze: Freeze, *, pooled_only: bool) -> Iterator[None]:
    """Freezes weights while the block runs; each is as trainable as before afterwards.

    Args:
        model: whose weights must not all be frozen.
        encoder: its [`RecformerModel`].
        freeze: see `Freeze`.
        pooled_only: whether training uses sequence vectors alone (`unreachable`).

    Raises:
        ValueError: for another `freeze`, or if nothing is left to train.
    """
    if freeze not in get_args(Freeze):
        raise ValueError(f"freeze must be one of {', '.join(get_args(Freeze))}, got {freeze!r}.")
    embeddings = encoder.embeddings
    chosen = {"none": [], "word_embeddings": [embeddings.word_embeddings], "embeddings": [embeddings]}[freeze]
    weights = [weight for module in chosen for weight in module.parameters()]
    weights += unreachable(encoder, pooled_only=pooled_only)
    with without_gradient(model, weights):
        if not any(weight.requires_grad for weight in model.parameters()):
            raise ValueError("Nothing is left to train: every weight of the model is frozen.")
        yield


@contextmanager
def without_gradient(model: nn.Module, weights: Iterable[nn.Parameter]) -> Iterator[None]:
    """Weights of a model take no gradient while the block runs; each is as trainable as before afterwards.

    They are remembered by name: a model that is sharded in the block has other parameters afterwards.
    """
    chosen = {id(weight) for weight in weights if weight.requires_grad}
    names = {_plain(name) for name, weight in model.named_parameters() if id(weight) in chosen}
    _set_trainable(model, names, False)
    try:
        yield
    finally:
        _set_trainable(model, names, True)


def _set_trainable(model: nn.Module, names: set[str], trainable: bool) -> None:
    reshard(model)
    for name, weight in model.named_parameters():
        if _plain(name) in names:
            weight.requires_grad_(trainable)


def _plain(name: str) -> str:
    """Name of a parameter without what wrappers add."""
    return name.replace("_checkpoint_wrapped_module.", "").replace("_orig_mod.", "").removeprefix("module.")
