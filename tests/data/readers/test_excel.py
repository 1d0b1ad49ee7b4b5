"""Excel workbooks read like other tables."""

from __future__ import annotations

from datetime import datetime, time, timedelta

import pytest

from recformer_hf.data.readers import excel
from recformer_hf.data.readers.source import DamagedFileError, DataError, MissingColumnsError
from recformer_hf.data.readers.table import read_table
from tests.support.data_sources import rows_of, write_csv

openpyxl = pytest.importorskip("openpyxl")
pytest.importorskip("fastexcel")


def write(path, rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.create_sheet("Other").append(["something", "else"])
    book.save(path)
    return path


@pytest.fixture
def items(tmp_path):
    return write_csv(tmp_path / "items.csv", ["item_id", "title"], [("1", "A"), ("007", "B")])


@pytest.fixture
def log(tmp_path):
    return write_csv(tmp_path / "log.csv", ["user_id", "item_id", "timestamp"], [("U", "1", 10)])


def test_interactions_have_excels_row_numbers(tmp_path, items):
    header = ["user_id", "item_id", "rating", "timestamp"]
    rows = [
        ("U", 1, 5, datetime(2020, 1, 2)),
        (),
        ("U", None, 4, datetime(2020, 1, 3)),
        ("V", 1.0, 2, datetime(2020, 1, 4)),
    ]
    path = write(tmp_path / "log.xlsx", [header, *rows])
    source = read_table(path, items, max_damaged=0.5)
    assert rows_of(source) == [("U", "1", 1577923200), ("V", "1", 1578096000)]
    assert (source.report.files[0].lines, source.report.files[0].examples) == (3, [(4, "no 'item_id'")])
    assert rows_of(read_table(path, items, max_damaged=0.5, min_rating=3)) == [("U", "1", 1577923200)]


def test_items_are_text_as_excel_shows_them(tmp_path, log):
    header = [None, "item_id", " title ", "price", "year", "made", None]
    rows = [[i, f"00{i}" if i == 7 else str(i), "A", 3.5, 7, datetime(2020, 1, 2), None] for i in range(5, 1500)]
    rows[-1] = [1499, "1499", 1984, 7, None, None, None]
    source = read_table(log, write(tmp_path / "items.xlsx", [header, *rows]))
    assert source.items.columns == ["item_id", "title", "price", "year", "made"]
    assert source.items.row(2) == ("007", "A", "3.5", "7", "2020-01-02")
    assert source.items.row(-1) == ("1499", "1984", "7", None, None)


def test_columns_that_cannot_be_are_refused(tmp_path, log):
    path = write(tmp_path / "items.xlsx", [["item_id", "title", "title"], ["1", "A", "B"]])
    with pytest.raises(DataError, match=r"items\.xlsx has the column 'title' more than once"):
        read_table(log, path)
    path = write(tmp_path / "items.xlsx", [["item_id", "title", None], ["1", "A", None], ["2", "B", "C"]])
    with pytest.raises(
        MissingColumnsError, match=r"values in column 3, which has no name in the header \(line 3: 'C'\)"
    ):
        read_table(log, path)
    assert read_table(log, path, attributes=["title"]).items.rows() == [("1", "A"), ("2", "B")]
    with pytest.raises(MissingColumnsError, match=r"items\.xlsx has no column 'user_id'.*its columns are 'item_id'"):
        read_table(path, path)
    with pytest.raises(MissingColumnsError, match="no column 'item_id'"):
        read_table(log, write(tmp_path / "empty.xlsx", []))


def test_what_is_no_workbook_or_cannot_be_read_is_named(tmp_path, log, items, monkeypatch):
    (tmp_path / "log.xlsx").write_bytes(log.read_bytes())
    with pytest.raises(DamagedFileError, match=r"log\.xlsx is not a readable Excel workbook"):
        read_table(tmp_path / "log.xlsx", items)
    path = write(tmp_path / "renamed.csv", [["user_id"]])
    with pytest.raises(DataError, match=r"renamed\.csv is not a text file but an Excel workbook.*\.xlsx"):
        read_table(path, items)
    monkeypatch.setattr(excel, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'recformer-hf\[data,excel\]'"):
        read_table(tmp_path / "log.xlsx", items)


def test_cells_of_several_types_in_one_column_stay_what_they_are(tmp_path, log, items):
    header = ["item_id", "title", "number", "day"]
    rows = [
        ("007", True, 5, datetime(2020, 1, 2, 3)),
        (7, "true", True, time(1, 2)),
        (True, "no id", 2.5, None),
        (5.5, "no id", 1, None),
        ("x", 1e-7, 12345678901234567890, "soon"),
        ("y", datetime(2020, 1, 2, 3), None, None),
        ("5.50", "5.50", None, None),
    ]
    source = read_table(log, write(tmp_path / "items.xlsx", [header, *rows]), max_damaged=0.5)
    assert source.items.rows() == [
        ("007", "True", "5", "2020-01-02 03:00:00"),
        ("7", "true", "True", "01:02:00"),
        ("x", "1e-07", "1.234567890123457e+19", "soon"),
        ("y", "2020-01-02 03:00:00", None, None),
        ("5.50", "5.50", None, None),
    ]
    assert [row for row, _ in source.report.files[1].examples] == [4, 5]
    with pytest.raises(DataError, match=r"row 3, column 'title': .*timedelta"):
        read_table(log, write(tmp_path / "long.xlsx", [header, ("1", "A"), ("2", timedelta(hours=30))]))
    numbers = write(tmp_path / "log.xlsx", [["user_id", "item_id", "timestamp"], ("U", 1234567890123456789, 10)])
    with pytest.raises(DataError, match=r"'item_id' are floats \(Excel's numbers\) and have lost digits"):
        read_table(numbers, items)


def test_dates_beside_text_that_excel_did_not_read_as_dates(tmp_path, items):
    header = ["user_id", "item_id", "timestamp"]
    rows = [("U", 1, datetime(2020, 1, 2, 3)), ("U", 1, "31/01/2020 04:00"), ("U", 1, True)]
    path = write(tmp_path / "log.xlsx", [header, *rows])
    source = read_table(path, items, timestamp_format="%d/%m/%Y %H:%M", max_damaged=0.5)
    assert rows_of(source) == [("U", "1", 1577934000), ("U", "1", 1580443200)]
    assert [row for row, _ in source.report.files[0].examples] == [4]
