"""`Popularity`: recommends what occurs most often in training, whatever the history."""

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
        """Score all items: float64 `[batch, num_items]`, where all rows share the memory of one.

        Raises:
            RuntimeError: before `fit`.
        """
        if self.counts is None:
            raise RuntimeError("Popularity has not counted any items yet: call fit(dataset) first.")
        return torch.from_numpy(self.counts.astype(np.float64)).expand(len(histories), -1)


__all__ = ["Popularity"]
