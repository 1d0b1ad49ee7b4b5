"""Vectors of histories by the two-level head, which reads item vectors instead of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..encoder.packing import length_sorted_batches
from ..heads.history_items import padded, whole_histories
from ..heads.scoring_head import ScoringHead

MOST_PLACES = 8192
"""Items, padding apart, of the histories that are read together."""


@torch.no_grad()
def read_rows(
    head: ScoringHead, histories: Sequence[np.ndarray | Sequence[int]], items: Tensor, most_places: int = MOST_PLACES
) -> Tensor:
    """Vectors of histories, read in batches of similar length.

    Args:
        head: a two-level head, in evaluation mode.
        histories: rows of `items`, oldest first, each with at least one.
        items (`Tensor`, float32 `[num_items, vector_size]`): item vectors ([`ScoringHead.item_vectors`]).
        most_places: the most items of a batch; a longer history is read alone.

    Returns:
        float32 `[num_histories, vector_size]`, on the device of `items`.
    """
    assert head.history_transformer is not None
    newest = [history[-head.history_transformer.most_items :] for history in histories]
    vectors = items.new_empty(len(histories), items.shape[1])
    for batch in length_sorted_batches(np.array([len(history) for history in newest], dtype=np.int64), most_places):
        rows = padded([newest[place] for place in batch]).to(items.device)
        vectors[torch.from_numpy(batch).to(items.device)] = head.read(items, whole_histories(rows)).float()
    return vectors


__all__ = ["read_rows"]
