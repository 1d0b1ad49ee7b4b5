"""Frames give the same source as files of the same table, and odd values the same as in files."""

from __future__ import annotations

import datetime as dt
import decimal
import json

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recformer_hf.data.readers.frames import read_frames
from recformer_hf.data.readers.source import DamagedFileError, DataError, MissingColumnsError
from recformer_hf.data.readers.table import read_table
from recformer_hf.items.catalog import ItemCatalog
from tests.support.data_sources import rows_of
from tests.support.frames import KINDS, item_rows, log_rows

COLUMNS = {"user_column": "who", "item_column": "what", "timestamp_column": "when"}
ITEMS = [{"item_id": "1", "title": "A"}, {"item_id": "2", "title": "B"}]


def log_of(**columns) -> pd.DataFrame:
    """Two interactions; `columns` replaces some of their columns."""
    return pd.DataFrame({"user_id": ["u", "v"], "item_id": ["1", "2"], "timestamp": [10, 20]} | columns)


class TestKinds:
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_same_source_as_a_parquet_file(self, kind, tmp_path):
        for name, rows in (("log", log_rows()), ("items", item_rows())):
            pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
        expected = read_table(tmp_path / "log.parquet", tmp_path / "items.parquet", **COLUMNS)
        found = read_frames(KINDS[kind](log_rows()), KINDS[kind](item_rows()), **COLUMNS)
        assert rows_of(found) == rows_of(expected)
        assert found.items.rows() == expected.items.rows()
        assert found.items.columns == expected.items.columns == ["item_id", "name", "price", "tags"]

    def test_the_report_says_what_was_read(self):
        source = read_frames(log_of(), ITEMS)
        assert source.report.describe() == "data frames (interactions (pandas DataFrame), items (rows))"

    def test_two_kinds_at_once_and_other_id_names(self):
        items = pl.DataFrame({"sku": [1, 2], "title": ["A", "B"], "note": ["x", "y"]})
        source = read_frames(log_of(item_id=[1.0, 2.0]), items, items_id_column="sku", attributes=["note", "title"])
        assert source.items.columns == ["item_id", "note", "title"]
        assert source.interactions["item_id"].cast(pl.String).to_list() == ["1", "2"]

    def test_class_labels_are_their_names(self):
        features = datasets.Features(
            {"item_id": datasets.Value("string"), "kind": datasets.ClassLabel(names=["x", "y"])}
        )
        items = datasets.Dataset.from_dict({"item_id": ["1", "2"], "kind": [1, 0]}, features=features)
        assert read_frames(log_of(), items).items["kind"].to_list() == ["y", "x"]

    def test_a_row_for_each_user(self):
        rows = [
            {"user_id": "u", "item_id": ["1", "2"], "timestamp": [5, 6]},
            {"user_id": "v", "item_id": [2], "timestamp": [7]},
        ]
        for log in (rows, pd.DataFrame(rows), pl.DataFrame(rows, strict=False), pa.Table.from_pylist([rows[0]])):
            found = rows_of(read_frames(log, ITEMS))
            assert found[:2] == [("u", "1", 5), ("u", "2", 6)]
            assert found[2:] in ([("v", "2", 7)], [])


class TestTimes:
    @pytest.mark.parametrize(
        ("times", "options"),
        [
            ([1_500_000_000, 1_500_000_060], {}),
            ([1_500_000_000.5, 1_500_000_060.0], {}),
            ([1_500_000_000_000, 1_500_000_060_000], {"timestamp_unit": "ms"}),
            (pd.to_datetime(["2017-07-14 02:40:00", "2017-07-14 02:41:00"]), {}),
            (
                pd.to_datetime(["2017-07-14 02:40:00", "2017-07-14 02:41:00"])
                .tz_localize("UTC")
                .tz_convert("Asia/Tokyo"),
                {},
            ),
            (["2017-07-14T02:40:00Z", "2017-07-14 04:41:00+02:00"], {}),
            (["07/14/2017 2:40:00 AM", "07/14/2017 2:41:00 AM"], {"timestamp_format": "%m/%d/%Y %I:%M:%S %p"}),
            (np.array([dt.datetime(2017, 7, 14, 2, 40), dt.datetime(2017, 7, 14, 2, 41)], dtype=object), {}),
        ],
    )
    def test_all_notations(self, times, options):
        frame = log_of(timestamp=times)
        for log in (frame, pl.from_pandas(frame), frame.to_dict("records")):
            assert [time for *_, time in rows_of(read_frames(log, ITEMS, **options))] == [1_500_000_000, 1_500_000_060]

    def test_no_times(self):
        source = read_frames(log_of().drop(columns="timestamp"), ITEMS, timestamp_column=None)
        assert rows_of(source) == [("u", "1", 0), ("v", "2", 1)]
        assert source.report.file_order
        assert source.report.to_dict()["file_order"] is True

    def test_another_unit_is_found_out(self):
        with pytest.raises(DataError, match="January 1970"):
            read_frames(log_of(timestamp=[1_500_000_000, 1_500_000_060]), ITEMS, timestamp_unit="ms")
        with pytest.raises(DataError, match=r"dates, such as 2017071.*%Y%m%d"):
            read_frames(log_of(timestamp=[20170714, 20170715]), ITEMS)
        source = read_frames(log_of(timestamp=[20170714, 20170715]), ITEMS, check_times=False)
        assert source.interactions.height == 2


