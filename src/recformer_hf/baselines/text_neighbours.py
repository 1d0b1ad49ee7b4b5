"""`TextNeighbours`: recommends the items whose texts are most similar to those of the history's items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..memory.sparse_rows import SparseRows
from ..memory.text_index import TextIndex
from ..memory.text_neighbours import text_neighbours, whitened

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset


class TextNeighbours:
    """Scores an item by how similar its text is to those of the history's items, recent items counting more.

    An item's `top_k` nearest other items share a weight of 1 between them, by a softmax of their cosines over the
    temperature. Nothing is learned from sequences, so items that nobody has bought are recommended like all others.

    Args:
        vectors: float `[num_items, width]` of an encoder, used instead of TF-IDF vectors of the attributes' values.
        top_k: how many neighbours an item has.
        temperature: of the softmax.
        whitening: power of the whitening of `vectors` ([`whitened`]); None compares them as they are. TF-IDF vectors
            are not whitened.
        history_decay: the newest item of a history weighs 1, an item before it `exp(-history_decay * age)`.

    Raises:
        ValueError: if the vectors have another shape, or are not finite.
    """

    def __init__(
        self,
        vectors: np.ndarray | Tensor | None = None,
        top_k: int = 100,
        temperature: float = 0.1,
        whitening: float | None = 0.25,
        history_decay: float = 0.8,
    ) -> None:
        self.vectors: Tensor | None = None
        if vectors is not None:
            given = vectors if isinstance(vectors, Tensor) else torch.from_numpy(np.array(vectors, np.float32))
            self.vectors = given if whitening is None else whitened(given, whitening)
        self.top_k = top_k
        self.temperature = temperature
        self.history_decay = history_decay
        self.neighbours: SparseRows | None = None
        """`[num_items, num_items]`, once fitted."""

    def fit(self, dataset: SequentialDataset) -> TextNeighbours:
        """Find the neighbours of every item of `dataset.catalog`.

        Raises:
            ValueError: if there are more or fewer vectors than items.
        """
        texts: TextIndex | Tensor
        if self.vectors is None:
            texts = TextIndex.build(" ".join(item.values()) for item in dataset.catalog)
        elif len(self.vectors) != len(dataset.catalog):
            raise ValueError(f"{len(self.vectors):,} vectors for {len(dataset.catalog):,} items; expected as many.")
        else:
            texts = self.vectors
        self.neighbours = text_neighbours(texts, top_k=self.top_k, temperature=self.temperature)
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Score all items: float32 `[batch, num_items]`; 0 for an item that is a neighbour of none of the history.

        Raises:
            RuntimeError: before `fit`.
        """
        if self.neighbours is None:
            raise RuntimeError("TextNeighbours has not compared any texts yet: call fit(dataset) first.")
        return self.neighbours.sum_of_rows(histories, self.history_decay)


__all__ = ["TextNeighbours"]
