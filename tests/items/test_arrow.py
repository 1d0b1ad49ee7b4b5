"""The Arrow table of a catalogue: no repeated or empty ids, no items without text."""

from __future__ import annotations

import logging

import numpy as np
import pyarrow as pa
import pytest

from recformer_hf.items.arrow import attribute_dicts, is_list, is_string, record_batch
from recformer_hf.items.catalog import ItemCatalog
from tests.support.catalogs import as_dict


class TestChecked:
    ROWS = (
        {"item_id": "a", "title": "A"},
        {"item_id": " ", "title": "B"},
        {"item_id": "a", "title": "C"},
        {"item_id": None, "title": "D"},
        {"item_id": "e", "title": " \t"},
        {"item_id": "f"},
        {"item_id": "g", "title": "G"},
        {"item_id": "a", "title": "H"},
    )

    def test_an_error_counts_them_and_shows_the_first(self):
        with pytest.raises(ValueError, match="6 of 8 items") as error:
            ItemCatalog.from_rows(self.ROWS)
        for part in (
            "2 with an empty id, in rows (1, 3)",
            "2 with the id of an earlier one ('a', 'a')",
            "2 without text ('e', 'f')",
        ):
            assert part in str(error.value)

    def test_or_they_are_dropped_and_counted(self, caplog):
        logging.getLogger("recformer_hf").propagate = True
        with caplog.at_level("WARNING"):
            catalog = ItemCatalog.from_rows(self.ROWS, on_invalid="drop")
        assert as_dict(catalog) == {"a": {"title": "A"}, "g": {"title": "G"}}
        assert "6 of 8 items" in caplog.text

    def test_of_a_repeated_id_the_first_with_text_stays(self):
        rows = [{"item_id": "a", "title": ""}, {"item_id": "a", "title": "text"}]
        assert as_dict(ItemCatalog.from_rows(rows, on_invalid="drop")) == {"a": {"title": "text"}}

    def test_long_lists_are_cut(self):
        with pytest.raises(ValueError, match=r"7 without text \('0', '1', '2', '3', '4', \.\.\.\)"):
            ItemCatalog.from_items({i: {"t": ""} for i in range(7)})


def test_a_record_batch_leaves_out_attributes_without_a_key_or_a_value():
    keys, values = pa.array(["a", None, "b", "c"]), pa.array(["1", "2", None, ""])
    batch = record_batch(pa.array(["x", "y"]), np.array([0, 2, 4]), keys, values)
    assert list(attribute_dicts(batch)) == [{"a": "1"}, {"c": ""}]
    assert list(attribute_dicts(batch.slice(1))) == [{"c": ""}]


def test_types_of_text_and_of_lists_are_recognised():
    texts = [pa.string(), pa.large_string(), pa.string_view()]
    lists = [kind(pa.int64()) for kind in (pa.list_, pa.large_list, pa.list_view, pa.large_list_view)]
    lists.append(pa.list_(pa.string(), 2))
    others = [
        pa.null(),
        pa.binary(),
        pa.int64(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.struct([("list", pa.string())]),
    ]
    for kind in [*texts, *lists, *others]:
        assert (is_string(kind), is_list(kind)) == (kind in texts, kind in lists)
