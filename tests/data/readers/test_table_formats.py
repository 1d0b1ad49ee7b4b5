"""Which format a file has, and how delimited text is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from recformer_hf.data.readers.delimited import CSV, RECBOLE, TSV, Dialect
from recformer_hf.data.readers.source import DataError
from recformer_hf.data.readers.table_formats import TextOptions, table_dialect, table_format


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", "delimited"), ("a.b.TSV.GZ", "delimited"), ("a.train.inter", "delimited"), ("a.item", "delimited"),
        ("a.parquet", "parquet"), ("a.jsonl.xz", "jsonl"), ("a.json", "jsonl"), ("a.xlsx", "excel"),
    ],
)  # fmt: skip
def test_the_extension_says_the_format(name, expected):
    assert table_format(Path(name)) == expected


@pytest.mark.parametrize("name", ["log.txt", "log", "log.gz", "log.xls", "log.user"])
def test_other_extensions_are_text_if_a_delimiter_is_given(name):
    with pytest.raises(DataError, match=r"unknown extension; expected one of \.csv"):
        table_format(Path(name))
    assert table_format(Path(name), TextOptions(delimiter="\t")) == "delimited"


def test_the_dialect_is_that_of_the_extension_with_what_the_caller_says(tmp_path):
    def dialect(name, options=None, names=None):
        (tmp_path / name).write_text("a;b\n1;2\n", "utf-8")
        return table_dialect(tmp_path / name, options or TextOptions(), names, ["a"])

    assert (dialect("x.csv"), dialect("x.tsv.gz"), dialect("x.inter")) == (CSV, TSV, RECBOLE)
    assert dialect("x.csv", TextOptions(";", "cp1252", False), ["a"]) == Dialect(";", False, "cp1252", ["a"])
    assert dialect("x.csv", TextOptions("|")).delimiter == "|"
    (tmp_path / "y.csv").write_text("a,b\n1,2\n", "utf-8")
    assert table_dialect(tmp_path / "y.csv", TextOptions(";"), None, ["a"]).delimiter == ","


def test_options_without_effect_are_refused():
    TextOptions(";").check_effect([Path("a.parquet"), Path("b.csv")])
    with pytest.raises(DataError, match="delimiter, encoding would have no effect"):
        TextOptions(";", "latin-1").check_effect([Path("a.parquet"), Path("b.jsonl")])
