"""Rows without what is required: which they are, and what is said about them."""

from __future__ import annotations

import polars as pl

from recformer_hf.data.readers.required import Required

FOUND = pl.DataFrame(
    {
        "user": ["u", None, "", "v", "w"],
        "when": ["5", "6", "7", "soon", "1970-01-02"],
        "free": [None, "a", "b", "c", ""],
    }
)


def test_nulls_empty_text_and_what_is_no_time_make_a_row_unusable():
    rows, unusable = Required(["user", "when"], timestamp="when").check(FOUND)
    assert unusable.to_list() == [False, True, True, True, False]
    assert rows["when"].to_list() == [5, 6, 7, None, 86_400]
    assert rows["user"].to_list() == FOUND["user"].to_list()


def test_the_problem_of_each_row_is_named_with_its_value():
    required = Required(["user", "when"], timestamp="when")
    _, unusable = required.check(FOUND)
    assert required.problems(FOUND, unusable) == (
        [
            (1, "no 'user'"),
            (2, "'user' is ''"),
            (3, "'when' is 'soon', which is not a time from 1970 to 2100 in 's'"),
        ],
        0,
    )


def test_only_the_first_few_rows_are_described():
    found = pl.DataFrame({"user": [None] * 9}, schema={"user": pl.String})
    required = Required(["user"])
    problems, more = required.problems(found, required.check(found)[1])
    assert ([row for row, _ in problems], more) == ([0, 1, 2, 3, 4], 4)


def test_without_a_column_of_times_nothing_is_parsed():
    rows, unusable = Required(["when"]).check(FOUND)
    assert rows.equals(FOUND)
    assert not unusable.any()
