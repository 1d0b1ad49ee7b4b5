"""Pairs of items that a user had one shortly after the other, for a text encoder to learn from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .draws import Draws, Stream
from .torch_datasets import SequenceBatch, TrainingSequences

MOST_APART = 3
"""Most places between the items of a pair."""


class ItemPairCollator:
    """One pair of items of each training sequence: any item but the last, and one of the `MOST_APART` items after it.

    Both are drawn uniformly, anew in every epoch. Called with a batch of [`TrainingSequences`], it returns the packed
    tokens of the batch's items, each once, in the order of the catalogue; `first` and `labels` (int64 `[batch]`), the
    places of the pairs' items among these texts; and `corrections` (float32 `[num_texts]`), minus the logarithm of how
    likely each of these items is in a batch. A pair of the same item twice says nothing, and is left out, unless the
    batch has no other.

    Args:
        counts (int `[num_items]`): how often each item of the catalogue occurs in the training sequences.
        seed (`int`): in [0, 2^64).
        item_collator: an [`ItemCollator`].
    """

    def __init__(self, counts: np.ndarray, *, seed: int, item_collator: Callable[[np.ndarray], dict[str, Any]]) -> None:
        self.frequencies = counts / max(counts.sum(), 1)
        self.item_collator, self.draws = item_collator, Draws(seed)

    def lengths(self, data: TrainingSequences) -> list[np.ndarray]:
        """Items of the pair of each of `data.users`, int64 `[num_users]` for each dataset: 2."""
        return [np.full(len(users), 2) for users in data.users]

    def __call__(self, batch: SequenceBatch) -> dict[str, Any]:
        key = batch.index["epoch"], batch.index["dataset"], batch.index["user"]
        first = batch.offsets[:-1] + self.draws.integers(Stream.TARGET, *key, 0, np.diff(batch.offsets) - 1)
        beyond = np.minimum(batch.offsets[1:] - first, MOST_APART + 1)
        second = first + self.draws.integers(Stream.WINDOW, *key, 1, beyond)
        pairs = batch.items[np.stack([first, second])].astype(np.int64)
        differ = pairs[0] != pairs[1]
        rows, places = np.unique(pairs[:, differ] if differ.any() else pairs, return_inverse=True)
        first, labels = torch.from_numpy(places.reshape(2, -1))
        missing = pairs.size * np.log1p(-self.frequencies[rows])
        texts = self.item_collator(rows)
        del texts["item_index"]
        corrections = torch.from_numpy(-np.log(-np.expm1(missing))).float()
        return texts | {"first": first, "labels": labels, "corrections": corrections}


__all__ = ["ItemPairCollator"]
