"""`ItemCatalog`: what goes in comes out, in order; look-up both ways; a file that opens at once; nothing invalid."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.dynamic_module_utils import get_imports, get_relative_import_files

import recformer_hf.items.catalog as catalog_module
from recformer_hf.items.catalog import CATALOG_FILE, ItemCatalog, UnknownItemError
from recformer_hf.items.sources import attribute_text
from recformer_hf.items.text import item_attributes
from recformer_hf.storage.remote_code import write_code
from tests.support.faults import full_disk

ITEMS = {
    "B01": {"title": "Claw hammer", "brand": "Kraft", "category": "Tools Hand tools"},
    "B02": {"brand": "", "title": "Nägel, 100 Stück"},
    "B03": {"category": "Garden", "title": "Rake ✿", "material": "wood"},
}
ROWS = [{"item_id": item_id, **attributes} for item_id, attributes in ITEMS.items()]
# One column an attribute has one order for all items, and no difference between an empty and a missing cell of a CSV.
COLUMNS = ["title", "brand", "category"]
BY_COLUMNS = {
    "B01": {"title": "Claw hammer", "brand": "Kraft", "category": "Tools Hand tools"},
    "B02": {"title": "Nägel, 100 Stück"},
    "B03": {"title": "Rake ✿", "category": "Garden"},
}
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
item_maps = st.dictionaries(
    texts.filter(str.strip),
    st.dictionaries(texts, texts, max_size=4).filter(lambda item: any(value.strip() for value in item.values())),
    max_size=12,
)


def as_dict(catalog: ItemCatalog) -> dict[str, dict[str, str]]:
    return dict(zip(catalog.ids, catalog, strict=True))


def numbered(count: int) -> ItemCatalog:
    return ItemCatalog.from_items({f"id{i:06d}": {"title": f"item {i}"} for i in range(count)})


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

    def test_values_are_the_texts_that_the_tokenizer_makes(self):
        values = [
            "a",
            "",
            7,
            2.5,
            20.0,
            True,
            np.int64(3),
            np.float32(9.99),
            ["x", "", None, 4],
            (),
            np.array(["p", "q"]),
        ]
        for value in values:
            ours = item_attributes({"key": attribute_text(value), "other": "o"}, 3, "item")
            assert ours == item_attributes({"key": value, "other": "o"}, 3, "item")

    def test_missing_values_leave_the_key_out_and_empty_texts_stay(self):
        catalog = ItemCatalog.from_items({1: {"a": None, "b": float("nan"), "c": "", "d": 5}})
        assert as_dict(catalog) == {"1": {"c": "", "d": "5"}}

    def test_halves_of_surrogate_pairs_are_joined_or_replaced(self):
        assert ItemCatalog.from_items({"a": {"t": "\ud83d\ude00 \ud800"}})[0] == {"t": "\U0001f600 \ufffd"}

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
        assert ItemCatalog.from_arrow(table.slice(1), id_column="id")[0] == {"year": "2001", "tags": ""}

    def test_attributes_are_chosen_and_ordered_by_argument(self, tmp_path):
        order = ["brand", "title"]
        assert ItemCatalog.from_items(ITEMS, attributes=order)[1] == {"brand": "", "title": "Nägel, 100 Stück"}
        assert list(ItemCatalog.from_items(ITEMS, attributes=order)[0]) == order
        assert list(ItemCatalog.from_rows(ROWS, attributes=order)[0]) == order
        table = pa.Table.from_pylist(ROWS[:1])
        assert list(ItemCatalog.from_arrow(table, attributes=order)[0]) == order

    def test_csv_cells_stay_text(self, tmp_path):
        (tmp_path / "items.tsv").write_text('asin\ttitle\n007\t"two\nlines"\n1e3\tNA\n')
        catalog = ItemCatalog.from_csv(tmp_path / "items.tsv", delimiter="\t", id_column="asin")
        assert as_dict(catalog) == {"007": {"title": "two\nlines"}, "1e3": {"title": "NA"}}

    def test_chunks_do_not_show(self, monkeypatch):
        whole = numbered(10)
        monkeypatch.setattr("recformer_hf.items.sources.CHUNK_ROWS", 3)
        chunked = numbered(10)
        assert chunked.table.column(0).num_chunks == 4
        assert chunked == whole
        assert list(chunked) == list(whole)
        assert ItemCatalog.from_arrow(whole.table) == whole

    def test_an_empty_catalogue_is_possible(self, tmp_path):
        catalog = ItemCatalog.from_items({})
        catalog.save_pretrained(tmp_path)
        assert len(ItemCatalog.from_pretrained(tmp_path)) == 0
        assert list(catalog) == []
        assert "x" not in catalog


class TestInvalidSources:
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

    @pytest.mark.parametrize(
        ("items", "message"),
        [
            ({"x": {"details": {"a": 1}}}, "Item 0 .id 'x'.: the value of 'details' is a dict"),
            ({"x": {"cats": [["a"], ["b"]]}}, "'cats' is a list inside a list"),
            ({"x": {3: "a"}}, "has the key 3 of type int"),
            ({"x": "title"}, "is a str; expected a mapping"),
            ({1.5: {"a": "b"}}, "1.5 is a float.*pandas"),
            ({True: {"a": "b"}}, "True is a bool"),
        ],
    )
    def test_what_cannot_be_text_is_named(self, items, message):
        with pytest.raises(TypeError, match=message):
            ItemCatalog.from_items(items)

    def test_columns_that_are_not_there(self):
        table = pa.table({"asin": ["a"], "title": ["A"]})
        with pytest.raises(ValueError, match=r"no column 'item_id'.*id_column="):
            ItemCatalog.from_arrow(table)
        with pytest.raises(ValueError, match="no column 'brand'"):
            ItemCatalog.from_arrow(table, id_column="asin", attributes=["title", "brand"])
        with pytest.raises(ValueError, match="no attribute beside the id"):
            ItemCatalog.from_arrow(table.select(["asin"]), id_column="asin")
        with pytest.raises(ValueError, match=r"Row 1 has no 'item_id'; it has \['asin'\]"):
            ItemCatalog.from_rows([{"item_id": "a", "t": "A"}, {"asin": "b"}])
        with pytest.raises(ValueError, match=r"None of the 3 items has any of the attributes \['titel'\]"):
            ItemCatalog.from_items(ITEMS, attributes=["titel"])
        with pytest.raises(TypeError, match=r"column 'title' \(struct<a: int64>\) holds a dict"):
            ItemCatalog.from_arrow(pa.table({"item_id": ["a"], "title": [{"a": 1}]}))

    def test_damaged_files(self, tmp_path):
        for name in ("a.json", "a.jsonl", "a.parquet"):
            (tmp_path / name).write_text('{"item_id": "a", "title": "A"}\n{"item_id": ')
        with pytest.raises(ValueError, match=r"a\.json is no JSON"):
            ItemCatalog.from_json(tmp_path / "a.json")
        with pytest.raises(ValueError, match=r"a\.jsonl, line 2, is no JSON"):
            ItemCatalog.from_jsonl(tmp_path / "a.jsonl")
        with pytest.raises(ValueError, match=r"a\.parquet cannot be read as parquet"):
            ItemCatalog.from_parquet(tmp_path / "a.parquet")
        (tmp_path / "a.csv").write_text("item_id,title\na,b,c\n")
        with pytest.raises(ValueError, match="cannot be read as CSV"):
            ItemCatalog.from_csv(tmp_path / "a.csv")
        (tmp_path / "number.json").write_text("3")
        with pytest.raises(ValueError, match="holds a int; expected an object or a list"):
            ItemCatalog.from_json(tmp_path / "number.json")
        for read in (ItemCatalog.from_json, ItemCatalog.from_jsonl, ItemCatalog.from_csv, ItemCatalog.from_parquet):
            with pytest.raises(FileNotFoundError, match="nothing"):
                read(tmp_path / "nothing")

    def test_wrong_arguments(self):
        with pytest.raises(ValueError, match="on_invalid is 'ignore'; expected 'raise' or 'drop'"):
            ItemCatalog.from_items(ITEMS, on_invalid="ignore")
        with pytest.raises(ValueError, match="unknown is 'skip'"):
            ItemCatalog.from_items(ITEMS).rows_of(["B01"], unknown="skip")
        with pytest.raises(ValueError, match="columns are a: int64; expected item_id"):
            ItemCatalog(pa.table({"a": [1]}))


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

    def test_rows_outside(self):
        catalog = ItemCatalog.from_items(ITEMS)
        assert catalog[-1] == ITEMS["B03"]
        assert catalog.id_of(-3) == "B01"
        assert catalog[np.int64(1)] == ITEMS["B02"]
        for row in (3, -4):
            with pytest.raises(IndexError, match=f"No row {row} in a catalogue of 3 items"):
                catalog[row]
            with pytest.raises(IndexError):
                catalog.id_of(row)

    def test_slices(self):
        catalog, expected = ItemCatalog.from_items(ITEMS), list(ITEMS.values())
        for part in (slice(1, None), slice(0, 2), slice(2, 1), slice(None, None, -1), slice(-1, None), slice(0, 9, 2)):
            assert catalog[part] == expected[part]
            assert catalog.ids[part] == list(ITEMS)[part]

    def test_ids_read_like_a_list(self):
        ids = ItemCatalog.from_items(ITEMS).ids
        assert ids == ["B01", "B02", "B03"]
        assert ids != ["B01", "B02"]
        assert list(ids) == ["B01", "B02", "B03"]
        assert "B02" in ids
        assert "B04" not in ids
        assert repr(ids) == "['B01', 'B02', 'B03']"

    def test_attribute_names_in_order_of_first_appearance(self):
        assert ItemCatalog.from_items(ITEMS).attribute_names == ["title", "brand", "category", "material"]
        assert repr(ItemCatalog.from_items(ITEMS)) == "ItemCatalog(3 items; title, brand, category, material)"


class TestFingerprint:
    def test_depends_on_ids_keys_values_and_order(self):
        different = [
            {"a": {"k": "v"}, "b": {"k": "v"}},
            {"b": {"k": "v"}, "a": {"k": "v"}},
            {"a": {"k": "v"}, "b": {"k": "w"}},
            {"a": {"k": "v"}, "b": {"l": "v"}},
            {"a": {"k": "v", "l": "v"}, "b": {"k": "v"}},
            {"a": {"l": "v", "k": "v"}, "b": {"k": "v"}},
            {"a": {"k": "v"}, "b": {"k": "v", "l": "v"}},
            {"a": {"kv": "v"}, "b": {"": "v"}},
            {"ab": {"k": "v"}, "c": {"k": "v"}},
            {"a": {"k": "v"}, "bc": {"k": "v"}},
            {"a": {"k": "v"}},
        ]
        prints = [ItemCatalog.from_items(items).fingerprint for items in different]
        assert len(set(prints)) == len(prints)
        assert all(len(value) == 32 and int(value, 16) >= 0 for value in prints)

    def test_is_the_same_on_every_machine_and_in_every_version(self):
        assert ItemCatalog.from_items(ITEMS).fingerprint == "5ceb875d3aef4d448a3620e4d78bc040"

    @settings(max_examples=30, deadline=None)
    @given(items=item_maps, data=st.data())
    def test_does_not_depend_on_chunks_and_slices(self, items, data):
        table = ItemCatalog.from_items(items).table
        cuts = sorted(data.draw(st.lists(st.integers(0, len(items)), max_size=3)))
        pieces = [table.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, len(items)], strict=True)]
        again = ItemCatalog(pa.concat_tables(pieces))
        assert again.fingerprint == ItemCatalog.from_items(items).fingerprint
        assert again == ItemCatalog.from_items(items)
        head = dict(list(items.items())[cuts[0] :]) if cuts else items
        start = cuts[0] if cuts else 0
        assert ItemCatalog(table.slice(start)).fingerprint == ItemCatalog.from_items(head).fingerprint


class TestNewCatalogues:
    def test_add_keeps_the_rows(self):
        catalog = ItemCatalog.from_items(ITEMS)
        more = catalog.add({"B04": {"title": "Spade"}})
        assert as_dict(more) == {**ITEMS, "B04": {"title": "Spade"}}
        assert more.row_of("B02") == catalog.row_of("B02")
        assert len(catalog) == 3
        assert more.fingerprint != catalog.fingerprint
        assert more == catalog.add(ItemCatalog.from_rows([{"item_id": "B04", "title": "Spade"}]))
        assert more == ItemCatalog.from_items({**ITEMS, "B04": {"title": "Spade"}})

    def test_add_refuses_ids_that_are_there(self):
        with pytest.raises(ValueError, match=r"1 of 2 new ids are in the catalogue already, the first: \['B02'\]"):
            ItemCatalog.from_items(ITEMS).add({"B04": {"t": "x"}, "B02": {"t": "y"}})
        with pytest.raises(ValueError, match="1 without text"):
            ItemCatalog.from_items(ITEMS).add({"B04": {"t": ""}})

    @pytest.mark.parametrize("rows", [[0, 2], [2, 0], [1], [], np.array([2, 1, 0])])
    def test_select(self, rows):
        assert as_dict(ItemCatalog.from_items(ITEMS).select(rows)) == {f"B0{r + 1}": ITEMS[f"B0{r + 1}"] for r in rows}

    def test_select_refuses(self):
        catalog = ItemCatalog.from_items(ITEMS)
        with pytest.raises(IndexError, match="Rows 0 to 3"):
            catalog.select([0, 3])
        with pytest.raises(ValueError, match="1 of 3 rows come twice"):
            catalog.select([0, 1, 1])


class TestDisk:
    def test_round_trip_beside_other_files(self, tmp_path):
        (tmp_path / "config.json").write_text("{}")
        catalog = ItemCatalog.from_items(ITEMS)
        assert catalog.save_pretrained(tmp_path) == tmp_path / CATALOG_FILE
        loaded = ItemCatalog.from_pretrained(tmp_path)
        assert loaded == catalog
        assert loaded.fingerprint == catalog.fingerprint
        assert as_dict(loaded) == ITEMS
        assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", CATALOG_FILE]

    def test_opening_maps_the_file_and_copies_nothing(self, tmp_path):
        numbered(50_000).save_pretrained(tmp_path)
        before = pa.total_allocated_bytes()
        catalog = ItemCatalog.from_pretrained(tmp_path)
        assert catalog[49_999] == {"title": "item 49999"}
        assert pa.total_allocated_bytes() - before < 100_000

    def test_a_mapped_catalogue_is_pickled_as_its_path(self, tmp_path):
        catalog = numbered(2000)
        assert pickle.loads(pickle.dumps(catalog)) == catalog
        catalog.save_pretrained(tmp_path)
        mapped = ItemCatalog.from_pretrained(tmp_path)
        mapped.row_of("id000001")
        content = pickle.dumps(mapped)
        assert len(content) < 500
        assert pickle.loads(content) == catalog
        numbered(2001).save_pretrained(tmp_path)
        assert mapped == catalog  # the old file lives as long as it is mapped
        with pytest.raises(RuntimeError, match="written anew"):
            pickle.loads(content)

    def test_a_relative_folder_may_be_left(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        numbered(3).save_pretrained("folder")
        content = pickle.dumps(ItemCatalog.from_pretrained("folder"))
        monkeypatch.chdir("/")
        assert pickle.loads(content) == numbered(3)

    def test_missing_and_damaged_files(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"No {CATALOG_FILE} in .*save_pretrained"):
            ItemCatalog.from_pretrained(tmp_path)
        path = numbered(100).save_pretrained(tmp_path)
        path.write_bytes(path.read_bytes()[:-50])
        with pytest.raises(ValueError, match="not a whole Arrow file"):
            ItemCatalog.from_pretrained(tmp_path)
        with (
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_file(sink, (other := pa.table({"a": [1]})).schema) as writer,
        ):
            writer.write_table(other)
        with pytest.raises(ValueError, match="columns are a: int64"):
            ItemCatalog.from_pretrained(tmp_path)
        with pytest.raises(NotADirectoryError, match="is a file"):
            numbered(1).save_pretrained(path)

    def test_a_full_disk_leaves_the_old_file(self, tmp_path):
        numbered(3).save_pretrained(tmp_path)
        with full_disk(after=4096), pytest.raises(OSError, match="File too large"):
            numbered(5000).save_pretrained(tmp_path)
        assert ItemCatalog.from_pretrained(tmp_path) == numbered(3)
        assert os.listdir(tmp_path) == [CATALOG_FILE]

    def test_datasets_reads_the_table(self, tmp_path):
        catalog = ItemCatalog.from_items(ITEMS)
        assert ItemCatalog.from_dataset(datasets.Dataset(catalog.table)) == catalog


class TestHub:
    def test_push_uploads_the_one_file(self, monkeypatch):
        calls = {}

        class FakeApi:
            def __init__(self, token):
                calls["token"] = token

            def create_repo(self, repo_id, **kwargs):
                calls["create"] = (repo_id, kwargs)
                return type("Url", (), {"repo_id": f"me/{repo_id}"})

            def upload_folder(self, *, folder_path, **kwargs):
                calls["upload"] = kwargs
                calls["files"] = os.listdir(folder_path)
                calls["content"] = list(ItemCatalog.from_pretrained(folder_path))
                return "commit"

        monkeypatch.setattr(catalog_module, "HfApi", FakeApi)
        assert ItemCatalog.from_items(ITEMS).push_to_hub("shop", token="secret", private=True) == "commit"
        assert calls["token"] == "secret"
        assert calls["create"] == ("shop", {"repo_type": "model", "private": True, "exist_ok": True})
        assert calls["upload"]["repo_id"] == "me/shop"
        assert calls["files"] == [CATALOG_FILE]
        assert calls["content"] == list(ITEMS.values())

    def test_from_a_repository(self, tmp_path, monkeypatch):
        path = ItemCatalog.from_items(ITEMS).save_pretrained(tmp_path)
        asked = []
        monkeypatch.setattr(catalog_module, "hf_hub_download", lambda *a, **k: asked.append((a, k)) or str(path))
        loaded = ItemCatalog.from_pretrained("me/shop", subfolder="best", revision="v1", token="t")
        assert loaded == ItemCatalog.from_items(ITEMS)
        ((args, kwargs),) = asked
        assert args == ("me/shop", CATALOG_FILE)
        assert kwargs["subfolder"] == "best"
        assert kwargs["revision"] == "v1"
        assert kwargs["repo_type"] == "model"

    @pytest.mark.parametrize("kind", [EntryNotFoundError, RepositoryNotFoundError])
    def test_nothing_there(self, monkeypatch, kind):
        def refuse(*args, **kwargs):
            raise kind.__new__(kind)

        monkeypatch.setattr(catalog_module, "hf_hub_download", refuse)
        with pytest.raises(FileNotFoundError, match=f"'me/shop' is neither a folder .* that has best/{CATALOG_FILE}"):
            ItemCatalog.from_pretrained("me/shop", subfolder="best")

    def test_a_mistyped_folder(self):
        with pytest.raises(FileNotFoundError, match=r"'\./no/such/folder' is neither"):
            ItemCatalog.from_pretrained("./no/such/folder")


class TestTravelsWithCheckpoints:
    def test_needs_only_what_a_checkpoint_may_need(self, tmp_path):
        write_code(tmp_path, ["items/catalog"])
        source = tmp_path / "items_catalog.py"
        allowed = {"numpy", "huggingface_hub", "transformers"}
        files = [source, *map(Path, get_relative_import_files(source))]
        assert {file.name for file in files} == {file.name for file in tmp_path.iterdir()}
        needed = {name for file in files for name in get_imports(file)}
        assert needed - set(sys.stdlib_module_names) <= allowed

    def test_imports_without_pyarrow_and_says_what_to_install(self):
        program = """
