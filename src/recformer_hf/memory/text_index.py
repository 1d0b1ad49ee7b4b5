"""`TextIndex`: TF-IDF vectors of texts, and the cosines of one text with all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_WORD = re.compile(r"\w\w+")


def words_of(text: str) -> list[str]:
    """The words of a text, lower-cased, of two or more characters."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True, eq=False)
class TextIndex:
    """TF-IDF vectors of unit length, stored by item and by word.

    Words are lower-cased and have two or more characters. A word weighs
    `(1 + ln tf) * (1 + ln((1 + num_items) / (1 + df)))` before a vector is normalised. Only the words that occur are
    stored, so memory grows with the words of the catalogue, not with items times vocabulary. Words are numbered in the
    order of their first appearance ([`words_of`]).

    Args:
        words: int32 `[total]`, the words of item `i` are `words[offsets[i] : offsets[i + 1]]`.
        weights: float32 `[total]`, the weight of each of `words`.
        offsets: int64 `[num_items + 1]`.
        word_items: int32 `[total]`, the items with word `w` are `word_items[word_offsets[w] : word_offsets[w + 1]]`.
        word_weights: float32 `[total]`, the weight of the word in each of `word_items`.
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
        """Index texts, one for each item."""
        vocabulary: dict[str, int] = {}
        words_of_items = [
            np.array([vocabulary.setdefault(word, len(vocabulary)) for word in words_of(text)], np.int64)
            for text in texts
        ]
        num_items, num_words = len(words_of_items), max(1, len(vocabulary))
        owner = np.repeat(np.arange(num_items), [len(words) for words in words_of_items])
        # Without the empty array a catalogue without items would have nothing to concatenate.
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
            # += adds once for each distinct index, which is enough: an item has a word only once.
            sums[self.word_items[found]] += weight * self.word_weights[found]
        return sums


__all__ = ["TextIndex", "words_of"]
