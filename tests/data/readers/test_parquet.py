"""Parquet files: batches, rows without an id or a time, and items of any type."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from recformer_hf.data.readers import arrow_tables
from recformer_hf.data.readers.parquet import read_parquet_interactions, read_parquet_items
from recformer_hf.data.readers.required import Required
from recformer_hf.data.readers.source import DataError, FileReport, MissingColumnsError

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
    pa_parquet.write_table(pa.table({"id": ["1"], "price": wide}), path)
    table, _ = read_parquet_items(path, "id", None, FileReport("items.parquet"))
    assert table.rows() == [("1", "12.50")]
    pa_parquet.write_table(pa.table({"id": wide, "title": ["A"]}), path)
    with pytest.raises(DataError, match=r"items\.parquet: the column 'id' has the type decimal256"):
        read_parquet_items(path, "id", None, FileReport("items.parquet"))


def test_dates_of_january_1970_name_the_file(tmp_path):
    path = tmp_path / "log.parquet"
    times = pa.array([1_400_000, 1_500_000], pa.timestamp("ms"))
    pa_parquet.write_table(pa.table({"user": ["u", "v"], "item": ["a", "b"], "when": times}), path)
    with pytest.raises(DataError, match=r"^log\.parquet: All times of 'when' lie in January 1970"):
        list(read_parquet_interactions(path, REQUIRED.names, REQUIRED, FileReport("log.parquet")))
