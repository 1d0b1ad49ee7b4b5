"""Files of one object a line: damaged lines are counted under their numbers, and all others are read."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.readers import files, json_lines
from recformer_hf.data.readers.amazon import read_amazon
from recformer_hf.data.readers.cells import CellError
from recformer_hf.data.readers.required import Required
from recformer_hf.data.readers.source import FileReport
from tests.support.data_sources import LOG, review, rows_of, write_amazon, write_lines

NAN = float("nan")
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


def block_of(rows):
    return b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)


REQUIRED = Required(["user", "item", "when"], "when", rating="stars", min_rating=1.0)


def both_ways(block):
    """The rows of a block by pyarrow, None if it refuses it, and by Python; with Python's report."""
    columns, report = REQUIRED.columns, FileReport("log", max_damaged=1.0)
    fast = json_lines._parse_clean_block(block, columns, REQUIRED, json_lines.JSON)
    slow = json_lines._parse_line_by_line(json_lines._Block(1, block), columns, REQUIRED, report, json_lines.JSON)
    as_text = [pl.col("stars").cast(pl.Float64, strict=False).fill_nan(None)]
    return None if fast is None else fast.with_columns(as_text), slow.with_columns(as_text), report


odd = st.sampled_from(
    [
        True,
        None,
        5,
        1.0,
        2.5,
        1e16,
        10**20,
        [1],
        {"user": 1},
        "",
        " ",
        "5",
        "5.0",
        "1970-01-02",
        "\ud83d",
        "\0",
        -1,
        NAN,
    ]
)
rows = st.fixed_dictionaries(
    {
        "user": st.text(min_size=1, max_size=4) | odd,
        "item": st.integers(0, 9) | odd,
        "when": st.integers(0, 10**9) | st.floats(0, 1e9) | odd,
        "stars": st.floats(1, 5) | odd,
    },
    optional={"more": odd | st.lists(odd, max_size=2)},
)
clean = st.fixed_dictionaries(
    {
        "user": st.text(min_size=1, max_size=4),
        "item": st.integers(-9, 9),
        "when": st.integers(0, 10**9),
        "stars": st.floats(1, 5),
    },
    optional={"more": odd | st.lists(odd, max_size=2)},
)
pieces = st.sampled_from(
    [b'"', b"{", b"}", b"\n", b"\\", b",", b"0", b"\x01", b"\xff", b"\r", b" ", b'"user":', b'\\u0075', b"]", b"[",
     b"e", b".", b"-", b"NaN", b"true", b"\xef\xbb\xbf", b"/**/"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(clean, min_size=1, max_size=3) | st.lists(rows, min_size=1, max_size=3),
    ends=st.sampled_from([b"\n", b"\r\n"]),
    changes=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 1), pieces), max_size=2),
)
def test_pyarrow_gives_what_python_gives_or_refuses_the_block(rows, ends, changes):
    block = bytearray(b"".join(json.dumps(row).encode() + ends for row in rows))
    for place, removed, inserted in changes:
        place %= len(block)
        block[place : place + removed] = inserted
    fast, slow, report = both_ways(bytes(block))
    if fast is not None:
        assert report.damaged == 0
        assert report.lines == fast.height
        assert fast.rows() == slow.rows()


@pytest.mark.parametrize(
    "row",
    [
        {"user": "u", "item": "i", "when": 5, "stars": 1.0},
        {"user": 7, "item": "\u00e9\0", "when": 5.5, "stars": 1},
        {"user": "\U0001f600", "item": 1, "when": "1970-01-02", "stars": "4", "more": {"user": "x", "user2": "}\n{"}},
    ],
)
def test_clean_logs_take_the_fast_way(row):
    for end in (b"\n", b"\r\n"):
        fast, slow, _ = both_ways(end.join([json.dumps(row).encode()] * 3) + end)
        assert fast is not None
        assert fast.rows() == slow.rows()
        assert fast.height == 3


