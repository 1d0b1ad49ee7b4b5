"""Drawing negatives: items that a history is not followed by. Every draw is keyed by (seed, epoch, dataset, user)."""

from __future__ import annotations

import numpy as np

from ...data.draws import Draws, Stream
from ...data.torch_datasets import SequenceBatch

_ROUNDS = 16
"""How often an item of the user's own sequence is drawn again."""


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


def unseen_negatives(
    batch: SequenceBatch, lengths: np.ndarray, count: int, num_items: int, draws: Draws
) -> np.ndarray:
    """Uniform negatives of each target, without the items of the target's own sequence.

    Args:
        batch: sequences.
        lengths (int `[batch]`): targets of each sequence.
        count: negatives of each target.
        num_items: of the catalogue.
        draws: the source of random numbers.

    Returns:
        int64 `[lengths.sum(), count]`. If a sequence has nearly all items, some of its negatives may be its own.
    """
    own = np.unique(np.repeat(np.arange(len(batch)), np.diff(batch.offsets)) * num_items + batch.items)
    owners = np.repeat(np.arange(len(batch)), lengths)
    most = int(lengths.max(initial=0)) * count
    chosen = np.empty((len(owners), count), np.int64)
    waiting = np.ones(chosen.shape, bool)
    places = np.arange(len(owners)) - (np.cumsum(lengths) - lengths)[owners]
    for round_number in range(_ROUNDS):
        # A round's numbers are a further stretch of the user's one stream.
        rows = np.unique(np.nonzero(waiting)[0])
        users, index = np.unique(owners[rows], return_inverse=True)
        keys = batch.index[users]
        numbers = draws.integers(
            Stream.NEGATIVES, keys["epoch"], keys["dataset"], keys["user"], 0, num_items, size=most * (round_number + 1)
        )[:, most * round_number :]
        drawn = numbers[index[:, None], places[rows, None] * count + np.arange(count)]
        chosen[rows] = np.where(waiting[rows], drawn, chosen[rows])
        waiting[rows] &= np.isin(owners[rows, None] * num_items + chosen[rows], own)
        if not waiting.any():
            break
    return chosen


__all__ = ["SharedNegatives", "unseen_negatives"]
