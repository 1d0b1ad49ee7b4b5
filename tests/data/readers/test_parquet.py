"""Parquet files: batches, rows without an id or a time, and items of any type."""

from __future__ import annotations

from datetime import date, time, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recformer_hf.data.readers import arrow_tables
from recformer_hf.data.readers.cells import CellError
from recformer_hf.data.readers.parquet import read_parquet_interactions, read_parquet_items, read_parquet_rows
from recformer_hf.data.readers.required import Required
from recformer_hf.data.readers.source import DamagedFileError, DataError, FileReport, MissingColumnsError
from recformer_hf.items.columns import python_values
from recformer_hf.items.text import attribute_text
from tests.support.data_sources import DAY

REQUIRED = Required(["user", "item", "when"], timestamp="when")


@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_rows_are_numbered_over_batches(tmp_path, monkeypatch, batch_rows):
    monkeypatch.setattr(arrow_tables, "BATCH_ROWS", batch_rows)
    frame = pl.DataFrame({"when": [5, None, 7, -1], "user": [1, 2, 3, 4], "item": ["a", "b", "", "d"], "other": 0})
    frame.write_parquet(tmp_path / "log.parquet")
    report = FileReport("log.parquet", max_damaged=1.0)
    blocks = list(read_parquet_interactions(tmp_path / "log.parquet", REQUIRED.names, REQUIRED, report))
    assert pl.concat(blocks).select("user", "item", "when").rows() == [("1", "a", 5)]
    assert (report.lines, report.damaged) == (4, 3)
    assert report.examples == [
        (2, "no 'when'"),
        (3, "'item' is ''"),
        (4, "'when' is -1, which is not a time from 1970 to 2100 in 's'"),
    ]


def test_items_are_text(tmp_path):
    frame = pl.DataFrame({"size": [1.5], "id": [7], "tags": [["a", "b"]]})
    frame.write_parquet(tmp_path / "items.parquet")
    report = FileReport("items.parquet")
    table, names = read_parquet_items(tmp_path / "items.parquet", "id", None, report)
    assert (table.rows(), names) == ([("7", "1.5", "a b")], ["size", "tags"])
    assert report.lines == 1
    with pytest.raises(MissingColumnsError, match=r"items\.parquet has no column 'colour'; .*Name the columns"):
        read_parquet_items(tmp_path / "items.parquet", "id", ["colour"], report)


@pytest.mark.parametrize("mask", [1, 64])
def test_a_changed_byte_loses_no_rows_without_an_error(tmp_path, mask):
    """pyarrow ends a file without an error where a column chunk is shorter than it says."""
    path = tmp_path / "log.parquet"
    pl.DataFrame({"user": ["u", "v", "u"], "item": ["a", "b", "a"], "when": [5, 6, 7]}).write_parquet(path)
    whole = path.read_bytes()
    read, refused = 0, 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :])
        report = FileReport("log.parquet", max_damaged=1.0)
        try:
            list(read_parquet_interactions(path, REQUIRED.names, REQUIRED, report))
        except DataError as error:
            refused += "log.parquet" in str(error)
        else:
            assert report.lines == 3
            read += 1
    assert read + refused == len(whole)


def test_decimals_of_256_bits_are_no_ids_but_attributes(tmp_path):
    path = tmp_path / "items.parquet"
    wide = pa.array([Decimal("12.50")], pa.decimal256(40, 2))
    pq.write_table(pa.table({"id": ["1"], "price": wide}), path)
    table, _ = read_parquet_items(path, "id", None, FileReport("items.parquet"))
    assert table.rows() == [("1", "12.50")]
    pq.write_table(pa.table({"id": wide, "title": ["A"]}), path)
    with pytest.raises(DataError, match=r"items\.parquet: the column 'id' has the type decimal256"):
        read_parquet_items(path, "id", None, FileReport("items.parquet"))


