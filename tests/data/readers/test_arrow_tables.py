"""Arrow tables in memory are read as parquet files are."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recformer_hf.data.readers.arrow_tables import TableInMemory, interactions_of, items_of, rows_of
from recformer_hf.data.readers.cells import CellError
from recformer_hf.data.readers.parquet import ParquetTable
from recformer_hf.data.readers.required import Required
from recformer_hf.data.readers.source import DataError, FileReport, MissingColumnsError

REQUIRED = Required(["user", "item", "when"], timestamp="when")
LOG = pa.table({"when": [5, None, 7], "user": [1.0, 2.0, None], "item": ["a", "b", "c"], "other": [0, 0, 0]})
LISTS = pa.table({"user": ["u", "v", "w"], "item": [[1, 2], [3], [4]], "when": [[10, 20], [30, 31], [40]]})


@pytest.fixture(params=["memory", "parquet"])
def table(request, tmp_path):
    def opened(columns: pa.Table):
        if request.param == "memory":
            return TableInMemory("log", columns)
        pq.write_table(columns, tmp_path / "log")
        return ParquetTable.open(tmp_path / "log")

    return opened


def test_interactions(table):
    report = FileReport("log", max_damaged=1.0)
    (rows,) = interactions_of(table(LOG), REQUIRED.names, REQUIRED, report)
    assert rows.select("user", "item", "when").rows() == [("1", "a", 5)]
    assert report.examples == [(2, "no 'when'"), (3, "no 'user'")]


def test_lists_of_a_user(table):
    report = FileReport("log", max_damaged=1.0)
    rows = pl.concat(interactions_of(table(LISTS), REQUIRED.names, REQUIRED, report))
    assert rows.select("user", "item", "when").rows() == [("u", "1", 10), ("u", "2", 20), ("w", "4", 40)]
    assert report.examples == [(2, "lists of different lengths: 'item' 1, 'when' 2")]


def test_items(table):
    columns = pa.table({"id": [7, 8], "size": [1.5, None], "tags": [["a", "b"], None], "__index_level_0__": [0, 1]})
    found, names = items_of(table(columns), "id", None, FileReport("log"))
    assert (found.rows(), names) == ([("7", "1.5", "a b"), ("8", None, None)], ["size", "tags"])


def test_rows(table):
    def convert(row):
        if row["when"] is None:
            raise CellError("no time")
        return row

    report = FileReport("log", max_damaged=1.0)
    (rows,) = rows_of(table(LOG), ["when", "item", "gone"], ["when"], convert, report)
    assert rows == [{"when": 5, "item": "a"}, {"when": 7, "item": "c"}]
    assert report.examples == [(2, "no time")]


def test_errors_name_table_and_column(table):
    with pytest.raises(MissingColumnsError, match=r"log has no column 'who'; its columns are 'when', 'user'"):
        list(interactions_of(table(LOG), ["who"], REQUIRED, FileReport("log")))
    booleans = LOG.set_column(1, "user", pa.array([True, False, True]))
    with pytest.raises(DataError, match=r"log: the column 'user' has the type bool; expected text or whole numbers"):
        list(interactions_of(table(booleans), REQUIRED.names, REQUIRED, FileReport("log")))
