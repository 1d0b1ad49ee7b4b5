"""Cells: values of parsed lines and columns of tables become what readers return."""

from __future__ import annotations

import polars as pl
import pytest

from recformer_hf.data.readers.cells import (
    WHITE_SPACE,
    CellError,
    column_as_text,
    id_text,
    ids_as_text,
    item_text,
    lists_of_text_series,
    text_series,
    time_text,
)
from recformer_hf.data.readers.source import DataError


def test_columns_become_stripped_text_and_lists_are_joined():
    frame = pl.DataFrame(
        {"text": [" a ", "  ", None], "number": [1.5, 2.0, None], "list": [["x", None, "y"], [], None]}
    )
    columns = frame.select(column_as_text(name, kind) for name, kind in frame.schema.items()).to_dict(as_series=False)
    assert columns == {"text": ["a", None, None], "number": ["1.5", "2.0", None], "list": ["x y", None, None]}


def test_ids_become_text_as_they_are():
    assert ids_as_text(pl.Series([7, None])).to_list() == ["7", None]
    assert ids_as_text(pl.Series([" 07", ""])).to_list() == [" 07", ""]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"), (" 1.0", " 1.0"), ("nan", "nan"), ("", None), (" \n", None), (None, None), (7, "7"), (-7, "-7"),
        (2**70, str(2**70)), (7.0, "7"), ("\ud83d", "\ufffd"), (float("nan"), None),
    ],
)  # fmt: skip
def test_an_id_is_text_or_digits(value, text):
    assert id_text(value) == text


@pytest.mark.parametrize("value", [1.5, float("inf"), 2.0**53, True, ["a"], {"a": 1}, b"a"])
def test_what_is_no_id_is_refused(value):
    with pytest.raises(CellError):
        id_text(value)


def test_columns_of_ids_are_converted_by_the_rule_of_single_ids():
    for kind in (pl.Int8, pl.UInt64, pl.Float32, pl.Float64, pl.Decimal(10, 2), pl.Int128):
        assert ids_as_text(pl.Series([7, None, 0], dtype=kind)).to_list() == ["7", None, "0"]
    assert ids_as_text(pl.Series([1.5, float("nan"), float("inf"), -3.0])).to_list() == [None, None, None, "-3"]
    assert ids_as_text(pl.Series(["1.50", "2.00"]).cast(pl.Decimal(10, 2))).to_list() == [None, "2"]
    assert ids_as_text(pl.Series(["x", None], dtype=pl.Categorical)).to_list() == ["x", None]
    for other in (pl.Series([True]), pl.Series([["a"]]), pl.Series([b"a"]), pl.Series([{"a": 1}]), pl.Series([None])):
        assert ids_as_text(other).to_list() == [None]
    for kind, number in ((pl.Float64, 2.0**53), (pl.Float32, 2.0**24)):
        with pytest.raises(DataError, match=r"'who' are floats .* have lost digits"):
            ids_as_text(pl.Series("who", [1.0, number], dtype=kind))
    with pytest.raises(DataError, match=r"'who' are floats \(Float16\) .* have lost digits, such as 2048"):
        ids_as_text(pl.Series("who", [1.0, 2048.0], dtype=pl.Float32), "Float16")


@pytest.mark.parametrize(
    ("value", "text"),
    [(5, "5"), (5.0, "5"), (5.25, "5.25"), ("1970-01-02", "1970-01-02"), (None, None), (float("nan"), None)],
)
def test_a_time_is_a_number_or_text(value, text):
    assert time_text(value) == text


@pytest.mark.parametrize("value", [True, [5], {"$date": 5}])
def test_what_is_no_time_is_refused(value):
    with pytest.raises(CellError):
        time_text(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (" a ", "a"), ("", None), ("nan", "nan"), (None, None), (float("nan"), None), (float("-inf"), None),
        (12.5, "12.5"), (5.0, "5.0"), (2**70, str(2**70)), (True, "True"), (["a", None, "", 1], "a 1"), ([], None),
        ({"Brand": "X", "Year": 2010, "none": None}, "Brand: X, Year: 2010"), ({}, None),
        ([["a"], ["b", "c"]], "a b c"),
    ],
)  # fmt: skip
def test_an_attribute_is_what_the_catalogue_makes_of_it_and_stripped(value, text):
    assert item_text(value) == text


def test_white_space_is_what_python_strips():
    assert set(WHITE_SPACE) == {chr(code) for code in range(0x110000) if chr(code).isspace()}


def test_halves_of_surrogate_pairs_are_joined_or_replaced_in_columns():
    assert text_series("a", ["x", None, "\ud83d\ude00 \ud83d"]).to_list() == ["x", None, "\U0001f600 \ufffd"]
    lists = lists_of_text_series("a", [["x", "\ud83d"], None, []])
    assert (lists.to_list(), lists.dtype) == ([["x", "\ufffd"], None, []], pl.List(pl.String))
    assert lists_of_text_series("a", []).dtype == pl.List(pl.String)
    assert text_series("a", [None]).dtype == pl.String


def test_an_attribute_that_cannot_be_text_is_refused():
    for value in (b"bytes", [[[[[[[[[[1]]]]]]]]]]):
        with pytest.raises(CellError):
            item_text(value)