def test_dates_of_january_1970_name_the_file(tmp_path):
    path = tmp_path / "log.parquet"
    times = pa.array([1_400_000, 1_500_000], pa.timestamp("ms"))
    pq.write_table(pa.table({"user": ["u", "v"], "item": ["a", "b"], "when": times}), path)
    with pytest.raises(DataError, match=r"^log\.parquet: All times of 'when' lie in January 1970"):
        list(read_parquet_interactions(path, REQUIRED.names, REQUIRED, FileReport("log.parquet")))


def log_of(tmp_path, table, required=REQUIRED, **options):
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), tmp_path / "log.parquet")
    report = FileReport("log.parquet", max_damaged=1.0)
    blocks = list(read_parquet_interactions(tmp_path / "log.parquet", required.columns, required, report, **options))
    return pl.concat(blocks).select("user", "item", "when").rows(), report


@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        (pa.array([1.0, None, 2.5], pa.float64()), ["1", None, None]),
        (pa.array([1.0, 2.0, float("nan")], pa.float32()), ["1", "2", None]),
        (pa.array(np.array([1, 2, 3], np.float16)), ["1", "2", "3"]),
        (pa.array([2**64 - 1, 0, None], pa.uint64()), [str(2**64 - 1), "0", None]),
        (pa.array(["a", " ", "1.0"]).dictionary_encode(), ["a", None, "1.0"]),
        (pa.array(["a", "b", None], pa.string_view()), ["a", "b", None]),
        (pa.array([Decimal("1.00"), Decimal("2.50"), None]), ["1", None, None]),
        (pa.nulls(3), [None] * 3),
    ],
)
def test_ids_of_any_type_are_text_or_their_row_is_damaged(tmp_path, ids, texts):
    rows, report = log_of(tmp_path, {"user": ids, "item": ["x"] * 3, "when": [1, 2, 3]})
    assert rows == [(text, "x", n) for n, text in enumerate(texts, 1) if text is not None]
    assert report.damaged == texts.count(None)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("user", pa.array([True])), ("user", pa.array([b"u"])), ("user", pa.array([["u"]])),
        ("item", pa.array([{"a": 1}])),
        ("when", pa.array([timedelta(1)])), ("when", pa.array([True])), ("item", pa.array([date(2020, 1, 1)])),
    ],
)  # fmt: skip
def test_columns_of_other_types_are_named(tmp_path, name, column):
    columns = {"user": pa.array(["u"]), "item": pa.array(["x"]), "when": pa.array([1])} | {name: column}
    with pytest.raises(DataError, match=rf"log\.parquet: the column '{name}' has the type .*; expected "):
        log_of(tmp_path, columns)


@pytest.mark.parametrize(
    "times",
    [
        pa.array([DAY * 400], pa.timestamp("s")), pa.array([DAY * 400 * 10**9 + 5], pa.timestamp("ns")),
        pa.array([DAY * 400 * 10**3], pa.timestamp("ms", "Asia/Tokyo")), pa.array([400], pa.date32()),
        pa.array([DAY * 400 * 10**3], pa.date64()), pa.array([float(DAY * 400)]), pa.array([Decimal(DAY * 400)]),
        pa.array(["1971-02-05"]).dictionary_encode(), pa.array(["1971-02-05T00:00:00Z"], pa.large_string()),
    ],
)  # fmt: skip
def test_times_of_any_type_are_seconds(tmp_path, times):
    rows, _ = log_of(tmp_path, {"user": ["u"], "item": ["x"], "when": times})
    assert rows == [("u", "x", DAY * 400)]


def test_times_of_far_away_years_are_damaged_rows(tmp_path):
    for times in (
        pa.array([2**62, -(2**62), 400 * DAY * 10**6], pa.timestamp("us")),
        pa.array([2**30, -(2**30), 400], pa.date32()),
    ):
        rows, report = log_of(tmp_path, {"user": list("uvw"), "item": list("xyz"), "when": times})
        assert (rows, report.damaged) == ([("w", "z", 400 * DAY)], 2)


def test_datetimes_that_pandas_read_in_a_wrong_unit_are_found_out(tmp_path):
    frame = pd.DataFrame({"user": ["u"], "item": ["x"], "when": pd.to_datetime([1_400_000_000])})
    table = pa.Table.from_pandas(frame)
    with pytest.raises(DataError, match="'when' lie in January 1970"):
        log_of(tmp_path, table)
    assert log_of(tmp_path, table, check_times=False)[0] == [("u", "x", 1)]


