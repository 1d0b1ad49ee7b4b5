"""Drawing negatives: items that a history is not followed by. Every draw is keyed by (seed, epoch, dataset, user)."""

from __future__ import annotations

import numpy as np

from ...data.draws import Draws, Stream
from ...data.torch_datasets import SequenceBatch


class SharedNegatives:
    """Negatives that all targets of a batch share, drawn with replacement.

    Args:
        counts (int `[num_items]`): how often each item occurs in the training sequences.
        power (`float`): an item is drawn in proportion to its count ^ power. An item that never occurs is never drawn:
            it would only learn to score low.
        draws: the source of random numbers.

    Raises:
        ValueError: if no item occurs.
    """

    def __init__(self, counts: np.ndarray, power: float, draws: Draws) -> None:
        if not counts.any():
            raise ValueError("No item occurs in the training sequences, so there is nothing to draw negatives from.")
        weights = np.where(counts > 0, counts.astype(np.float64) ** power, 0.0)
        self.chances = weights / weights.sum()
        """Chance of each item, float64 `[num_items]`."""
        self.bounds = np.cumsum(self.chances)
        self.last = int(np.flatnonzero(counts)[-1])
        self.draws = draws

    def draw(self, batch: SequenceBatch, count: int) -> np.ndarray:
        """`count` rows of the catalogue for a batch, int64. The first user stands for the batch."""
        if not count:
            return np.zeros(0, np.int64)
        first = batch.index[0]
        epoch, dataset, user = int(first["epoch"]), int(first["dataset"]), int(first["user"])
        numbers = self.draws.uniform(Stream.NEGATIVES, epoch, dataset, user, size=count)
        # The last bound may be a little below 1.
        return np.minimum(np.searchsorted(self.bounds, numbers, side="right"), self.last)


def unseen_negatives(batch: SequenceBatch, lengths: np.ndarray, count: int, num_items: int, draws: Draws) -> np.ndarray:
    """Uniform negatives of each target, from the items that the target's own sequence does not have.

    Args:
        batch: sequences.
        lengths (int `[batch]`): targets of each sequence.
        count: negatives of each target.
        num_items: of the catalogue.
        draws: the source of random numbers.

    Returns:
        int64 `[lengths.sum(), count]`. Those of a sequence that has all items are drawn from all items.
    """
    numbers = np.arange(len(batch))
    owners, own = np.divmod(np.unique(np.repeat(numbers, np.diff(batch.offsets)) * num_items + batch.items), num_items)
    sizes = np.bincount(owners, minlength=len(batch))
    kept = (sizes < num_items)[owners]  # nothing is left out of a sequence of all items
    owners, own, sizes = owners[kept], own[kept], np.where(sizes < num_items, sizes, 0)
    starts = np.cumsum(sizes) - sizes
    keys, users = batch.index, np.repeat(numbers, lengths)
    most = int(lengths.max(initial=0)) * count
    drawn = draws.integers(
        Stream.NEGATIVES, keys["epoch"], keys["dataset"], keys["user"], 0, num_items - sizes, size=most
    )
    places = np.arange(len(users)) - (np.cumsum(lengths) - lengths)[users]
    # The r-th item outside a sequence is r + the number of its items that are not above it: of its sorted items o_j,
    # those with o_j - j <= r.
    ranks = drawn[users[:, None], places[:, None] * count + np.arange(count)]
    gaps = owners * num_items + own - (np.arange(len(own)) - starts[owners])
    below = np.searchsorted(gaps, users[:, None] * num_items + ranks, side="right") - starts[users, None]
    chosen: np.ndarray = ranks + below
    return chosen


__all__ = ["SharedNegatives", "unseen_negatives"]
