"""Pairs of items that a user had one shortly after the other, for a text encoder to learn from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .arrays import offsets_from_lengths, slice_indices
from .draws import Draws, Stream
from .row_collators import drawn_windows, most_targets
from .torch_datasets import SequenceBatch, TrainingSequences

MOST_APART = 3
"""Most places between the items of a pair."""


class ItemPairCollator:
    """Pairs of items: each item of a training sequence but the last, with one of the `MOST_APART` items after it.

    Which one is drawn uniformly, anew in every epoch; so is a window of `max_items + 1` items of a longer sequence.
    Called with a batch of [`TrainingSequences`], it returns the packed tokens of the batch's items, each once, in the
    order of the catalogue; `first` and `labels` (int64 `[num_pairs]`), the places of the pairs' items among these
    texts; `together` (bool `[num_texts, num_texts]`), whether a sequence of the batch has both items; and `corrections`
    (float32 `[num_texts]`), minus the logarithm of how likely each item is in a batch.

    Args:
        counts (int `[num_items]`): how often each item of the catalogue occurs in the training sequences.
        max_items (`int`): most pairs of a sequence, at least 1.
        seed (`int`): in [0, 2^64).
        item_collator: an [`ItemCollator`].
    """

    def __init__(
        self, counts: np.ndarray, *, max_items: int, seed: int, item_collator: Callable[[np.ndarray], dict[str, Any]]
    ) -> None:
        self.frequencies = counts / max(counts.sum(), 1)
        self.max_items, self.item_collator, self.draws = max_items, item_collator, Draws(seed)

    def lengths(self, data: TrainingSequences) -> list[np.ndarray]:
        """Items of each of `data.users`, int64 `[num_users]` for each dataset."""
        return [targets + 1 for targets in most_targets(data, self.max_items)]

    def __call__(self, batch: SequenceBatch) -> dict[str, Any]:
        starts, pairs = drawn_windows(batch, self.max_items, self.draws)
        key = batch.index["epoch"], batch.index["dataset"], batch.index["user"]
        first, last = slice_indices(starts, pairs), np.repeat(starts + pairs, pairs)
        steps = self.draws.ragged(Stream.TARGET, *key, pairs) % np.minimum(last - first, MOST_APART) + 1
        rows, places = np.unique(batch.items[slice_indices(starts, pairs + 1)], return_inverse=True)
        # Places in the batch's own list of items, which has one more of each sequence than there are pairs.
        within = slice_indices(offsets_from_lengths(pairs + 1)[:-1], pairs)
        together = np.zeros((len(pairs), len(rows)), bool)
        together[np.repeat(np.arange(len(pairs)), pairs + 1), places] = True
        missing = len(places) * np.log1p(-self.frequencies[rows])
        texts = self.item_collator(rows)
        del texts["item_index"]
        return texts | {
            "first": torch.from_numpy(places[within]),
            "labels": torch.from_numpy(places[within + steps.astype(np.int64)]),
            "together": torch.from_numpy((together[:, :, None] & together[:, None, :]).any(0)),
            "corrections": torch.from_numpy(-np.log(-np.expm1(missing))).float(),
        }


__all__ = ["ItemPairCollator"]
