"""A small recommender of the demo shop's kitchen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from recformer_hf import RecformerForSeqRec, RecformerTokenizer
from recformer_hf.data.demo import load_demo_domain
from tests.support.models import enliven, small_config

CATALOG = load_demo_domain("kitchen", num_users=5, num_items=60).catalog


def shop_tokenizer() -> RecformerTokenizer:
    return RecformerTokenizer.train_from_catalog(CATALOG, vocab_size=320)


def shop_encoder(tokenizer: RecformerTokenizer) -> RecformerForSeqRec:
    """A model without items."""
    return enliven(RecformerForSeqRec(small_config(num_hidden_layers=2, vocab_size=len(tokenizer)))).eval()


def save_encoder_and_shop(model: RecformerForSeqRec, tokenizer: RecformerTokenizer, folder: Path) -> None:
    """Saves `encoder`, a checkpoint without items, and `shop`, one with the catalogue."""
    for name, saved in (("encoder", model), ("shop", model.with_catalog(CATALOG, tokenizer))):
        saved.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def assert_same_directions(ours, theirs) -> None:
    ours, theirs = (F.normalize(torch.as_tensor(np.asarray(vectors)), dim=1) for vectors in (ours, theirs))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
