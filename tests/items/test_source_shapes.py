"""Columns instead of rows, paths and single values are named, not read as items."""

from __future__ import annotations

from pathlib import Path

import pytest

from recformer_hf.items.catalog import ItemCatalog
from recformer_hf.items.source_shapes import (
    refuse_no_rows,
    refuse_row_numbers_as_ids,
    refuse_transposed,
    refuse_transposed_file,
)

COLUMNS = {"item_id": {"0": "B01", "1": "B02"}, "title": {"0": "A", "1": "B"}}


@pytest.mark.parametrize("rows", ["items.csv", Path("items.csv"), {"item_id": ["a"]}, 5, None])
def test_what_is_no_list_of_rows(rows):
    with pytest.raises(TypeError, match=r"from_rows takes .*from_"):
        refuse_no_rows(rows)
    with pytest.raises(TypeError, match=r"from_rows takes .*from_"):
        ItemCatalog.from_rows(rows)


def test_columns_of_pandas_are_no_items():
    for items in (
        COLUMNS,
        {name: {int(row): value for row, value in column.items()} for name, column in COLUMNS.items()},
    ):
        with pytest.raises(ValueError, match=r"look like columns.*called 'item_id', 'title'.*from_pandas"):
            ItemCatalog.from_items(items)
    with pytest.raises(TypeError, match=r"Item 0 \(id 'item_id'\) is a list.*from_arrow\(pyarrow.table"):
        ItemCatalog.from_items({"item_id": ["B01"], "title": ["A"]})


@pytest.mark.parametrize(
    "content",
    [
        COLUMNS,
        {"asin": {"5": "B01", "9": "B02"}, "name": {"5": "A", "9": "B"}},
        {"title": {"B01": "A", "B02": "B"}, "brand": {"B01": "X", "B02": "Y"}},
        {"asin": {"x": "B01"}},
    ],
)
def test_columns_in_a_file_are_no_items(content):
    with pytest.raises(ValueError, match="look like columns"):
        refuse_transposed_file(content, "asin")


@pytest.mark.parametrize(
    "items",
    [
        {},
        {"item_id": {"title": "A"}},
        {"B01": {"title": "A"}, "B02": {"title": "B"}},
        {"1": {"1": "A"}},
        {"title": {"title": "A"}},
        {"B01": {"1": "A"}, "B02": {"2": "B"}},
        {"B01": "no mapping"},
    ],
)
def test_items_are_items(items):
    refuse_transposed(items)
    refuse_transposed_file(items, "asin")
    refuse_row_numbers_as_ids(items, "asin")


def test_row_numbers_of_pandas_are_no_ids():
    rows = {"0": {"asin": "B01", "title": "A"}, "1": {"asin": "B02", "title": "B"}}
    with pytest.raises(ValueError, match="The keys are row numbers, and every item has an 'asin'"):
        refuse_row_numbers_as_ids(rows, "asin")
    refuse_row_numbers_as_ids(rows, "item_id")
    refuse_row_numbers_as_ids({"0": {"asin": 0}, "1": {"asin": 1}}, "asin")
    refuse_row_numbers_as_ids({"B01": {"asin": "B01"}}, "asin")
