"""Delimited text: malformed lines, and what quotes protect."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.readers import delimited
from recformer_hf.data.readers.delimited import CSV, TSV, Dialect, read_delimited
from recformer_hf.data.readers.required import Required
from recformer_hf.data.readers.source import DamagedFileError, DataError, FileReport, MissingColumnsError
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


def read(path, columns=None, required=("a",), dialect=CSV, max_damaged=1.0):
    """(rows, report) of a file."""
    report = FileReport(path.name, max_damaged=max_damaged)
    blocks = list(read_delimited(path, columns, Required(list(required)), report, dialect))
    return [row for block in blocks for row in block.rows()], report


@pytest.mark.parametrize("block_bytes", [16, 1 << 20])
def test_skipped_and_blank_lines_count_in_the_numbers_of_the_lines_after_them(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", block_bytes)
    (tmp_path / "log.csv").write_text("a,b\n1,2,3\n\n1,2\n1\n   \n,2\n4,5\n , \n,6\n", "utf-8")
    rows, report = read(tmp_path / "log.csv", ["b"])
    assert rows == [("2",), ("5",)]
    assert report.examples == [(2, "3 fields, not 2"), (5, "1 fields, not 2"), (7, "no 'a'"), (10, "no 'a'")]
    assert (report.lines, report.damaged) == (6, 4)


def test_a_dialect_has_its_own_delimiter_quotes_encoding_and_names(tmp_path):
    (tmp_path / "log.txt").write_bytes('1;"é\n2;x\n'.encode("latin-1"))
    dialect = Dialect(";", quote=False, encoding="latin1", names=["a", "b"])
    assert read(tmp_path / "log.txt", dialect=dialect)[0] == [("1", '"é'), ("2", "x")]
    with pytest.raises(DamagedFileError, match=r"log\.txt: byte 4 of line 1 is 0xe9, which is not UTF-8.*'latin-1'"):
        read(tmp_path / "log.txt", dialect=Dialect(";", False, names=["a", "b"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": ""}, "delimiter is ''"),
        ({"delimiter": "\n"}, "delimiter is"),
        ({"quote": "''"}, "quote is \"''\""),
        ({"quote": ","}, "cannot be used with the delimiter"),
    ],
)
def test_a_dialect_that_cannot_be_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        Dialect(**options)


@pytest.mark.parametrize("delimiter", ["::", "¦", "\x01", " "])
def test_delimiters_of_several_characters_or_bytes(tmp_path, delimiter):
    text = 'a|b\n1|x: y\n2|"q"\n'.replace(" ", "_").replace("|", delimiter)
    (tmp_path / "log.txt").write_text(text, "utf-8")
    assert read(tmp_path / "log.txt", dialect=Dialect(delimiter))[0] == [("1", "x:_y"), ("2", "q")]
    assert read(tmp_path / "log.txt", dialect=Dialect(delimiter, quote=False))[0] == [("1", "x:_y"), ("2", '"q"')]


@pytest.mark.parametrize("block_bytes", [16, 1 << 20])
def test_a_quote_without_an_end_costs_its_own_line_only(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", block_bytes)
    lines = ["a,b", '1,"one', '2,"two, too"', '3,"three\nof two lines"', "4,four", '5,"five']
    (tmp_path / "log.csv").write_text("\n".join(lines), "utf-8")
    rows, report = read(tmp_path / "log.csv")
    assert rows == [("2", "two, too"), ("3", "three\nof two lines"), ("4", "four")]
    problem = "a quoted field without a closing quote"
    assert (report.lines, report.examples) == (5, [(2, problem), (7, problem)])


@pytest.mark.parametrize("block_bytes", [16, 1 << 20])
def test_quotes_in_files_with_tabs_count_if_they_enclose_whole_fields(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", block_bytes)
    fields = ['"A" story', '"Weird', '"whole ""field"""', '5"', '"two\nlines"', '"', '""', 'end"', '"\tx"']
    (tmp_path / "log.tsv").write_text("a\tb\n" + "".join(f"{i}\t{field}\n" for i, field in enumerate(fields)))
    rows, report = read(tmp_path / "log.tsv", dialect=TSV)
    values = ['"A" story', '"Weird', 'whole "field"', '5"', "two\nlines", '"', None, 'end"', "\tx"]
    assert rows == [(str(i), value) for i, value in enumerate(values)]
    assert report.damaged == 0


@pytest.mark.parametrize("ends", ["\r", "\r\n", "\n", "\r\r\n"])
def test_lines_end_in_any_way(tmp_path, ends):
    (tmp_path / "log.csv").write_text('a,b\n1,x\n2,"y"\n'.replace("\n", ends), "utf-8", newline="")
    rows, report = read(tmp_path / "log.csv")
    assert rows == [("1", "x"), ("2", "y")]
    assert report.lines == 2


def test_a_lone_carriage_return_within_a_line_is_part_of_its_value(tmp_path):
    (tmp_path / "log.csv").write_text("a,b\n1,x\ry\n2,z\n", "utf-8", newline="")
    assert read(tmp_path / "log.csv")[0] == [("1", "x\ry"), ("2", "z")]


