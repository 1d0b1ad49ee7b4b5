"""Columns of files become the columns of a source."""

from __future__ import annotations

import polars as pl
import pytest
from transformers.testing_utils import CaptureLogger

from recformer_hf.data.readers import columns
from recformer_hf.data.readers.columns import (
    InteractionCollector,
    attribute_columns,
    check_columns,
    first_of_each_item,
)
from recformer_hf.data.readers.source import DataError, MissingColumnsError, ReadReport


def test_missing_columns_are_named_once_with_those_that_are_there():
    check_columns("log.csv", ["a", "b"], ["b"], "Unused.")
    message = r"^log\.csv has no column 'c', 'd'; its columns are 'a', 'b'\. Name the columns\.$"
    with pytest.raises(MissingColumnsError, match=message):
        check_columns("log.csv", ["a", "b"], ["c", "a", "d", "c"], "Name the columns.")


def test_attributes_are_all_columns_but_the_id_unless_given():
    assert attribute_columns(["title", "id", "brand"], "id", None) == ["title", "brand"]
    assert attribute_columns(["title", "id", "brand"], "id", ["brand"]) == ["brand"]


def test_blocks_of_a_log_are_joined_in_order_and_share_their_categories():
    log = InteractionCollector("who", "what", "when")
    log.add(pl.DataFrame({"what": ["b", "a"], "who": [2, 1], "when": [5, 6], "stars": [1, 1]}))
    log.add(pl.DataFrame({"what": ["c", "b"], "who": [1, 3], "when": [7, 8], "stars": [1, 1]}))
    found = log.interactions()
    assert found.rows() == [("2", "b", 5), ("1", "a", 6), ("1", "c", 7), ("3", "b", 8)]
    assert found.columns == ["user_id", "item_id", "timestamp"]
    # `amazon._is_reviewed` relies on codes that begin at 0 and have no gaps.
    assert found["item_id"].to_physical().to_list() == [0, 1, 2, 0]


def test_a_log_without_blocks_is_empty():
    found = InteractionCollector("who", "what", "when").interactions()
    assert (found.height, found.columns) == (0, ["user_id", "item_id", "timestamp"])


def test_the_first_row_of_an_item_is_kept_and_the_others_are_counted():
    report = ReadReport("a test")
    items = pl.DataFrame({"item_id": ["b", "a", "b", "b"], "title": ["1", "2", "3", "4"]})
    assert first_of_each_item(items, report, "repeated").rows() == [("b", "1"), ("a", "2")]
    assert report.counts == {"repeated": 2}


def test_a_column_twice_is_an_error_if_it_is_wanted():
    check_columns("log.csv", ["a", "b", "b"], ["a"], "Unused.")
    with pytest.raises(DataError, match=r"log\.csv has the column 'b' more than once"):
        check_columns("log.csv", ["a", "b", "b"], ["a", "b"], "Unused.")


def test_attributes_twice_or_in_the_way_of_the_ids_are_named():
    with pytest.raises(DataError, match="attributes has 'title' more than once"):
        attribute_columns(["title", "id"], "id", ["title", "title"])
    with pytest.raises(DataError, match=r"'item_id' cannot be an attribute: the ids are in 'asin'.*\['title'\]"):
        attribute_columns(["item_id", "title", "asin"], "asin", None)
    assert attribute_columns(["item_id", "title", "asin"], "asin", ["title"]) == ["title"]
    with pytest.raises(DataError, match="it is the column of the ids"):
        attribute_columns(["item_id", "title"], "item_id", ["item_id", "title"])


def test_without_a_column_of_times_a_row_has_its_position():
    log = InteractionCollector("who", "what", None)
    log.add(pl.DataFrame({"who": ["u", "v"], "what": ["b", "a"]}))
    log.add(pl.DataFrame({"who": ["u"], "what": ["c"]}))
    assert log.interactions()["timestamp"].to_list() == [0, 1, 2]


def test_the_times_of_a_whole_log_are_checked_unless_told_otherwise():
    blocks = [pl.DataFrame({"who": ["u"], "what": ["b"], "when": [day]}) for day in (20170918, 20170919)]
    for check in (True, False):
        log = InteractionCollector("who", "what", "when", check=check)
        for block in blocks:
            log.add(block)
        if check:
            with pytest.raises(DataError, match=r"a\.csv, b\.csv: All numbers of 'when' are dates"):
                log.interactions("a.csv", "b.csv")
        else:
            assert log.interactions().height == 2


def test_odd_times_of_a_log_are_logged():
    log = columns.InteractionCollector("who", "what", "when", unit="ms")
    log.add(pl.DataFrame({"who": ["u", "u"], "what": ["a", "b"], "when": [1_500_000_000, 1_500_000]}))
    with CaptureLogger(columns.logger) as logged:
        log.interactions("log.csv")
    assert "log.csv: 1 of 2 times of 'when' lie in 1970 (the first: 1970-01-18 08:40:00)" in logged.out
