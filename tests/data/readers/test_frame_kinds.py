"""Tables of any kind give the same columns; what is no table is named with what would be one."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from recformer_hf.data.readers.frame_kinds import opened_frame
from recformer_hf.data.readers.source import DataError
from recformer_hf.items.catalog import ItemCatalog
from tests.support.frames import KINDS, item_rows


def values(frame, name: str) -> list:
    column = frame.columns([name])[name]
    return column if isinstance(column, list) else column.to_pylist()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_columns_of_every_kind(kind):
    frame = opened_frame(KINDS[kind](item_rows()))
    assert ("row" in frame.counting) == (kind == "pandas, other index")
    # Newer versions of pandas make a RangeIndex of the ids 0, 1, 2, ...
    assert sorted({*frame.names, *frame.counting} - {"row"}) == ["name", "price", "tags", "what"]
    assert [int(value) for value in values(frame, "what")] == list(range(7))
    assert values(frame, "name") == [f"Item {row}" for row in range(7)]
    assert [list(value) for value in values(frame, "tags")] == [["a", f"t{row}"] for row in range(7)]


def test_a_catalogue_and_its_table_are_items():
    catalog = ItemCatalog.from_items({"x": {"title": "A", "tags": "b"}, "y": {"tags": "c"}})
    for table in (catalog, catalog.table, {"x": {"title": "A", "tags": "b"}, "y": {"tags": "c"}}):
        frame = opened_frame(table, "sku")
        assert frame.names == ["sku", "title", "tags"]
        assert [values(frame, name) for name in frame.names] == [["x", "y"], ["A", None], ["b", "c"]]


def test_keys_that_only_some_rows_have():
    frame = opened_frame([{"a": 1}, {"b": 2}])
    assert frame.names == ["a", "b"]
    assert (values(frame, "a"), values(frame, "b")) == ([1, None], [None, 2])


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ("shop.csv", TypeError, r"Expected a frame of pandas .* got 'shop.csv'. Files are read by"),
        (Path("shop.csv"), TypeError, "Files are read by"),
        (None, TypeError, "got a NoneType"),
        (7, TypeError, "got a int"),
        (np.zeros((2, 2)), TypeError, "got a ndarray"),
        (pd.Series([1, 2]), TypeError, "got a Series"),
        (pl.Series([1, 2]), TypeError, "got a Series"),
        ([("u", "i", 1)], TypeError, "Row 0 is .*, a tuple; expected a dictionary"),
        ([{"a": 1}, None], TypeError, "Row 1 is None"),
        ([{1: "x"}], TypeError, "A column is called 1, a int"),
        ({"a": [1], "b": [1, 2]}, DataError, r"different lengths: {'a': 1, 'b': 2}"),
        ({"a": "text"}, TypeError, "The column 'a' is 'text'; expected a list"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), TypeError, "Rename it to a text"),
    ],
)
def test_what_is_no_table_is_named(table, error, message):
    with pytest.raises(error, match=message):
        opened_frame(table)


def test_items_that_hold_the_name_of_the_ids():
    with pytest.raises(DataError, match="The item 'x' has the key 'sku', under which the ids are read"):
        opened_frame({"x": {"sku": "1", "title": "A"}}, "sku")


def test_several_splits():
    split = datasets.Dataset.from_list(item_rows())
    with pytest.raises(DataError, match=r"has 2 splits: \['a', 'b'\]. Pass one of them"):
        opened_frame(datasets.DatasetDict(a=split, b=split))


def test_of_two_columns_of_a_name_both_are_listed():
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    assert opened_frame(frame).names == ["a", "a"]
    assert opened_frame(pa.table([[1], [2]], names=["a", "a"])).names == ["a", "a"]


def test_a_lazy_frame_that_fails_is_named(tmp_path):
    lazy = pl.LazyFrame({"user_id": ["u"], "item_id": ["a"], "timestamp": ["x"]})
    with pytest.raises(DataError, match=r"polars LazyFrame cannot be computed .*'nope'|\"nope\""):
        opened_frame(lazy.select("nope"))
    opened = opened_frame(lazy.with_columns(pl.col("timestamp").cast(pl.Int64)))
    with pytest.raises(DataError, match=r"polars LazyFrame cannot be computed .*timestamp.*\.collect\(\)"):
        opened.columns(["timestamp"])
    with pytest.raises(DataError, match="cannot be computed"):
        opened_frame(pl.scan_parquet(tmp_path / "missing.parquet")).columns(["a"])
