"""`LastItemText`: recommends the items whose text is nearest to that of the history's last item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from ..memory.text_index import TextIndex

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset


class LastItemText:
    """Scores an item by the cosine of its vector with the vector of the history's last item.

    By default these are the TF-IDF vectors of the attributes' values ([`TextIndex`]).

    Args:
        vectors: float `[num_items, width]`, used instead of TF-IDF vectors, for example an encoder's vectors of the
            items. A vector of zeros has a cosine of 0 with every item.

    Raises:
        ValueError: if the vectors have another shape, or are not finite.
    """

    def __init__(self, vectors: ArrayLike | Tensor | None = None) -> None:
        self.vectors: np.ndarray | None = None
        self.index: TextIndex | None = None
        if vectors is None:
            return
        array = vectors.detach().float().cpu().numpy() if isinstance(vectors, Tensor) else np.asarray(vectors)
        if array.ndim != 2 or not np.isfinite(array).all():
            raise ValueError(f"vectors must be [num_items, width] and finite, got the shape {list(array.shape)}.")
        array = array.astype(np.float32)
        # A vector of zeros is divided by a small number and stays zero; dividing by its norm would give NaN.
        self.vectors = array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-12)

    def fit(self, dataset: SequentialDataset) -> LastItemText:
        """Index the texts of `dataset.catalog`, or check that there is one given vector for each item.

        Raises:
            ValueError: if there are more or fewer vectors than items.
        """
        if self.vectors is None:
            self.index = TextIndex.build(" ".join(item.values()) for item in dataset.catalog)
        elif len(self.vectors) != len(dataset.catalog):
            raise ValueError(f"{len(self.vectors):,} vectors for {len(dataset.catalog):,} items; expected as many.")
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Score all items: float32 `[batch, num_items]`.

        Raises:
            RuntimeError: before `fit`.
            ValueError: for an empty history.
        """
        empty = [row for row, history in enumerate(histories) if len(history) == 0]
        if empty:
            raise ValueError(f"History {empty[0]} is empty; expected a last item to compare with.")
        last = np.array([int(history[-1]) for history in histories])
        if self.vectors is not None:
            cosines: np.ndarray = self.vectors[last] @ self.vectors.T
            return cosines
        if self.index is None:
            raise RuntimeError("LastItemText has not indexed any texts yet: call fit(dataset) first.")
        # Users share last items, and the cosines of an item take a walk through the index.
        items, rows = np.unique(last, return_inverse=True)
        return np.stack([self.index.cosines(item) for item in items.tolist()])[rows]


__all__ = ["LastItemText"]
