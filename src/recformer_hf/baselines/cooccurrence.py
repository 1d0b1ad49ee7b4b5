"""`Cooccurrence`: recommends what stands near the history's items in the sequences of other users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..memory.cooccurrence import cooccurrence
from ..memory.sparse_rows import SparseRows

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset


class Cooccurrence:
    """Scores an item by how often it occurred near the history's items in training, recent items counting more.

    Args:
        window: the largest distance of two items of a pair; 10, or 3 if directed.
        decay: a pair at the distance d counts `decay ** (d - 1)`; 0.7, or 0.5 if directed.
        directed: whether only the later item of a pair is recommended to those who have the earlier one.
        power: an item's counts are divided by their sum to this power.
        history_decay: the newest item of a history weighs 1, an item before it `exp(-history_decay * age)`; 0.3, or
            0.8 if directed.
    """

    def __init__(
        self,
        window: int | None = None,
        decay: float | None = None,
        directed: bool = False,
        power: float = 0.25,
        history_decay: float | None = None,
    ) -> None:
        self.window = (3 if directed else 10) if window is None else window
        self.decay = (0.5 if directed else 0.7) if decay is None else decay
        self.directed = directed
        self.power = power
        self.history_decay = (0.8 if directed else 0.3) if history_decay is None else history_decay
        self.counts: SparseRows | None = None
        """`[num_items, num_items]`, once fitted."""

    def fit(self, dataset: SequentialDataset) -> Cooccurrence:
        """Count the pairs of `dataset.train`.

        Raises:
            ValueError: for a window below 1, or a decay outside (0, 1].
        """
        self.counts = cooccurrence(
            dataset.train.items,
            dataset.train.offsets,
            len(dataset.catalog),
            window=self.window,
            decay=self.decay,
            directed=self.directed,
            power=self.power,
        )
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Score all items: float32 `[batch, num_items]`; 0 for an item that occurred near none of the history.

        Raises:
            RuntimeError: before `fit`.
        """
        if self.counts is None:
            raise RuntimeError("Cooccurrence has not counted any pairs yet: call fit(dataset) first.")
        return self.counts.sum_of_rows(histories, self.history_decay)


__all__ = ["Cooccurrence"]
