"""Changes of a catalogue: items are added, removed or given other attributes, without encoding the rest again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..memory.memory import Memory
from .item_store import as_catalog
from .protocols import Items, ItemTokenizer, RecommendingModel
from .recommend import needed, rows_in_order
from .vectors import encode_items


def add_items(
    model: RecommendingModel,
    items: Items,
    tokenizer: ItemTokenizer,
    max_tokens: int,
    progress: bool | None,
    embeddings: Tensor | None = None,
) -> None:
    """See `RecformerForSeqRec.add_items`; `embeddings` are the items' vectors, where they are known."""
    more = as_catalog(items)
    # A model without items may have no catalogue yet.
    catalog = more if model.config.num_items == 0 else needed(model.catalog, "adding items").add(more)
    vectors = encode_items(model, more, tokenizer, max_tokens, progress) if embeddings is None else embeddings
    vectors = vectors.to(model.item_embeddings.device)
    residuals = None
    if model.item_residuals is not None:  # nothing has been learned about the new items yet
        old = model.item_residuals.detach()
        residuals = torch.cat([old, old.new_zeros(len(more), old.shape[1])])
    vectors = torch.cat([model.item_embeddings.detach(), vectors])
    memory = None if model.memory is None else model.memory.extended(len(more))
    model._set_items(
        vectors, catalog, residuals, _with_new_texts(memory, vectors, np.arange(len(catalog) - len(more), len(catalog)))
    )


def remove_items(model: RecommendingModel, item_ids: Sequence[Any]) -> None:
    """See `RecformerForSeqRec.remove_items`."""
    catalog = needed(model.catalog, "removing items")
    kept = np.ones(len(catalog), dtype=bool)
    kept[rows_in_order(catalog, item_ids, "Item")] = False
    rows = np.flatnonzero(kept)
    on_device = torch.from_numpy(rows).to(model.item_embeddings.device)
    residuals = None if model.item_residuals is None else model.item_residuals.detach()[on_device]
    memory = None if model.memory is None else model.memory.select(rows)
    model._set_items(model.item_embeddings.detach()[on_device], catalog.select(rows), residuals, memory)


def update_items(
    model: RecommendingModel,
    items: Items,
    tokenizer: ItemTokenizer,
    max_tokens: int,
    progress: bool | None,
    embeddings: Tensor | None = None,
) -> None:
    """See `RecformerForSeqRec.update_items`; `embeddings` are the items' vectors, where they are known."""
    catalog, changed = needed(model.catalog, "changing items"), as_catalog(items)
    rows = rows_in_order(catalog, list(changed.ids), "Item")
    others = np.delete(np.arange(len(catalog)), rows)
    # The new catalogue is the unchanged items followed by the changed ones, brought back into the old order.
    place = np.empty(len(catalog), dtype=np.int64)
    place[others], place[rows] = np.arange(len(others)), len(others) + np.arange(len(rows))
    vectors = model.item_embeddings.detach().clone()
    new = encode_items(model, changed, tokenizer, max_tokens, progress) if embeddings is None else embeddings
    vectors[torch.from_numpy(rows).to(vectors.device)] = new.to(vectors.device)
    residuals = None if model.item_residuals is None else model.item_residuals.detach()
    memory = _with_new_texts(model.memory, vectors, rows)
    model._set_items(vectors, catalog.select(others).add(changed).select(place), residuals, memory)


def _with_new_texts(memory: Memory | None, vectors: Tensor, rows: np.ndarray) -> Memory | None:
    """The memory with the neighbours of some items found anew, if it was fitted on vectors of texts."""
    if memory is None or not memory.of_vectors or not len(rows):
        return memory
    return memory.with_texts(rows, vectors=vectors)


__all__ = ["add_items", "remove_items", "update_items"]
