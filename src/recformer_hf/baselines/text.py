"""`LastItemText`: the items whose text is nearest to that of the last item."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset

_WORD = re.compile(r"\w\w+")


class LastItemText:
    """Scores an item by the cosine of its vector with the vector of the history's last item.

    Without `vectors` these are TF-IDF vectors of the attributes' values: lower-cased words of two or more characters, a
    word's weight `(1 + ln tf) * (1 + ln((1 + num_items) / (1 + df)))`. They are kept as an inverted index, so memory
    grows with the words of the catalogue, not with items times vocabulary.

    Args:
        vectors: float `[num_items, width]`, array or tensor, to use instead, such as an encoder's vectors of the items.
            A vector of zeros has a cosine of 0 with everything.

    Raises:
        ValueError: if the vectors are not of that shape, or not finite.
    """

    def __init__(self, vectors: Any = None) -> None:
        self.vectors: np.ndarray | None = None
        self.index: TextIndex | None = None
        if vectors is None:
            return
        array = vectors.detach().float().cpu().numpy() if isinstance(vectors, Tensor) else np.asarray(vectors)
        if array.ndim != 2 or not np.isfinite(array).all():
            raise ValueError(f"vectors must be [num_items, width] and finite, got the shape {list(array.shape)}.")
        array = array.astype(np.float32)
        self.vectors = array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-12)

    def fit(self, dataset: SequentialDataset) -> LastItemText:
        """Index the texts of `dataset.catalog`; given vectors only have to be as many.

        Raises:
            ValueError: if they are not.
        """
        if self.vectors is None:
            self.index = TextIndex.build(" ".join(item.values()) for item in dataset.catalog)
        elif len(self.vectors) != len(dataset.catalog):
            raise ValueError(f"{len(self.vectors):,} vectors for {len(dataset.catalog):,} items; expected one each.")
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """float32 `[batch, num_items]`.

        Raises:
            RuntimeError: before `fit`.
            ValueError: for an empty history.
        """
        empty = [row for row, history in enumerate(histories) if len(history) == 0]
        if empty:
            raise ValueError(f"History {empty[0]} is empty; expected a last item to compare with.")
        last = np.array([int(history[-1]) for history in histories])
        if self.vectors is not None:
            return self.vectors[last] @ self.vectors.T
        if self.index is None:
            raise RuntimeError("LastItemText has read no texts yet: call fit(dataset) first.")
        items, rows = np.unique(last, return_inverse=True)  # users share last items
        return np.stack([self.index.cosines(item) for item in items.tolist()])[rows]


@dataclass(frozen=True, eq=False)
class TextIndex:
    """TF-IDF vectors of length 1, by item and by word.

    Args:
        words: int32 `[total]`, the words of item `i` are `words[offsets[i] : offsets[i + 1]]`.
        weights: float32 `[total]`, likewise.
        offsets: int64 `[num_items + 1]`.
        word_items: int32 `[total]`, the items with word `w` are `word_items[word_offsets[w] : word_offsets[w + 1]]`.
        word_weights: float32 `[total]`, likewise.
        word_offsets: int64 `[num_words + 1]`.
    """

    words: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    word_items: np.ndarray
    word_weights: np.ndarray
    word_offsets: np.ndarray

    @classmethod
    def build(cls, texts: Iterable[str]) -> TextIndex:
        """Index texts, one an item."""
        vocabulary: dict[str, int] = {}
        words_of_items = [
            np.array([vocabulary.setdefault(word, len(vocabulary)) for word in _WORD.findall(text.lower())], np.int64)
            for text in texts
        ]
        num_items, num_words = len(words_of_items), max(1, len(vocabulary))
        owner = np.repeat(np.arange(num_items), [len(words) for words in words_of_items])
        pairs, tf = np.unique(
            owner * num_words + np.concatenate([np.zeros(0, np.int64), *words_of_items]), return_counts=True
        )
        items, words = pairs // num_words, pairs % num_words
        df = np.bincount(words, minlength=num_words)
        weights = (1 + np.log(tf)) * (1 + np.log((1 + num_items) / (1 + df[words])))
        lengths = np.sqrt(np.bincount(items, weights**2, minlength=num_items))
        weights = (weights / lengths[items]).astype(np.float32)
        by_word = np.argsort(words, kind="stable")
        return cls(
            words=words.astype(np.int32),
            weights=weights,
            offsets=np.searchsorted(items, np.arange(num_items + 1)),
            word_items=items[by_word].astype(np.int32),
            word_weights=weights[by_word],
            word_offsets=np.searchsorted(words[by_word], np.arange(num_words + 1)),
        )

    def cosines(self, item: int) -> np.ndarray:
        """Cosine of one item with every item, float32 `[num_items]`; 0 with an item without words."""
        own = slice(self.offsets[item], self.offsets[item + 1])
        sums = np.zeros(len(self.offsets) - 1, np.float32)
        for word, weight in zip(self.words[own].tolist(), self.weights[own].tolist(), strict=True):
            found = slice(self.word_offsets[word], self.word_offsets[word + 1])
            sums[self.word_items[found]] += weight * self.word_weights[found]  # an item has a word once
        return sums


__all__ = ["LastItemText", "TextIndex"]
