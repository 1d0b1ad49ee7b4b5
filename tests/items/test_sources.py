"""Every source of an `ItemCatalog`: what goes in comes out, in order."""

from __future__ import annotations

import csv
import gzip
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from recformer_hf.items.catalog import ItemCatalog
from tests.support.catalogs import BY_COLUMNS, COLUMNS, ITEMS, ROWS, as_dict, item_maps


class TestSources:
    def test_items_keep_their_own_order_of_keys_and_no_keys_are_added(self):
        catalog = ItemCatalog.from_items(ITEMS)
        assert [(item_id, list(item.items())) for item_id, item in as_dict(catalog).items()] == [
            (item_id, list(item.items())) for item_id, item in ITEMS.items()
        ]

    @settings(max_examples=50, deadline=None)
    @given(items=item_maps)
    def test_any_texts_come_back(self, items):
        catalog = ItemCatalog.from_items(items)
        assert as_dict(catalog) == items
        assert [catalog[row] for row in range(len(catalog))] == list(items.values())
        assert catalog[:] == list(items.values())

    def test_all_row_sources_agree(self, tmp_path):
        expected = ItemCatalog.from_items(ITEMS)
        (tmp_path / "map.json").write_text(json.dumps(ITEMS))
        (tmp_path / "rows.json").write_text(json.dumps(ROWS), "utf-8")
        lines = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
        (tmp_path / "rows.jsonl").write_text(lines, "utf-8-sig")
        with gzip.open(tmp_path / "rows.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write(lines)
        assert ItemCatalog.from_rows(iter(ROWS)) == expected
        assert ItemCatalog.from_json(tmp_path / "map.json") == expected
        assert ItemCatalog.from_json(tmp_path / "rows.json") == expected
        assert ItemCatalog.from_jsonl(tmp_path / "rows.jsonl") == expected
        assert ItemCatalog.from_jsonl(str(tmp_path / "rows.jsonl.gz")) == expected

    def test_all_column_sources_agree(self, tmp_path):
        expected = ItemCatalog.from_items(BY_COLUMNS)
        table = pa.table({"item_id": list(BY_COLUMNS)} | {c: [i.get(c) for i in BY_COLUMNS.values()] for c in COLUMNS})
        pq.write_table(table, tmp_path / "items.parquet")
        with open(tmp_path / "items.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([table.column_names, *zip(*table.to_pydict().values(), strict=True)])
        assert ItemCatalog.from_arrow(table) == expected
        assert ItemCatalog.from_parquet(tmp_path / "items.parquet") == expected
        assert ItemCatalog.from_csv(tmp_path / "items.csv") == expected
        assert ItemCatalog.from_dataset(datasets.Dataset(table)) == expected
        assert ItemCatalog.from_dataset(datasets.Dataset(table).select([2, 0])).ids == ["B03", "B01"]

    def test_pandas_frames(self):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame(ROWS)[["item_id", *COLUMNS]].replace("", None)
        assert ItemCatalog.from_pandas(frame) == ItemCatalog.from_items(BY_COLUMNS)
        assert ItemCatalog.from_pandas(frame.set_index("item_id")) == ItemCatalog.from_items(BY_COLUMNS)
        mixed = pd.DataFrame({"asin": [1, 2], "title": ["a", ["b", "c"]], "price": [1.5, None]})
        expected = {"1": {"title": "a", "price": "1.5"}, "2": {"title": "b c"}}
        assert as_dict(ItemCatalog.from_pandas(mixed, id_column="asin")) == expected
        only_price = ItemCatalog.from_pandas(mixed, id_column="asin", attributes=["price"], on_invalid="drop")
        assert as_dict(only_price) == {"1": {"price": "1.5"}}

    def test_polars_frames(self):
        pl = pytest.importorskip("polars")
        frame = pl.DataFrame(ROWS).select("item_id", *COLUMNS)
        expected = {**BY_COLUMNS, "B02": {"title": "Nägel, 100 Stück", "brand": ""}}
        assert as_dict(ItemCatalog.from_polars(frame)) == expected
        assert as_dict(ItemCatalog.from_polars(frame.lazy())) == expected
        assert as_dict(ItemCatalog.from_polars(frame.with_columns(pl.col("title").cast(pl.Categorical)))) == expected

    def test_attributes_are_chosen_and_ordered_by_argument(self, tmp_path):
        order = ["brand", "title"]
        assert ItemCatalog.from_items(ITEMS, attributes=order)[1] == {"brand": "", "title": "Nägel, 100 Stück"}
        assert list(ItemCatalog.from_items(ITEMS, attributes=order)[0]) == order
        assert list(ItemCatalog.from_rows(ROWS, attributes=order)[0]) == order
        table = pa.Table.from_pylist(ROWS[:1])
        assert list(ItemCatalog.from_arrow(table, attributes=order)[0]) == order


class TestWrongSources:
    def test_columns_that_are_not_there(self):
        table = pa.table({"asin": ["a"], "title": ["A"]})
        with pytest.raises(ValueError, match=r"no column 'item_id'.*id_column="):
            ItemCatalog.from_arrow(table)
        with pytest.raises(ValueError, match="no column 'brand'"):
            ItemCatalog.from_arrow(table, id_column="asin", attributes=["title", "brand"])
        with pytest.raises(ValueError, match="no attribute besides the id"):
            ItemCatalog.from_arrow(table.select(["asin"]), id_column="asin")
        with pytest.raises(ValueError, match=r"Row 1 has no 'item_id'; it has \['asin'\]"):
            ItemCatalog.from_rows([{"item_id": "a", "t": "A"}, {"asin": "b"}])
        with pytest.raises(ValueError, match=r"None of the 3 items has any of the attributes \['titel'\]"):
            ItemCatalog.from_items(ITEMS, attributes=["titel"])
        with pytest.raises(TypeError, match=r"column 'title' \(binary\) holds bytes"):
            ItemCatalog.from_arrow(pa.table({"item_id": ["a"], "title": [b"1"]}))
