"""Item dictionaries as the text that tokenizer and catalogue read."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal

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
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("a", "a"),
            ("nan", "nan"),  # the words may be titles
            ("", ""),
            (7, "7"),
            (2**70, str(2**70)),
            (True, "True"),
            (np.bool_(False), "False"),
            (12.5, "12.5"),
            (5.0, "5.0"),
            (1e-05, "1e-05"),
            (1e20, "1e+20"),
            (np.float32(9.99), "9.99"),
            (np.float16(0.1), "0.1"),
            (Decimal("12.50"), "12.50"),
            (Decimal("1E+3"), "1000"),
            (Decimal("0E-4"), "0.0000"),
            (date(2019, 3, 31), "2019-03-31"),
            (time(17, 5), "17:05:00"),
            (datetime(2019, 3, 31), "2019-03-31 00:00:00"),
            (datetime(2019, 3, 31, 17, 5, tzinfo=timezone.utc), "2019-03-31 17:05:00+00:00"),
            (np.datetime64("2019-03-31"), "2019-03-31"),
            (np.datetime64("2019-03-31T17"), "2019-03-31 17:00:00"),
            (np.datetime64("2019-03-31T17:05:00", "ns"), "2019-03-31 17:05:00"),
            (np.datetime64("2019-03-31T17:05:00.5"), "2019-03-31 17:05:00.500000"),
            (np.datetime64("2019-03-31T17:05:00.000000001"), "2019-03-31 17:05:00.000000001"),
        ],
    )
    def test_a_value_is_written_as_a_person_would_print_it(self, value, text):
        assert attribute_text(value) == text
        assert attribute_text([value]) == (text or None)

    @pytest.mark.parametrize(
        "value",
        [
            *(None, float("nan"), float("inf"), -np.inf, np.float32("nan"), np.float16("inf"), np.ma.masked),
            *(Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), np.datetime64("NaT"), np.timedelta64("NaT")),
            *([], (), [None, "", " "], {}, {"a": None, "b": ""}, [[], {}], np.array([np.nan])),
        ],
    )
    def test_missing_values(self, value):
        assert attribute_text(value) is None
        assert attribute_text([value, "a"]) == "a"
        assert attribute_text({"x": value, "y": "a"}) == "y: a"

    def test_missing_values_of_pandas(self):
        pandas = pytest.importorskip("pandas")
        assert attribute_text([pandas.NA, pandas.NaT, "a"]) == "a"
        assert attribute_text(pandas.NA) is attribute_text(pandas.NaT) is None
        assert attribute_text(pandas.Timestamp("2019-03-31 17:05")) == "2019-03-31 17:05:00"
        assert attribute_text(pandas.Timestamp("2019-03-31 17:05:00.000000001")) == "2019-03-31 17:05:00.000000001"

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (["x", "", None, 4], "x 4"),
            (np.array(["p", "q"]), "p q"),
            (np.array([[1, 9.99]], np.float32), "1.0 9.99"),
            (np.array(5), "5"),
            ([["a", ("b",)], "c"], "a b c"),
            ({"Brand": "X", "Year": 2010}, "Brand: X, Year: 2010"),
            ({"a": {"b": [1, 2], "c": None}, 3: "d"}, "a: b: 1 2, 3: d"),
            ([{"a": 1}, {"b": 2.5}], "a: 1 b: 2.5"),
            ([[[[[[[["deep"]]]]]]]], "deep"),
        ],
    )
    def test_lists_are_joined_and_dictionaries_keep_their_keys(self, value, text):
        assert attribute_text(value) == text

    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            (b"a", "bytes; decode them"),
            (bytearray(b"a"), "bytes"),
            ({"a", "b"}, "a set; expected text"),
            (timedelta(1), "a timedelta"),
            (np.timedelta64(5, "s"), "a duration"),
            (1j, "a complex"),
            ({None: "a"}, "key None"),
            ([[[[[[[[["too deep"]]]]]]]]], "more than 8 lists"),
            pytest.param(10**5000, "a whole number too long", id="huge"),
            (Decimal("1E+9999"), "more than 4,300 digits"),
        ],
    )
    def test_anything_else_is_named(self, value, problem):
        with pytest.raises(TypeError, match=problem):
            attribute_text(value)
        with pytest.raises(TypeError, match=rf"^Item 3 has a value of type \w+ under 'k': .* It holds .*{problem}"):
            item_attributes({"k": value}, 3, "Item 3")

    def test_a_list_within_itself(self):
        endless: list[object] = []
        endless.append(endless)
        with pytest.raises(TypeError, match="more than 8 lists"):
            attribute_text(endless)

    def test_the_tokenizer_reads_the_same_texts(self):
        for value in ("a", "", 7, 2.5, np.float32(9.99), float("inf"), ["x", "", None, 4], (), {"a": 1}):
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
