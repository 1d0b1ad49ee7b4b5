"""Files of one object a line: damaged lines are counted under their numbers, and all others are read."""

from __future__ import annotations

import json

import pytest

from recformer_hf.data.readers import files
from recformer_hf.data.readers.amazon import read_amazon
from tests.support.data_sources import LOG, review, rows_of, write_amazon, write_lines

DAMAGED = {
    "cut short": b'{"reviewerID": "U", "asin": "B000", "unixRev',
    "not json": b"<html>",
    "not an object": b"[1, 2]",
    "no user": b'{"asin": "B000", "unixReviewTime": 86400}',
    "an empty item": b'{"reviewerID": "U", "asin": "", "unixReviewTime": 86400}',
    "not utf-8": b'{"reviewerID": "\xff\xfe", "asin": "B000", "unixReviewTime": 86400}',
    "no time": b'{"reviewerID": "U", "asin": "B000", "unixReviewTime": "yesterday"}',
    "null time": b'{"reviewerID": "U", "asin": "B000", "unixReviewTime": null}',
    "milliseconds": b'{"reviewerID": "U", "asin": "B000", "unixReviewTime": 1400000000000}',
    "before 1970": b'{"reviewerID": "U", "asin": "B000", "unixReviewTime": -5}',
    "two on a line": b'{"reviewerID": "U", "asin": "B", "unixReviewTime": 1}{"reviewerID": "U"}',
}


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_line_is_counted_under_its_number_and_the_rest_is_read(tmp_path, line):
    reviews, meta = write_amazon(tmp_path, "2018")
    good = [json.dumps(review("2018", *row)) for row in LOG]
    write_lines(reviews, [*good[:3], "", line, *good[3:]])
    source = read_amazon(reviews, meta, "2018", max_damaged=0.1)
    assert rows_of(source) == LOG
    report = source.report.files[0]
    assert (report.lines, report.damaged) == (len(LOG) + 1, 1)
    assert [number for number, _ in report.examples] == [5]


def test_line_numbers_hold_over_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(files.line_blocks, "__defaults__", (200,))
    reviews, meta = write_amazon(tmp_path, "2018")
    good = [json.dumps(review("2018", *row)) for row in LOG]
    write_lines(reviews, [*good[:20], b"{", *good[20:], b"["])
    source = read_amazon(reviews, meta, "2018", max_damaged=0.1)
    assert [number for number, _ in source.report.files[0].examples] == [21, 32]
    assert rows_of(source) == LOG


def test_numbers_as_text_and_ids_as_numbers_are_no_damage(tmp_path):
    reviews, meta = write_amazon(tmp_path, "2018")
    write_lines(reviews, ['{"reviewerID": 7, "asin": "B000", "unixReviewTime": "86400"}'])
    assert rows_of(read_amazon(reviews, meta, "2018")) == [("7", "B000", 86400)]
