"""`Markov`: recommends what most often followed the history's last item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset


class Markov:
    """First-order Markov chain: scores an item by how often it directly followed the history's last item in training.

    Most items never followed the last item, and many followed it equally often. Popularity orders those: the score is
    the count of transitions plus the popularity scaled into [0, 1), so it cannot outweigh a single transition.
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
        # A pair of items is counted as one number below num_items ** 2, which does not fit into the int32 of a dataset.
        items, num_items = dataset.train.items.astype(np.int64), len(dataset.catalog)
        frequency = np.bincount(items, minlength=num_items)
        self.popularity = frequency / (frequency.max() + 1)  # + 1 keeps even the most frequent item below 1
        within = np.ones(len(items), bool)  # False where an item starts a sequence: it followed none
        within[dataset.train.offsets[:-1]] = False
        pairs, self.counts = np.unique(items[:-1][within[1:]] * num_items + items[1:][within[1:]], return_counts=True)
        self.offsets = np.searchsorted(pairs, np.arange(num_items + 1) * num_items)
        self.followers = pairs % num_items
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Score all items: float64 `[batch, num_items]`. An empty history or an unseen last item gives the popularity.

        Raises:
            RuntimeError: before `fit`.
        """
        if self.popularity is None:
            raise RuntimeError("Markov has not counted any transitions yet: call fit(dataset) first.")
        scores = np.tile(self.popularity, (len(histories), 1))
        for row, history in zip(scores, histories, strict=True):
            if len(history):
                seen = slice(self.offsets[history[-1]], self.offsets[history[-1] + 1])
                row[self.followers[seen]] += self.counts[seen]
        return scores


__all__ = ["Markov"]
