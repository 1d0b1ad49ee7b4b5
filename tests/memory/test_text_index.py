"""TF-IDF vectors of unit length, by item and by word."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recformer_hf.memory.text_index import TextIndex, words_of


def test_words_have_two_letters_and_no_case() -> None:
    index = TextIndex.build(["Iron PAN a", "iron-pan", "wool"])
    assert index.cosines(0) == pytest.approx([1, 1, 0])
    assert len(index.word_offsets) - 1 == 3


def test_a_rare_word_weighs_more_and_a_repeated_one_grows_slowly() -> None:
    index = TextIndex.build(["iron iron wool", "iron pan"])
    iron, other = (1 + math.log(2)) * (1 + math.log(3 / 3)), 1 + math.log(3 / 2)
    first, second = np.array([iron, other, 0]), np.array([1, 0, other])
    expected = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert index.cosines(0) == pytest.approx([1, expected])


def test_both_sides_hold_the_same_weights() -> None:
    index = TextIndex.build(["iron pan", "iron wool hat", "", "hat"])
    by_item = {
        (item, int(word)): weight
        for item in range(4)
        for word, weight in zip(
            index.words[index.offsets[item] : index.offsets[item + 1]],
            index.weights[index.offsets[item] : index.offsets[item + 1]],
            strict=True,
        )
    }
    by_word = {
        (int(item), word): weight
        for word in range(4)
        for item, weight in zip(
            index.word_items[index.word_offsets[word] : index.word_offsets[word + 1]],
            index.word_weights[index.word_offsets[word] : index.word_offsets[word + 1]],
            strict=True,
        )
    }
    assert by_item == by_word
    assert len(by_item) == 6


def test_texts_without_words_are_like_nothing() -> None:
    assert TextIndex.build(["", "a b"]).cosines(0).tolist() == [0, 0]
    assert len(TextIndex.build([]).offsets) == 1


def test_words_are_numbered_in_the_order_of_their_first_appearance() -> None:
    texts = ["wool Iron", "a pan, iron", "pan hat wool"]
    assert words_of(texts[1]) == ["pan", "iron"]
    numbered = list(dict.fromkeys(word for text in texts for word in words_of(text)))
    index = TextIndex.build(texts)
    for text, start, stop in zip(texts, index.offsets, index.offsets[1:], strict=False):
        assert {numbered[word] for word in index.words[start:stop]} == set(words_of(text))
