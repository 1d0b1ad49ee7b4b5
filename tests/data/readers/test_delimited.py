"""Delimited text: malformed lines, and what quotes protect."""

from __future__ import annotations

import pytest

from recformer_hf.data.readers import delimited
from recformer_hf.data.readers.delimited import Dialect, read_delimited
from recformer_hf.data.readers.required import Required
from recformer_hf.data.readers.source import DamagedFileError, FileReport
from recformer_hf.data.readers.table import read_table
from tests.support.data_sources import rows_of, write_csv


def test_csv_lines_of_another_number_of_fields_are_damaged(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp\nU,B000,1\nU,B,oops,2\n\nU,B001\nU,,3\nU,B001,4\n", "utf-8")
    items = write_csv(tmp_path / "items.csv", ["item_id", "title"], [("B000", "A"), ("B001", "B")])
    source = read_table(path, items, max_damaged=0.9)
    assert rows_of(source) == [("U", "B000", 1), ("U", "B001", 4)]
    assert [number for number, _ in source.report.files[0].examples] == [3, 5, 6]
    assert source.report.files[0].lines == 5


def test_a_delimiter_inside_a_quoted_column_name_is_part_of_it(tmp_path):
    log = write_csv(tmp_path / "log.csv", ["user, or guest", "item_id", "timestamp"], [("U", "B000", 1)])
    items = write_csv(tmp_path / "items.csv", ["item_id", "title"], [("B000", "A")])
    assert rows_of(read_table(log, items, user_column="user, or guest")) == [("U", "B000", 1)]


def test_skipped_and_blank_lines_count_in_the_numbers_of_the_lines_after_them(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 16)
    (tmp_path / "log.csv").write_text("a,b\n1,2,3\n\n1,2\n1\n1\n,2\n4,5\n,6\n", "utf-8")
    report = FileReport("log.csv", max_damaged=1.0)
    blocks = list(read_delimited(tmp_path / "log.csv", ["b"], Required(["a"]), report))
    assert [row for block in blocks for row in block.rows()] == [("2",), ("5",)]
    assert report.examples == [
        (2, "3 fields, not 2"), (5, "1 fields, not 2"), (6, "1 fields, not 2"), (7, "no 'a'"), (9, "no 'a'"),
    ]  # fmt: skip
    assert (report.lines, report.damaged) == (7, 5)


def test_a_dialect_has_its_own_delimiter_quotes_encoding_and_names(tmp_path):
    (tmp_path / "log.txt").write_bytes('1;"é\n2;x\n'.encode("latin-1"))
    dialect = Dialect(";", quote=False, encoding="latin1", names=["a", "b"])
    report = FileReport("log.txt")
    (block,) = read_delimited(tmp_path / "log.txt", None, Required(["a"]), report, dialect)
    assert block.rows() == [("1", '"é'), ("2", "x")]
    with pytest.raises(DamagedFileError, match=r"log\.txt cannot be read as utf8 text with ';' between fields"):
        list(read_delimited(tmp_path / "log.txt", None, Required(["a"]), report, Dialect(";", False, names=["a", "b"])))