import sys
for name in ("pyarrow", "datasets", "pandas", "polars"):
    sys.modules[name] = None
from recformer_hf.items.catalog import ItemCatalog
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.readers.replication import read_replication
try:
    ItemCatalog.from_items({"a": {"title": "A"}})
except ImportError as error:
    assert "pip install pyarrow" in str(error), error
else:
    raise SystemExit("no error")
"""
        subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.slow
def test_a_million_items_open_and_answer_at_once(tmp_path):
    import time

    def seconds(work):
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    items = (
        {"item_id": f"B{i * 7919 % 1_000_003:09d}", "title": f"invented item {i}", "brand": "b"}
        for i in range(1_000_000)
    )
    ItemCatalog.from_rows(items).save_pretrained(tmp_path)
    before = pa.total_allocated_bytes()
    assert seconds(lambda: ItemCatalog.from_pretrained(tmp_path)) < 0.5
    catalog = ItemCatalog.from_pretrained(tmp_path)
    catalog.row_of(catalog.id_of(999_999))
    assert pa.total_allocated_bytes() - before < 16e6
    assert seconds(lambda: [catalog.row_of(item_id) for item_id in catalog.ids[:1000]]) < 1
    assert (catalog.rows_of(catalog.table["item_id"]) == np.arange(1_000_000)).all()
