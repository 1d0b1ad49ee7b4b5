"""Rows without what is required: which they are, and what is said about them."""

from __future__ import annotations

import polars as pl
import pytest

from recformer_hf.data.readers.required import Required
from recformer_hf.data.readers.source import DataError, ReadReport

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


def test_blank_text_is_missing_and_is_shown():
    found = pl.DataFrame({"user": ["u", " \t", "\x1f"]})
    required = Required(["user"])
    rows, unusable = required.check(found)
    assert unusable.to_list() == [False, True, True]
    assert required.problems(rows, unusable)[0][0] == (1, "'user' is ' \\t'")


def test_times_in_a_format_are_parsed_and_described_by_it():
    required = Required(["when"], timestamp="when", format="%d.%m.%Y")
    found = pl.DataFrame({"when": ["02.01.1970", "1970-01-02"]})
    rows, unusable = required.check(found)
    assert rows["when"].to_list() == [86_400, None]
    assert required.problems(found, unusable)[0] == [
        (1, "'when' is '1970-01-02', which is not a time from 1970 to 2100 as '%d.%m.%Y'")
    ]


@pytest.mark.parametrize("ratings", [[4.0, 3.5, None, float("nan"), 5.0], ["4", " 3.5", "", "nan", "5.0"]])
def test_a_missing_rating_is_not_at_least_the_minimum(ratings):
    report = ReadReport("a test")
    rows = pl.DataFrame({"user": list("abcde"), "stars": ratings})
    rated = Required(["user"], rating="stars", min_rating=4).rated(rows, report)
    assert rated["user"].to_list() == ["a", "e"]
    assert report.counts == {"ratings_below_the_minimum": 1, "ratings_missing": 2}


def test_without_a_minimum_ratings_are_neither_read_nor_counted():
    report = ReadReport("a test")
    required = Required(["user"], rating="stars")
    assert required.columns == ["user"]
    assert required.rated(FOUND, report).equals(FOUND)
    assert report.counts == {}
    assert Required(["user"], rating="stars", min_rating=0).columns == ["user", "stars"]
    with pytest.raises(DataError, match="rating_column"):
        Required(["user"], min_rating=4)


def test_a_rating_that_is_no_number_makes_a_row_unusable():
    rows = pl.DataFrame({"user": list("abcdef"), "stars": ["4,5", "5", " ", None, "NULL", "4 stars"]})
    required = Required(["user"], rating="stars", min_rating=4)
    _, unusable = required.check(rows)
    assert unusable.to_list() == [True, False, False, False, False, True]
    assert required.problems(rows, unusable)[0] == [
        (0, "'stars' is '4,5', which is not a number"),
        (5, "'stars' is '4 stars', which is not a number"),
    ]
    assert not Required(["user"], rating="stars").check(rows)[1].any()