@pytest.mark.parametrize("batch_rows", [1, 100])
@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
def test_the_lists_of_a_users_row_are_its_interactions(tmp_path, monkeypatch, batch_rows, kind):
    monkeypatch.setattr(arrow_tables, "LIST_BATCH_ROWS", batch_rows)
    table = {
        "user": pa.array([1, 2, 3, 4, 5, None]),
        "item": pa.array([[7, 8], [9], [], [7, 8], None, [7]], kind(pa.int64())),
        "when": pa.array([[1, 2], [3], [], [4], [5], [6]], kind(pa.uint32())),
    }
    rows, report = log_of(tmp_path, table)
    assert rows == [("1", "7", 1), ("1", "8", 2), ("2", "9", 3)]
    assert (report.lines, report.damaged) == (6, 3)
    assert report.examples == [
        (4, "lists of different lengths: 'item' 2, 'when' 1"), (5, "no 'item'"), (6, "no 'user'"),
    ]  # fmt: skip


def test_a_list_of_items_at_one_time_and_ratings(tmp_path):
    required = Required(["user", "item", "when"], "when", rating="stars", min_rating=3)
    table = {"user": ["u", "v"], "item": [["a", "b"], ["c"]], "when": [5, 6], "stars": [[3.0, None], [1.0]]}
    rows, _ = log_of(tmp_path, table, required)
    assert rows == [("u", "a", 5), ("u", "b", 5), ("v", "c", 6)]  # `rated` is the caller's


def items_of(tmp_path, table, attributes=None):
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), tmp_path / "items.parquet")
    report = FileReport("items.parquet", max_damaged=1.0)
    found, names = read_parquet_items(tmp_path / "items.parquet", "id", attributes, report)
    return found, names, report


