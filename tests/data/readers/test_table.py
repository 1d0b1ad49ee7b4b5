"""Tables of any format read alike."""

from __future__ import annotations

import json

import polars as pl
import pytest

from recformer_hf.data.readers.source import DamagedFileError, DataError, MissingColumnsError
from recformer_hf.data.readers.table import read_table
from tests.support.data_sources import LOG, rows_of, write_csv, write_lines, write_tables


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "tsv", "parquet", "jsonl", "jsonl.gz", "ndjson", "json"])
def test_any_table_reads_alike(tmp_path, ending):
    source = read_table(*write_tables(tmp_path, ending), user_column="who", item_column="what", timestamp_column="when")
    assert rows_of(source) == LOG
    assert source.items.rows() == [
        ("B000", 'A "quoted", title\nof two lines', "3.5"), ("B001", None, None), ("B002", "Third", "7.5"),
    ]  # fmt: skip
    assert source.items.columns == ["item_id", "name", "price"]
    assert [(file.lines, file.damaged) for file in source.report.files] == [(len(LOG), 0), (3, 0)]


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_wrong_columns_are_named_with_those_that_are_there(tmp_path, ending):
    paths = write_tables(tmp_path, ending)
    with pytest.raises(MissingColumnsError, match=r"no column .*'user_id'.*'who'"):
        read_table(*paths)
    names = {"user_column": "who", "item_column": "what", "timestamp_column": "when"}
    with pytest.raises(MissingColumnsError, match=r"items\..*no column 'colour'|no column 'colour'"):
        read_table(*paths, **names, attributes=["colour"])


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_unusable_rows_of_tables_are_counted_under_their_number(tmp_path, ending):
    rows = [
        ("U1", "B000", "10"),
        ("U1", None, "11"),
        ("U2", "B001", "12"),
        ("U2", "B002", "soon"),
        ("U3", "B000", "13"),
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    path = tmp_path / f"log.{ending}"
    if ending == "parquet":
        frame.write_parquet(path)
    elif ending == "jsonl":
        write_lines(path, [json.dumps(row) for row in frame.to_dicts()])
    else:
        write_csv(path, frame.columns, rows)
    items = write_csv(tmp_path / "items.csv", ["item_id", "title"], [("B000", "A"), ("B001", "B"), ("B000", "again")])
    with pytest.raises(DamagedFileError, match="2 of 5 lines"):
        read_table(path, items)
    source = read_table(path, items, max_damaged=0.5)
    assert rows_of(source) == [("U1", "B000", 10), ("U2", "B001", 12), ("U3", "B000", 13)]
    header = 1 if ending == "csv" else 0
    assert [number - header for number, _ in source.report.files[0].examples] == [2, 4]
    assert source.items.rows() == [("B000", "A"), ("B001", "B")]
    assert source.report.counts["repeated_items"] == 1


def test_lists_in_tables_are_joined(tmp_path):
    log = write_csv(tmp_path / "log.csv", ["user_id", "item_id", "timestamp"], [("U", "B000", 1)])
    rows = [
        {"item_id": "B000", "tags": ["red", None, "round"], "size": 4},
        {"item_id": "B001", "tags": [], "size": None},
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "items.parquet")
    write_lines(tmp_path / "items.jsonl", [json.dumps(row) for row in rows])
    for name in ("items.parquet", "items.jsonl"):
        source = read_table(log, tmp_path / name, attributes=["size", "tags"])
        assert source.items.rows() == [("B000", "4", "red round"), ("B001", None, None)]


def test_a_table_of_no_known_format_or_no_parquet_is_refused(tmp_path):
    log, items = write_tables(tmp_path, "csv")
    with pytest.raises(DataError, match=r"log\.xlsx has an unknown extension"):
        read_table(log.rename(tmp_path / "log.xlsx"), items)
    (tmp_path / "log.parquet").write_bytes(b"not a parquet file")
    with pytest.raises(DamagedFileError, match="not a readable parquet"):
        read_table(tmp_path / "log.parquet", items)
    (tmp_path / "log.csv").write_bytes(b"")
    with pytest.raises(MissingColumnsError, match="empty"):
        read_table(tmp_path / "log.csv", items)
