"""Every source of an `ItemCatalog`: what goes in comes out, in order."""

from __future__ import annotations

import csv
import gzip
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recformer_hf.items.catalog import ItemCatalog
from recformer_hf.items.text import attribute_text, without_lone_surrogates
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


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.text(max_size=4),
    st.just("nan"),
    st.just(" "),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
VALUE_LISTS = st.lists(VALUES, min_size=1, max_size=4)


def by_the_rule(values):
    """The items that a catalogue of these values must have."""
    texts = [attribute_text(value) for value in values]
    return {
        str(row): {"title": "A"} | ({} if text is None else {"x": without_lone_surrogates(text)})
        for row, text in enumerate(texts)
    }


class TestOneRule:
    """The same values give the same texts, whatever they come in."""

    @settings(max_examples=150, deadline=None)
    @given(values=VALUE_LISTS)
    def test_rows_files_and_frames(self, tmp_path_factory, values):
        expected = by_the_rule(values)
        rows = [{"item_id": row, "title": "A", "x": value} for row, value in enumerate(values)]
        found = [
            ItemCatalog.from_rows(rows),
            ItemCatalog.from_items({row["item_id"]: row for row in rows}, attributes=["title", "x"]),
        ]
        folder = tmp_path_factory.mktemp("rule")
        (folder / "rows.json").write_text(json.dumps(rows))
        (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        found += [ItemCatalog.from_json(folder / "rows.json"), ItemCatalog.from_jsonl(folder / "rows.jsonl")]
        pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
        objects = pd.Series(values, dtype=object)
        found.append(ItemCatalog.from_pandas(pd.DataFrame({"item_id": range(len(rows)), "title": "A", "x": objects})))
        columns = {"item_id": range(len(rows)), "title": ["A"] * len(rows), "x": pl.Series(values, dtype=pl.Object)}
        found.append(ItemCatalog.from_polars(pl.DataFrame(columns)))
        for catalog in found:
            assert as_dict(catalog) == expected

    @settings(max_examples=100, deadline=None)
    @given(values=VALUE_LISTS)
    def test_typed_tables(self, tmp_path_factory, values):
        try:
            column = pa.array(values)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            assume(False)
        if "struct" in str(column.type):
            assume("struct<>" not in str(column.type))  # no file format has it
            assume("\\x00" not in repr(values))  # file formats cut names of fields there
        table = pa.table({"item_id": range(len(column)), "title": ["A"] * len(column), "x": column})
        expected = by_the_rule(column.to_pylist())
        path = tmp_path_factory.mktemp("rule") / "items.parquet"
        pq.write_table(table, path)
        for catalog in (
            ItemCatalog.from_arrow(table),
            ItemCatalog.from_arrow(table.to_reader()),
            ItemCatalog.from_parquet(path),
            ItemCatalog.from_dataset(datasets.Dataset(table)),
        ):
            assert as_dict(catalog) == expected


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