COLUMNS = {
    "struct": pa.array([{"Brand": "X", "Year": 2010}, {"Brand": None, "Year": None}, None]),
    "nested": pa.array([[["Toys"], ["Fun", None]], [], None]),
    "map": pa.array([[("a", 1.5), ("b", None)], [], None], pa.map_(pa.string(), pa.float32())),
    "float16": pa.array(np.array([1.5, np.nan, 2], np.float16)),
    "float32": pa.array([9.99, float("inf"), None], pa.float32()),
    "floats": pa.array([[9.99, None], [float("nan")], None], pa.list_(pa.float32())),
    "double": pa.array([5.0, 1e20, float("nan")]),
    "bool": pa.array([True, False, None]),
    "decimal": pa.array([Decimal("12.50"), Decimal("0.00"), None]),
    "date": pa.array([date(2019, 3, 31), None, date(1, 1, 1)]),
    "time": pa.array([time(17, 5), None, time(1, 2, 3, 4)]),
    "zoned": pa.array([0, 10**6, None], pa.timestamp("us", "UTC")),
    "nanoseconds": pa.array([1, 10**9, None], pa.timestamp("ns")),
    "category": pa.array(["a", " b ", None]).dictionary_encode(),
    "view": pa.array([" a", "", None], pa.string_view()),
    "unsigned": pa.array([2**64 - 1, 0, None], pa.uint64()),
    "null": pa.nulls(3),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_any_type_become_what_their_values_become(tmp_path, name):
    table, _, _ = items_of(tmp_path, {"id": ["1", "2", "3"], name: COLUMNS[name]})
    stored = pq.read_table(tmp_path / "items.parquet")[name].combine_chunks()
    texts = [attribute_text(value) for value in python_values(stored)]
    assert table[name].to_list() == [(text and text.strip()) or None for text in texts]


def test_some_columns_in_their_own_words(tmp_path):
    table, _, _ = items_of(tmp_path, {"id": [1.0, 2.0, 3.0]} | COLUMNS)
    assert table.row(0, named=True) == {
        "id": "1", "struct": "Brand: X, Year: 2010", "nested": "Toys Fun", "map": "a: 1.5", "float16": "1.5",
        "float32": "9.99", "floats": "9.99", "double": "5.0", "bool": "True", "decimal": "12.50", "date": "2019-03-31",
        "time": "17:05:00", "zoned": "1970-01-01 00:00:00+00:00", "nanoseconds": "1970-01-01 00:00:00.000000001",
        "category": "a", "view": "a", "unsigned": str(2**64 - 1), "null": None,
    }  # fmt: skip


def test_values_that_cannot_be_text_are_named(tmp_path):
    for column in (pa.array([b"x"]), pa.array([timedelta(1)])):
        with pytest.raises(DataError, match=r"items\.parquet: The column 'odd' .*row 1.*attributes="):
            items_of(tmp_path, {"id": ["1"], "odd": column})
    assert items_of(tmp_path, {"id": ["1"], "a": ["x"], "odd": pa.array([b"x"])}, ["a"])[0].rows() == [("1", "x")]


def test_the_index_of_a_frame_is_an_attribute_only_if_it_has_a_name(tmp_path):
    frame = pd.DataFrame({"id": ["a", "b"], "title": ["A", "B"]}, index=[7, 9])
    assert items_of(tmp_path, pa.Table.from_pandas(frame))[1] == ["title"]
    named = frame.rename_axis("row")
    assert items_of(tmp_path, pa.Table.from_pandas(named))[1] == ["title", "row"]
    assert items_of(tmp_path, pa.Table.from_pandas(named), ["row"])[0].rows() == [("a", "7"), ("b", "9")]
    by_id = frame.set_index("id")
    assert items_of(tmp_path, pa.Table.from_pandas(by_id))[0].rows() == [("a", "A"), ("b", "B")]
    read_from_csv = frame.reset_index(names="Unnamed: 0")
    assert items_of(tmp_path, pa.Table.from_pandas(read_from_csv))[1] == ["title"]


def test_a_column_twice_is_named_and_rows_without_id_are_counted(tmp_path):
    twice = pa.Table.from_arrays([pa.array(["1"])] * 3, names=["id", "a", "a"])
    with pytest.raises(DataError, match="column 'a' more than once"):
        items_of(tmp_path, twice)
    table, _, report = items_of(tmp_path, {"id": ["1", None, " "], "a": ["x", "y", "z"], "a.b": [1, 2, 3]}, ["a"])
    assert table.rows() == [("1", "x")]
    assert (report.lines, report.examples) == (3, [(2, "no 'id'"), (3, "'id' is ' '")])


def test_rows_are_converted_one_by_one(tmp_path):
    def convert(found):
        if found["a"] == 2:
            raise CellError("two")
        return found

    pq.write_table(pa.table({"id": ["x", "y"], "a": [[1.5], None], "more": [1, 2]}), tmp_path / "rows.parquet")
    report = FileReport("rows.parquet", max_damaged=1.0)
    blocks = list(read_parquet_rows(tmp_path / "rows.parquet", ["id", "a", "none"], ["id"], convert, report))
    assert blocks == [[{"id": "x", "a": [1.5]}, {"id": "y", "a": []}]]
    pq.write_table(pa.table({"a": [1, 2, 3]}), tmp_path / "rows.parquet")
    assert list(read_parquet_rows(tmp_path / "rows.parquet", ["a"], ["a"], convert, report)) == [[{"a": 1}, {"a": 3}]]
    assert report.examples == [(2, "two")]
    with pytest.raises(MissingColumnsError, match="no column 'id'"):
        list(read_parquet_rows(tmp_path / "rows.parquet", ["a"], ["id"], convert, report))


def test_a_file_that_breaks_off_is_named(tmp_path):
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user": [str(n) for n in range(5000)], "item": ["a"] * 5000, "when": [1] * 5000}), path)
    data = bytearray(path.read_bytes())
    data[100:2000] = bytes(1900)
    path.write_bytes(data)
    report = FileReport("log.parquet", max_damaged=1.0)
    with pytest.raises(DamagedFileError, match=r"log\.parquet"):
        list(read_parquet_interactions(path, REQUIRED.columns, REQUIRED, report))
