"""Rows and columns of every kind as the text of items, in record batches."""

from __future__ import annotations

import pyarrow as pa
import pytest

from recformer_hf.items.catalog import ItemCatalog
from tests.support.catalogs import as_dict, numbered


class TestBatches:
    def test_missing_values_leave_the_key_out_and_empty_texts_stay(self):
        catalog = ItemCatalog.from_items({1: {"a": None, "b": float("nan"), "c": "", "d": 5}})
        assert as_dict(catalog) == {"1": {"c": "", "d": "5"}}

    def test_halves_of_surrogate_pairs_are_joined_or_replaced(self):
        assert ItemCatalog.from_items({"a": {"t": "\ud83d\ude00 \ud800"}})[0] == {"t": "\U0001f600 \ufffd"}

    def test_columns_of_every_kind_become_text(self):
        table = pa.table(
            {
                "id": pa.array([10, 11], pa.int64()),
                "price": pa.array([9.99, None], pa.float32()),
                "year": pa.array([1999, 2001], pa.int16()),
                "tags": pa.array([["a", None, "b"], []]),
                "new": pa.array([True, None]),
                "kind": pa.array(["x", None]).dictionary_encode(),
                "none": pa.nulls(2),
            }
        )
        catalog = ItemCatalog.from_arrow(table.slice(0, 1), id_column="id")
        assert as_dict(catalog) == {"10": {"price": "9.99", "year": "1999", "tags": "a b", "new": "True", "kind": "x"}}
        assert ItemCatalog.from_arrow(table.slice(1), id_column="id")[0] == {"year": "2001"}

    def test_chunks_do_not_show(self, monkeypatch):
        whole = numbered(10)
        monkeypatch.setattr("recformer_hf.items.batches.CHUNK_ROWS", 3)
        chunked = numbered(10)
        assert chunked.table.column(0).num_chunks == 4
        assert chunked == whole
        assert list(chunked) == list(whole)
        assert ItemCatalog.from_arrow(whole.table) == whole

    @pytest.mark.parametrize(
        ("items", "message"),
        [
            ({"x": {"details": {"a": b"1"}}}, "Item 0 .id 'x'.: the value of 'details' is or holds bytes"),
            ({"x": {"cats": {"a", "b"}}}, "'cats' is or holds a set"),
            ({"x": {3: "a"}}, "has the key 3 of type int"),
            ({"x": "title"}, "is a str; expected a mapping"),
            ({1.5: {"a": "b"}}, "1.5 is a float.*pandas"),
            ({True: {"a": "b"}}, "True is a bool"),
        ],
    )
    def test_what_cannot_be_text_is_named(self, items, message):
        with pytest.raises(TypeError, match=message):
            ItemCatalog.from_items(items)

    def test_a_null_value_of_a_pair_leaves_its_key_out(self):
        pairs = [[{"key": "a", "value": None}, {"key": "b", "value": "x"}], None, [{"key": "c", "value": "y"}]]
        table = pa.table({"item_id": ["1", "2", "3"], "attributes": pairs})
        assert as_dict(ItemCatalog.from_arrow(table, on_invalid="drop")) == {"1": {"b": "x"}, "3": {"c": "y"}}

    def test_a_repeated_key_of_a_pair_is_named(self):
        pairs = [[{"key": "a", "value": "x"}], [{"key": "b", "value": "1"}, {"key": "b", "value": "2"}]]
        with pytest.raises(ValueError, match="Row 1 has the key 'b' twice"):
            ItemCatalog.from_arrow(pa.table({"item_id": ["1", "2"], "attributes": pairs}))

    def test_attributes_are_a_list_of_distinct_names(self):
        for rows in (
            [{"item_id": 1, "title": "A", "brand": "X"}],
            pa.table({"item_id": [1], "title": ["A"], "brand": ["X"]}),
        ):
            assert list(ItemCatalog.from_rows(rows, attributes=["brand", "item_id"])[0]) == ["brand", "item_id"]
            with pytest.raises(ValueError, match="The attribute 'title' is asked for twice"):
                ItemCatalog.from_rows(rows, attributes=["title", "title"])
            with pytest.raises(TypeError, match="attributes= is a list of names, got 'title'"):
                ItemCatalog.from_rows(rows, attributes="title")
