"""Reports of what was read: damaged lines are counted and shown, and too many of them refuse the file."""

from __future__ import annotations

import json

import pytest

from recformer_hf.data.readers import files
from recformer_hf.data.readers.amazon import read_amazon
from recformer_hf.data.readers.source import DamagedFileError, FileReport, ReadReport
from tests.support.data_sources import LOG, review, write_amazon, write_lines


def test_too_many_damaged_lines_are_an_error_that_shows_the_first_few(tmp_path):
    reviews, meta = write_amazon(tmp_path, "2018")
    good = [json.dumps(review("2018", *row)) for row in LOG]
    write_lines(reviews, [good[0], *[b"{"] * 7, *good[1:]])
    with pytest.raises(DamagedFileError, match=r"7 of 37 lines .*line 2: .*line 6: .*and 2 more.*At most 0\.100%"):
        read_amazon(reviews, meta, "2018")


def test_a_file_that_is_mostly_damaged_is_given_up_early(tmp_path, monkeypatch):
    reviews, meta = write_amazon(tmp_path, "2018")
    monkeypatch.setattr(files.line_blocks, "__defaults__", (1 << 18,))
    line = json.dumps(review("2018", "U", "B000", 1_400_000_000_000))  # milliseconds
    write_lines(reviews, [json.dumps(review("2018", "U", "B000", 5)), *[line] * 40_000])
    with pytest.raises(
        DamagedFileError, match=r"is 1400000000000, which is not a time from 1970 to 2100 in 's'"
    ) as error:
        read_amazon(reviews, meta, "2018")
    assert "of 40,001 lines" not in str(error.value)
    source = read_amazon(reviews, meta, "2018", max_damaged=1.0)  # asked for, it is read to its end
    assert source.report.files[0].damaged == 40_000


def test_the_first_damaged_lines_are_kept_in_order():
    report = FileReport("log.csv", max_damaged=1.0)
    report.add_lines(10, [(9, "late"), (4, "early")], more_damaged=3)
    report.add_lines(1)
    report.add_damaged([(2, "earlier")])
    assert (report.lines, report.damaged) == (11, 6)
    assert report.examples == [(2, "earlier"), (4, "early"), (9, "late")]


def test_a_report_describes_itself_without_folders():
    report = ReadReport("tables")
    report.add_file("log.csv", 0.5).add_lines(4, [(3, "no 'user_id'")])
    report.add_file("items.csv", 0.5)
    report.count("repeated_items", 1)
    report.count("repeated_items", 2)
    assert report.describe() == "tables (log.csv, items.csv)"
    assert report.to_dict() == {
        "reader": "tables",
        "files": [
            {"name": "log.csv", "lines": 4, "damaged_lines": 1, "first_damaged_lines": [3]},
            {"name": "items.csv", "lines": 0, "damaged_lines": 0, "first_damaged_lines": []},
        ],
        "repeated_items": 3,
    }
