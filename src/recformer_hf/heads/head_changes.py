"""Giving a model another head in place, with the weights that both heads have."""

from __future__ import annotations

import copy
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..configuration_recformer import RecformerConfig
from .scoring_head import ScoringHead

HEAD_FIELDS = (
    "sequence_head", "item_projection", "item_residuals", "history_bias", "learned_temperature", "residual_dropout",
    "head_size", "head_num_layers", "head_num_attention_heads", "head_dropout",
)  # fmt: skip
"""Fields of the configuration that describe what a recommender learns beside the text encoder."""


class HasHead(Protocol):
    """A `RecformerForSeqRec`."""

    config: RecformerConfig
    training: bool
    item_embeddings: nn.Parameter
    item_residuals: nn.Parameter | None
    scoring_head: ScoringHead

    def _init_weights(self, module: nn.Module) -> None: ...


def set_head(model: HasHead, fields: dict[str, Any]) -> bool:
    """Changes the head of a model; see `RecformerForSeqRec.set_head`.

    Returns:
        whether anything changed. If not, no random numbers were drawn.
    """
    unknown = [name for name in fields if name not in HEAD_FIELDS]
    if unknown:
        raise TypeError(f"{', '.join(unknown)} cannot be set by set_head. These can: {', '.join(HEAD_FIELDS)}.")
    if all(getattr(model.config, name) == value for name, value in fields.items()):
        return False
    config = copy.deepcopy(model.config)
    for name, value in fields.items():
        setattr(config, name, value)
    config.validate_architecture()
    head = ScoringHead(config)
    head.apply(model._init_weights)
    _keep_weights(model.scoring_head, head)
    model.scoring_head = head.to(model.item_embeddings.device).train(model.training)
    model.item_residuals = _residuals(model, config)
    for name, value in fields.items():
        setattr(model.config, name, value)
    head.config = model.config
    return True


@torch.no_grad()
def _keep_weights(old: nn.Module, new: nn.Module) -> None:
    """Copies the weights that both have in the same shape, and whether they train."""
    before = dict(old.named_parameters())
    for name, weight in new.named_parameters():
        if name in before and before[name].shape == weight.shape:
            weight.copy_(before[name])
            weight.requires_grad_(before[name].requires_grad)


def _residuals(model: HasHead, config: RecformerConfig) -> nn.Parameter | None:
    before = model.item_residuals
    if not config.item_residuals:
        return None
    if before is not None and before.shape[1] == config.vector_size:
        return before
    zeros: Tensor = model.item_embeddings.detach().new_zeros(len(model.item_embeddings), config.vector_size)
    return nn.Parameter(zeros)


__all__ = ["HEAD_FIELDS", "set_head"]
