"""Parquet files: batches, rows without an id or a time, and items of any type."""

from __future__ import annotations

import polars as pl
import pytest

from recformer_hf.data.readers import parquet
from recformer_hf.data.readers.parquet import read_parquet_interactions, read_parquet_items
from recformer_hf.data.readers.required import Required
from recformer_hf.data.readers.source import FileReport, MissingColumnsError

REQUIRED = Required(["user", "item", "when"], timestamp="when")


@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_rows_are_numbered_over_batches(tmp_path, monkeypatch, batch_rows):
    monkeypatch.setattr(parquet, "BATCH_ROWS", batch_rows)
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