@pytest.mark.parametrize(
    "line",
    [
        b'{"user": "a", "user": "b", "item": 1, "when": 1, "stars": 1}',  # Python takes the last, pyarrow none
        b'{"user": "a", "us\\u0065r": "b", "item": 1, "when": 1, "stars": 1}',
        b'{"user": "a", "item": 1, "when": 1, "stars": 1}{"user": "b", "item": 1, "when": 1, "stars": 1}',
        b'{"user": "a", "item": 1,\n"when": 1, "stars": 1}',
        b'{"user": "a", "item": 1, "when": 1, "stars": 1, "more": "\xff"}',
        b'{"user": 5.0, "item": 1, "when": 1, "stars": 1}',
        b'{"user": true, "item": 1, "when": 1, "stars": 1}',
    ],
)
def test_what_pyarrow_reads_in_another_way_takes_the_slow_way(line):
    good = b'{"user": "u", "item": 1, "when": 1, "stars": 1}'
    for block in (line, good + b"\n" + line, line + b"\n" + good):
        assert both_ways(block)[0] is None


def read_log(path, required=None):
    required = required or Required(["user", "item", "when"], "when")
    report = FileReport(path.name, max_damaged=1.0)
    blocks = list(json_lines.read_json_lines(path, required.columns, required, report))
    return [row for block in blocks for row in block.rows()], report


def test_a_line_may_hold_the_lists_of_a_user(tmp_path):
    lines = [
        {"user": "u", "item": ["a", 2], "when": [5, "6"]},
        {"user": "v", "item": ["a"], "when": 7},
        {"user": "w", "item": [], "when": []},
        {"user": "w", "item": ["a", "b"], "when": [1]},
        {"user": "w", "item": ["a", None], "when": [1, 2]},
        {"user": ["w"], "item": ["a"], "when": [1]},
    ]
    rows, report = read_log(write_lines(tmp_path / "log.jsonl", [json.dumps(line) for line in lines]))
    assert rows == [("u", "a", 5), ("u", "2", 6), ("v", "a", 7)]
    assert (report.lines, report.damaged) == (6, 3)
    assert [number for number, _ in report.examples] == [4, 5, 6]
    assert "different lengths: 'item' 2, 'when' 1" in report.examples[0][1]


def test_a_log_may_be_one_list(tmp_path):
    rows = [{"user": "u", "item": n, "when": n, "stars": None if n else 4} for n in range(3)]
    (tmp_path / "log.json").write_text(json.dumps(rows, indent=1))
    found, report = read_log(tmp_path / "log.json", REQUIRED)
    assert found == [("u", "0", 0, "4"), ("u", "1", 1, None), ("u", "2", 2, None)]
    assert report.lines == 3


def test_ids_that_have_lost_digits_and_odd_times_are_damaged_lines(tmp_path):
    lines = [
        '{"user": 1.0, "item": 2, "when": 1.5}',
        '{"user": 9007199254740993.0, "item": 2, "when": 1}',
        '{"user": 1, "item": 2, "when": true}',
        '{"user": 1, "item": 2, "when": NaN}',
        '{"user": 1, "item": 2, "when": 1e400}',
        '{"user": 1, "item": 2, "when": {"$date": 5}}',
    ]
    rows, report = read_log(write_lines(tmp_path / "log.jsonl", lines))
    assert rows == [("1", "2", 1)]
    assert [number for number, _ in report.examples] == [2, 3, 4, 5, 6]


def test_every_row_is_converted_or_its_line_is_damaged(tmp_path):
    def convert(found):
        if found["a"] == 2:
            raise CellError("two")
        return found["a"]

    report = FileReport("rows.jsonl", max_damaged=1.0)
    path = write_lines(tmp_path / "rows.jsonl", ['{"a": 1}', "", '{"a": 2}', "x", *['{"a": 2}'] * 9, '{"a": 3}'])
    assert list(json_lines.read_json_rows(path, ["a"], convert, report)) == [[1, 3]]
    assert (report.lines, report.damaged) == (13, 11)
    assert report.examples[:2] == [(3, "two"), (4, "not readable (Expecting value)")]