class TestValues:
    @pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, ""])
    @pytest.mark.parametrize("column", ["user_id", "item_id", "timestamp"])
    def test_missing_values_are_damaged_rows(self, column, missing):
        values = {"user_id": ["u", missing], "item_id": ["1", missing], "timestamp": [10, missing]}[column]
        for log in (log_of(**{column: pd.Series(values, dtype=object)}), log_of(**{column: values}).to_dict("records")):
            with pytest.raises(DamagedFileError, match=f"1 of 2 lines .*line 2: (no )?'{column}'"):
                read_frames(log, ITEMS)
            source = read_frames(log, ITEMS, max_damaged=1.0)
            assert rows_of(source) == [("u", "1", 10)]

    @pytest.mark.parametrize(
        ("ids", "error", "message"),
        [
            ([1.5, 2.0], (DataError, TypeError), r"1\.5|'item_id'"),
            ([True, False], (DataError, TypeError), "'item_id'.*bool|True"),
            ([float(2**53), 1.0], (DataError, TypeError), "lost"),
            ([b"1", b"2"], (DataError, TypeError), "'item_id'"),
            ([{"a": 1}, {"a": 2}], (DataError, TypeError), "'item_id'"),
        ],
    )
    def test_what_is_no_id(self, ids, error, message):
        for log in (
            log_of(item_id=ids),
            log_of(item_id=ids).to_dict("records"),
            log_of(item_id=pd.Series(ids, dtype=object)),
        ):
            with pytest.raises(error, match=message):
                read_frames(log, ITEMS)

    @pytest.mark.parametrize(
        ("values", "texts"),
        [
            ([12.5, 5.0], ["12.5", "5.0"]),
            ([float("nan"), float("inf")], [None, None]),
            ([True, False], ["True", "False"]),
            ([dt.date(2019, 3, 31), None], ["2019-03-31", None]),
            ([decimal.Decimal("12.50"), decimal.Decimal("1E+2")], ["12.50", "100"]),
            ([["a", None, "b"], []], ["a b", None]),
            ([{"w": 3, "h": None}, None], ["w: 3", None]),
            (["  nan ", ""], ["nan", None]),
            (["text", ["a", "b"]], ["text", "a b"]),
            ([1, "x"], ["1", "x"]),
        ],
    )
    def test_attributes(self, values, texts):
        rows = [{"item_id": str(row + 1), "title": "T", "value": value} for row, value in enumerate(values)]
        tables = [rows, pd.DataFrame({"item_id": ["1", "2"], "title": "T", "value": pd.Series(values, dtype=object)})]
        for items in tables:
            assert read_frames(log_of(), items).items["value"].to_list() == texts

    def test_pandas_and_json_lines_agree(self, tmp_path):
        rows = [
            {"item_id": "1", "title": "A", "n": 2, "x": [1, 2]},
            {"item_id": "2", "title": "B", "n": None, "x": None},
        ]
        (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, rows)))
        log_of().to_csv(tmp_path / "log.csv", index=False)
        file = read_table(tmp_path / "log.csv", tmp_path / "items.jsonl")
        frame = read_frames(log_of(), pd.DataFrame(rows, dtype=object))
        assert frame.items.rows() == file.items.rows()
        assert rows_of(frame) == rows_of(file)


