"""Recommenders with every combination of the parts of a head."""

from __future__ import annotations

from typing import Any

import torch

from recformer_hf import RecformerForSeqRec
from tests.support.models import enliven, small_config

HEADS: dict[str, dict[str, Any]] = {
    "paper": {},
    "bias": {"history_bias": True},
    "items": {"item_projection": True, "item_residuals": True, "learned_temperature": True},
    "residuals": {"item_residuals": True},
    "flat": {"item_projection": True, "item_residuals": True, "history_bias": True, "learned_temperature": True},
    "two_level": {"sequence_head": "two_level"},
    "narrow": {
        "sequence_head": "two_level", "head_size": 32, "item_projection": True, "item_residuals": True,
        "history_bias": True, "learned_temperature": True,
    },
}  # fmt: skip
"""Fields of the configuration, by name."""


@torch.no_grad()
def trained(catalog: Any, tokenizer: Any, parts: str | dict[str, Any], **settings: Any) -> RecformerForSeqRec:
    """A model of these items whose head looks as if it had been trained: no part of it is without effect."""
    fields = HEADS[parts] if isinstance(parts, str) else parts
    config = small_config(vocab_size=len(tokenizer), max_token_num=tokenizer.max_token_num, **fields, **settings)
    model = enliven(RecformerForSeqRec(config)).eval().with_catalog(catalog, tokenizer)
    torch.manual_seed(1)
    head = model.scoring_head
    if model.item_residuals is not None:
        model.item_residuals.copy_(torch.randn_like(model.item_residuals))
    if head.history_bias is not None:
        head.history_bias.copy_(torch.linspace(-6, 4, len(head.history_bias)))
    if head.log_temperature is not None:
        head.log_temperature.fill_(-2.5)
    return model
