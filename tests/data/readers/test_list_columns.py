"""Rows with lists: which fit together, and what happens to a line with an unusable interaction."""

from __future__ import annotations

import polars as pl
import pytest

from recformer_hf.data.readers.cells import CellError
from recformer_hf.data.readers.list_columns import check_lists, usable_rows
from recformer_hf.data.readers.required import Required
from recformer_hf.data.readers.source import FileReport

REQUIRED = Required(["user", "item", "when"], timestamp="when")


@pytest.mark.parametrize("lengths", [{}, {"item": 3, "when": 3}, {"item": 2}, {"item": 0, "when": 0}])
def test_lists_of_one_length_fit_together(lengths):
    check_lists(lengths, REQUIRED)


@pytest.mark.parametrize(
    ("lengths", "problem"),
    [
        ({"user": 1, "item": 1}, "'user' is a list; expected one user"),
        ({"when": 2}, "'when' is a list, but 'item' is not"),
        ({"item": 1_000, "when": 2}, "different lengths: 'item' 1,000, 'when' 2"),
    ],
)
def test_other_lists_are_refused(lengths, problem):
    with pytest.raises(CellError, match=problem):
        check_lists(lengths, REQUIRED)


def test_a_line_with_an_unusable_interaction_is_damaged_as_a_whole():
    found = pl.DataFrame({"user": ["u"] * 4, "item": list("abcd"), "when": ["1", "soon", "later", "4"]})
    report = FileReport("log", max_damaged=1.0)
    rows = usable_rows(found, pl.Series([1, 2, 2, 3]), REQUIRED, report)
    assert rows.select("item", "when").rows() == [("a", 1), ("d", 4)]
    assert report.damaged == 1
    assert report.examples == [(2, "'when' is 'soon', which is not a time from 1970 to 2100 in 's'")]


def test_more_damaged_lines_than_are_shown_are_counted():
    found = pl.DataFrame({"user": ["u"] * 9, "item": ["a"] * 9, "when": ["soon"] * 9})
    report = FileReport("log", max_damaged=1.0)
    assert usable_rows(found, pl.Series(range(1, 10)), REQUIRED, report).is_empty()
    assert (report.damaged, [line for line, _ in report.examples]) == (9, [1, 2, 3, 4, 5])
