"""`Popularity` and `Markov`: recommenders that count, and never look at text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset


class Popularity:
    """Scores an item by how often it occurs in the training sequences, the same for every history."""

    def __init__(self) -> None:
        self.counts: np.ndarray | None = None
        """int64 `[num_items]`, once fitted."""

    def fit(self, dataset: SequentialDataset) -> Popularity:
        """Count the items of `dataset.train`."""
        self.counts = np.bincount(dataset.train.items, minlength=len(dataset.catalog))
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> Tensor:
        """float64 `[batch, num_items]`, one row repeated without a copy.

        Raises:
            RuntimeError: before `fit`.
        """
        if self.counts is None:
            raise RuntimeError("Popularity has counted nothing yet: call fit(dataset) first.")
        return torch.from_numpy(self.counts.astype(np.float64)).expand(len(histories), -1)


class Markov:
    """First-order Markov chain: scores an item by how often it directly followed the history's last item in training.

    What followed equally often, most often never, is ordered by popularity: the score is the count of transitions plus
    popularity scaled into [0, 1), so that popularity decides between equal counts only.
    """

    def __init__(self) -> None:
        self.popularity: np.ndarray | None = None
        """float64 `[num_items]` in [0, 1), once fitted."""
        self.offsets = np.zeros(1, np.int64)
        """Transitions from item `i` are `[offsets[i], offsets[i + 1])` of `followers` and `counts`."""
        self.followers = np.zeros(0, np.int64)
        self.counts = np.zeros(0, np.int64)

    def fit(self, dataset: SequentialDataset) -> Markov:
        """Count the transitions of `dataset.train`."""
        items, num_items = dataset.train.items.astype(np.int64), len(dataset.catalog)
        frequency = np.bincount(items, minlength=num_items)
        self.popularity = frequency / (frequency.max() + 1)
        within = np.ones(len(items), bool)  # whether an item follows the one before it, not starts a sequence
        within[dataset.train.offsets[:-1]] = False
        pairs, self.counts = np.unique(items[:-1][within[1:]] * num_items + items[1:][within[1:]], return_counts=True)
        self.offsets = np.searchsorted(pairs, np.arange(num_items + 1) * num_items)
        self.followers = pairs % num_items
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """float64 `[batch, num_items]`; an empty history, or an unseen last item, gives popularity.

        Raises:
            RuntimeError: before `fit`.
        """
        if self.popularity is None:
            raise RuntimeError("Markov has counted nothing yet: call fit(dataset) first.")
        scores = np.tile(self.popularity, (len(histories), 1))
        for row, history in zip(scores, histories, strict=True):
            if len(history):
                seen = slice(self.offsets[history[-1]], self.offsets[history[-1] + 1])
                row[self.followers[seen]] += self.counts[seen]
        return scores


__all__ = ["Markov", "Popularity"]
