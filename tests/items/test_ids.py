"""Look-up of rows by id and of ids by row."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

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

    @pytest.mark.parametrize(
        "item_id",
        [7, 7.0, np.int8(7), np.float32(7), np.float16(7), Decimal("7.0"), np.str_("7"), pa.scalar(7)],
    )
    def test_whole_numbers_of_any_type(self, item_id):
        catalog = ItemCatalog.from_items({item_id: {"t": "seven"}})
        assert catalog.ids == ["7"]
        assert catalog.row_of(item_id) == catalog.rows_of([item_id])[0] == 0
        assert item_id in catalog

    @pytest.mark.parametrize(
        ("item_id", "problem"),
        [
            (True, "a bool"),
            (np.True_, "a bool"),
            (1.5, "1.5 is a float; expected .* pandas"),
            (float("inf"), "inf is a float"),
            (2.0**53, "so large that digits were lost"),
            (np.float32(2**24), "so large that digits were lost"),
            (Decimal("1.5"), "a Decimal"),
            (b"7", "decode it"),
            ([7], "a list"),
            (np.timedelta64(7), "a timedelta64"),
            (datetime(2020, 1, 1), "a datetime"),
        ],
    )
    def test_anything_else_is_no_id(self, item_id, problem):
        catalog = ItemCatalog.from_items({7: {"t": "seven"}})
        with pytest.raises(TypeError, match=problem):
            catalog.row_of(item_id)
        with pytest.raises(TypeError, match=rf"{problem}.* row 1\."):
            catalog.rows_of([7, item_id], unknown="mark")
        with pytest.raises(TypeError, match=rf"Row 0: The item id .*{problem}"):
            ItemCatalog.from_rows([{"item_id": item_id, "t": "x"}])
        assert item_id not in catalog

    @pytest.mark.parametrize("missing", [None, float("nan"), np.datetime64("NaT"), Decimal("NaN"), pa.scalar(None)])
    def test_missing_ids(self, missing):
        catalog = ItemCatalog.from_items({7: {"t": "seven"}})
        with pytest.raises(UnknownItemError, match=r"No item .* in the catalogue"):
            catalog.row_of(missing)
        assert catalog.rows_of([missing, 7], unknown="mark").tolist() == [-1, 0]
        rows = [{"item_id": missing, "t": "x"}, {"item_id": "nan", "t": "y"}]
        assert ItemCatalog.from_rows(rows, on_invalid="drop").ids == ["nan"]

    def test_columns_of_ids(self):
        pd = pytest.importorskip("pandas")
        catalog = ItemCatalog.from_items({1: {"t": "x"}, 2: {"t": "y"}})
        for ids in (
            *(pd.Series([2.0, np.nan]), pd.Categorical(["2", None]), pd.array([2, None], "Int64")),
            *(pa.array([2.0, None]), pa.array(["2", None]).dictionary_encode(), pa.chunked_array([[2], [None]])),
            *(pa.array([Decimal(2), None]), np.array([2.0, np.nan], np.float32)),
        ):
            assert catalog.rows_of(ids, unknown="mark").tolist() == [1, -1]
        for ids in (pa.array([1.5]), pa.array([True]), pa.array([b"1"]), np.array([[1, 2]])):
            with pytest.raises(TypeError, match="The item id"):
                catalog.rows_of(ids)
        for ids in ("1", b"1", 5, None, {"1": 0}, pd.DataFrame({"item_id": [1]}), pa.table({"item_id": [1]})):
            with pytest.raises(TypeError, match=r"rows_of takes several ids"):
                catalog.rows_of(ids)

    @pytest.mark.parametrize("row", [1.0, True, "1", None, np.float64(0), np.True_])
    def test_a_row_is_a_whole_number(self, row):
        catalog = ItemCatalog.from_items(ITEMS)
        for read in (catalog.__getitem__, catalog.id_of):
            with pytest.raises(TypeError, match="A row of the catalogue is a whole number"):
                read(row)
        with pytest.raises(TypeError, match=r"Rows are whole numbers.*flatnonzero"):
            catalog.select([row])
        assert catalog[np.int32(1)] == ITEMS["B02"]
        assert catalog.id_of(np.uint64(1)) == "B02"

    def test_ids_read_like_a_list(self):
        ids = ItemCatalog.from_items(ITEMS).ids
        assert ids == ["B01", "B02", "B03"]
        assert ids != ["B01", "B02"]
        assert list(ids) == ["B01", "B02", "B03"]
        assert "B02" in ids
        assert "B04" not in ids
        assert repr(ids) == "['B01', 'B02', 'B03']"