class TestRatings:
    def test_lower_and_missing_ratings_are_left_out(self):
        log = pd.DataFrame({"user_id": list("uvwx"), "item_id": "1", "timestamp": 5, "stars": [5, 3, None, 4.0]})
        source = read_frames(log, ITEMS, rating_column="stars", min_rating=4)
        assert [user for user, *_ in rows_of(source)] == ["u", "x"]
        assert source.report.counts["ratings_below_the_minimum"] == 1
        assert source.report.counts["ratings_missing"] == 1
        with pytest.raises(MissingColumnsError, match="no column 'rating'"):
            read_frames(log, ITEMS, min_rating=4)
        with pytest.raises(TypeError, match="min_rating is '4'; expected a number"):
            read_frames(log, ITEMS, rating_column="stars", min_rating="4")


class TestErrors:
    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            (
                {"user_column": "customer"}, MissingColumnsError,
                r"interactions \(pandas DataFrame\) has no column 'customer'; its columns are 'user_id'.*user_column=",
            ),
            ({"timestamp_column": "date"}, MissingColumnsError, r"no column 'date'.*None if there are no times"),
            ({"items_id_column": "sku"}, MissingColumnsError, r"items \(rows\) has no column 'sku'.*items_id_column="),
            ({"attributes": ["color"]}, MissingColumnsError, "no column 'color'"),
            ({"attributes": "title"}, TypeError, r"expected a list of names, such as \['title'\]"),
            ({"attributes": ["title", "title"]}, DataError, "'title' more than once"),
            ({"user_column": "item_id"}, DataError, "need columns of their own"),
            ({"timestamp_unit": "min"}, DataError, "unit is 'min'"),
            ({"items": [{"item_id": "1"}]}, MissingColumnsError, "no column besides the id 'item_id'"),
            ({"items": [{"item_id": "1", "title": b"x"}]}, TypeError, r"'title' of items \(rows\) holds bytes"),
        ],
    )  # fmt: skip
    def test_named_with_the_way(self, change, error, message):
        arguments = {"interactions": log_of(), "items": ITEMS} | change
        with pytest.raises(error, match=message):
            read_frames(**arguments)

    def test_numbers_as_names(self):
        log = pd.DataFrame([["u", "1", 5], ["v", "2", 6]])
        names = {"user_column": 0, "item_column": 1, "timestamp_column": 2, "items_id_column": "item_id"}
        assert rows_of(read_frames(log, ITEMS, **names)) == [("u", "1", 5), ("v", "2", 6)]

    def test_columns_twice(self):
        frame = pd.concat([log_of(), log_of()[["user_id"]]], axis=1)
        with pytest.raises(DataError, match="has the column 'user_id' more than once"):
            read_frames(frame, ITEMS)

    def test_empty_frames(self):
        assert read_frames(log_of().iloc[:0], ITEMS).interactions.height == 0
        with pytest.raises(MissingColumnsError, match="has no column"):
            read_frames([], ITEMS)

    def test_an_index_is_an_attribute_only_if_it_has_a_name(self, tmp_path):
        """In frames, parquet files and a catalogue alike, as pandas writes it."""
        items = pd.DataFrame({"item_id": ["1", "2"], "title": ["A", "B"]})
        levels = pd.MultiIndex.from_arrays([["r", "s"], [5, 6]], names=["shelf", None])
        for frame, expected in (
            (items.set_axis([7, 9]), ["title"]),
            (items.set_axis(pd.RangeIndex(2, name="row")), ["title"]),
            (items.set_axis(pd.Index(["r", "s"], name="shelf")), ["title", "shelf"]),
            (items.set_axis(levels), ["title", "shelf"]),
            (items.set_index("item_id"), ["title"]),
            (items.assign(shelf=["r", "s"]).set_index(["shelf", "item_id"]), ["title", "shelf"]),
            (items.set_axis([7, 9]).reset_index(names="Unnamed: 0"), ["title"]),  # of an index in a CSV file
        ):
            frame.to_parquet(tmp_path / "items.parquet")
            log_of().to_parquet(tmp_path / "log.parquet")
            catalog = ItemCatalog.from_pandas(frame)
            for found in (
                read_frames(log_of(), frame),
                read_frames(log_of(), pa.Table.from_pandas(frame)),
                read_table(tmp_path / "log.parquet", tmp_path / "items.parquet"),
            ):
                assert found.items.columns == ["item_id", *expected]
                assert found.items.select(expected).to_dicts() == list(catalog)
            assert list(ItemCatalog.from_parquet(tmp_path / "items.parquet")) == list(catalog)
        counted = items.set_axis(pd.RangeIndex(2, name="row"))
        assert list(ItemCatalog.from_pandas(counted, attributes=["row"])) == [{"row": "0"}, {"row": "1"}]
        assert read_frames(log_of(), counted, attributes=["row"]).items["row"].to_list() == ["0", "1"]