def test_lines_with_a_nul_character_are_damaged_and_utf_16_is_recognised(tmp_path):
    (tmp_path / "log.csv").write_bytes(b"a,b\n1,x\0\n2,y\n\0\0\0\n")
    rows, report = read(tmp_path / "log.csv")
    assert rows == [("2", "y")]
    assert report.examples == [(2, "a NUL character"), (4, "a NUL character")]
    (tmp_path / "log.csv").write_bytes("a,b\n1,x\n".encode("utf-16-le"))
    with pytest.raises(DamagedFileError, match="encoding='utf-16-le'"):
        read(tmp_path / "log.csv")
    assert read(tmp_path / "log.csv", dialect=Dialect(encoding="utf-16-le"))[0] == [("1", "x")]
    (tmp_path / "log.csv").write_bytes("a,b\n1,é\n".encode("utf-16"))
    assert read(tmp_path / "log.csv")[0] == [("1", "é")]


def test_the_wrong_delimiter_is_found_out(tmp_path):
    (tmp_path / "log.csv").write_text("a;b\n1;x\n", "utf-8")
    with pytest.raises(MissingColumnsError, match=r"no column 'a'.*check the delimiter \(','\)\. delimiter=';' fits"):
        read(tmp_path / "log.csv")


def test_columns_that_pandas_and_excel_add_are_no_columns(tmp_path):
    for header in (",a,b", "Unnamed: 0,a,b", "Unnamed: 0.1,Unnamed: 0,a,b"):
        (tmp_path / "log.csv").write_text(f"{header}\n" + "0," * (header.count(",") - 1) + "1,x\n", "utf-8")
        assert read(tmp_path / "log.csv")[0] == [("1", "x")], header
    (tmp_path / "log.csv").write_text("a, b ,,\n1,x,, \n2,y,,\n", "utf-8")
    assert read(tmp_path / "log.csv")[0] == [("1", "x"), ("2", "y")]
    (tmp_path / "log.csv").write_text("a,b,\n1,x,\n2,y,z\n", "utf-8")
    with pytest.raises(
        MissingColumnsError, match=r"values in column 3, which has no name in the header \(line 3: 'z'\)"
    ):
        read(tmp_path / "log.csv")
    assert read(tmp_path / "log.csv", ["b"])[0] == [("x",), ("y",)]


def test_a_column_twice_is_an_error_only_if_it_is_read(tmp_path):
    (tmp_path / "log.csv").write_text("a,b,b\n1,x,y\n", "utf-8")
    with pytest.raises(DataError, match=r"log\.csv has the column 'b' more than once"):
        read(tmp_path / "log.csv")
    assert read(tmp_path / "log.csv", ["a"])[0] == [("1",)]


def test_a_header_may_hold_quotes_line_breaks_blank_lines_and_a_mark(tmp_path):
    (tmp_path / "log.csv").write_bytes('\ufeff\r\n"a","b\nc"\r\n1,x\r\n,y\r\n'.encode())
    rows, report = read(tmp_path / "log.csv", ["a", "b\nc"])
    assert rows == [("1", "x")]
    assert report.examples == [(5, "no 'a'")]


def test_fields_may_be_longer_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1000)
    long, lines = "x" * 5000, "line\n" * 2000
    (tmp_path / "log.csv").write_text(f'a,b\n1,{long}\n2,"{lines}"\n3,end\n', "utf-8")
    assert read(tmp_path / "log.csv")[0] == [("1", long), ("2", lines), ("3", "end")]


def test_white_space_around_required_values_is_removed(tmp_path):
    (tmp_path / "log.csv").write_text("a,b\n 1 , x \n \t ,y\n", "utf-8")
    rows, report = read(tmp_path / "log.csv")
    assert rows == [("1", " x ")]
    assert report.damaged == 1


PARTS = ['"', '""', '"a', 'a"', '","', ",", "\t", "\r\n", "\n", "\r", "a", " ", "é", "x y"]
LINES = st.lists(st.sampled_from(PARTS), max_size=24).map("".join)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\n",\t'))


@settings(max_examples=400, deadline=None)
@given(lines=LINES, delimiter=st.sampled_from([",", "\t"]), block_bytes=st.sampled_from([8, 1 << 20]))
def test_pyarrow_and_python_read_every_text_alike(tmp_path_factory, lines, delimiter, block_bytes):
    path = tmp_path_factory.mktemp("text") / "log.csv"
    path.write_bytes(f"a{delimiter}b\n{lines}".encode())
    dialect = Dialect(delimiter)
    fast = read(path, dialect=dialect)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BLOCK_BYTES", block_bytes)
        patch.setattr(delimited, "_arrow_syntax", lambda *_: None)
        slow = read(path, dialect=dialect)
    assert fast == slow


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.tuples(TEXT.filter(str.strip), TEXT), min_size=1))
def test_what_pythons_csv_writes_is_read_as_it_was(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("text") / "log.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("a", "b"), *rows])
    found, report = read(path)
    assert found == [(a.strip(), b or None) for a, b in rows]
    assert report.damaged == 0
