"""Look-up of rows by id and of ids by row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

from recformer_hf.items.catalog import ItemCatalog, UnknownItemError
from tests.support.catalogs import ITEMS, item_maps, numbered


class TestLookUp:
    @settings(max_examples=30, deadline=None)
    @given(items=item_maps)
    def test_both_ways(self, items):
        catalog = ItemCatalog.from_items(items)
        for row, item_id in enumerate(items):
            assert catalog.id_of(row) == item_id
            assert catalog.row_of(item_id) == row
        assert catalog.rows_of(list(items)).tolist() == list(range(len(items)))

    @pytest.mark.parametrize("count", [3, 2000])  # few ids of a large catalogue take another path
    def test_rows_of_many(self, count):
        catalog = numbered(count)
        wanted = ["id000002", "id000000", "id000002"]
        for ids in (
            wanted,
            tuple(wanted),
            np.array(wanted),
            pa.array(wanted),
            pa.chunked_array([wanted[:1], wanted[1:]]),
        ):
            rows = catalog.rows_of(ids)
            assert rows.dtype == np.int32
            assert rows.tolist() == [2, 0, 2]
        assert catalog.rows_of(["id000001", "?", None, ""], unknown="mark").tolist() == [1, -1, -1, -1]
        assert catalog.rows_of([]).tolist() == []
        with pytest.raises(UnknownItemError, match=r"2 of 3 ids .* the first: 'id00001x', '\?'\. Closest: 'id"):
            catalog.rows_of(["id000001", "id00001x", "?"])

    def test_an_unknown_id_shows_the_closest(self):
        catalog = ItemCatalog.from_items({name: {"t": name} for name in ("hammer", "nail", "rake", "spade")})
        with pytest.raises(KeyError) as error:
            catalog.row_of("hamer")
        assert str(error.value) == "No item 'hamer' in the catalogue of 4 items. Closest: 'hammer'."
        with pytest.raises(UnknownItemError, match=r"No item '\?' in the catalogue of 4 items\.$"):
            catalog.row_of("?")

    def test_whole_numbers_are_their_digits(self):
        catalog = ItemCatalog.from_items({7: {"t": "seven"}, "08": {"t": "eight"}})
        assert catalog.row_of(7) == catalog.row_of("7") == 0
        assert catalog.rows_of(np.array([7])).tolist() == [0]
        assert catalog.rows_of(pa.array([7])).tolist() == [0]
        assert 7 in catalog
        assert 8 not in catalog
        assert 7.5 not in catalog

    def test_ids_read_like_a_list(self):
        ids = ItemCatalog.from_items(ITEMS).ids
        assert ids == ["B01", "B02", "B03"]
        assert ids != ["B01", "B02"]
        assert list(ids) == ["B01", "B02", "B03"]
        assert "B02" in ids
        assert "B04" not in ids
        assert repr(ids) == "['B01', 'B02', 'B03']"
