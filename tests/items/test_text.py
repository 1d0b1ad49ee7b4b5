"""Item dictionaries as the text that tokenizer and catalogue read."""

from __future__ import annotations

import numpy as np
import pytest

from recformer_hf.items.places import Place
from recformer_hf.items.text import (
    all_attributes,
    as_histories,
    attribute_text,
    is_text,
    item_attributes,
    shown,
    without_lone_surrogates,
)


class TestAttributeText:
    def test_values_are_the_texts_that_the_tokenizer_makes(self):
        values = [
            "a",
            "",
            7,
            2.5,
            20.0,
            True,
            np.int64(3),
            np.float32(9.99),
            ["x", "", None, 4],
            (),
            np.array(["p", "q"]),
        ]
        for value in values:
            ours = item_attributes({"key": attribute_text(value), "other": "o"}, 3, "item")
            assert ours == item_attributes({"key": value, "other": "o"}, 3, "item")


class TestAttributesOfItems:
    def test_missing_ones_do_not_count(self):
        item = {"a": None, "b": "x", "c": " ", "d": 5, "e": "z"}
        assert item_attributes(item, 2) == [("b", "x"), ("d", "5")]

    def test_errors_name_the_item(self):
        with pytest.raises(TypeError, match=r"^Item 1 must be a dictionary"):
            all_attributes([{"a": "x"}, "b"], 3)
        with pytest.raises(ValueError, match=r"^Item 1 of history 4 is empty"):
            all_attributes([{"a": "x"}, {}], 3, Place(history=4))
        with pytest.raises(ValueError, match=r"^The item is empty"):
            item_attributes({"a": ""}, 3)


@pytest.mark.parametrize(
    ("data", "histories", "places"),
    [
        ({"a": "x"}, [[{"a": "x"}]], ["The item"]),
        ([{"a": "x"}], [[{"a": "x"}]], ["The history"]),
        ([[{"a": "x"}], []], [[{"a": "x"}], []], ["History 0", "History 1"]),
    ],
)
def test_an_item_a_history_or_a_batch(data, histories, places):
    found, named = as_histories(data)
    assert found == histories
    assert [str(place) for place in named] == places


def test_plain_text():
    assert all(is_text(text) for text in ("a", ["a", "b"], [["a", "b"], ("c", "d")]))
    assert not any(is_text(items) for items in ([], {"a": "x"}, [{"a": "x"}], ["a", {"b": "x"}], 5))


def test_lone_surrogates_are_joined_or_replaced():
    assert without_lone_surrogates("\ud83d\ude00 \ud800 é") == "\U0001f600 \ufffd é"
    assert without_lone_surrogates("日本 a") == "日本 a"


def test_what_cannot_be_shown():
    class Broken:
        def __repr__(self):
            raise RuntimeError

    assert shown({"a": 1}) == "{'a': 1}"
    assert "Broken" in shown(Broken())
    assert shown("\ud800") == "'\\ud800'"
