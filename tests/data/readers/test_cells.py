"""Cells: values of parsed lines and columns of tables become what readers return."""

from __future__ import annotations

import json

import polars as pl
import pytest

from recformer_hf.data.readers.cells import cell_value, column_as_text, id_as_text


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ("text", pl.String, "text"), (5, pl.String, "5"), (5.0, pl.String, "5"), (2.5, pl.String, "2.5"),
        (True, pl.String, None), (None, pl.String, None), ({"a": 1}, pl.String, None), (["a"], pl.String, None),
        ("\ud83d", pl.String, "\ufffd"),
        (5, pl.Int64, 5), ("5", pl.Int64, 5), (5.0, pl.Int64, 5), (5.5, pl.Int64, None), (2**63, pl.Int64, None),
        ("five", pl.Int64, None), (True, pl.Int64, None), (float("inf"), pl.Int64, None), ([5], pl.Int64, None),
        (["a", 1, None], pl.List(pl.String), ["a", "1", None]), ("a", pl.List(pl.String), None),
        ([["a"], "b"], pl.List(pl.List(pl.String)), [["a"], None]),
    ],
)  # fmt: skip
def test_a_value_takes_its_columns_type_or_none(value, dtype, expected):
    assert cell_value(value, dtype) == expected


@pytest.mark.parametrize("value", ["text", 5, 2.5, None])
def test_a_value_becomes_the_text_that_polars_makes_of_it(value):
    (found,) = pl.read_ndjson(json.dumps({"a": value}).encode(), schema={"a": pl.String})["a"]
    assert cell_value(value, pl.String) == found


def test_columns_become_stripped_text_and_lists_are_joined():
    frame = pl.DataFrame(
        {"text": [" a ", "  ", None], "number": [1.5, 2.0, None], "list": [["x", None, "y"], [], None]}
    )
    columns = {name: frame.select(column_as_text(frame, name)).to_series().to_list() for name in frame.columns}
    assert columns == {"text": ["a", None, None], "number": ["1.5", "2.0", None], "list": ["x y", None, None]}


def test_ids_become_text_as_they_are():
    frame = pl.DataFrame({"whole": [7, None], "text": [" 07", ""]})
    assert frame.select(id_as_text("whole"), id_as_text("text")).rows() == [("7", " 07"), (None, "")]
