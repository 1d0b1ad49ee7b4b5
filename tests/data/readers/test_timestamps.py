"""Times of all notations become whole seconds since 1970."""

from __future__ import annotations

import polars as pl
import pytest

from recformer_hf.data.readers.source import DataError
from recformer_hf.data.readers.timestamps import parse_timestamps
from tests.support.data_sources import DAY


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("86400", DAY), ("86400.7", DAY), (" 86400 ", DAY), ("1e5", 100_000), ("1970-01-02", DAY),
        ("1970-01-02 00:00", DAY),
        ("1970-01-02T00:00:01", DAY + 1), ("1970-01-02T01:00:01.5Z", DAY + 3601), ("1970-01-02 02:00:00+02:00", DAY),
        ("yesterday", None), ("", None), ("-1", None), ("99999999999", None), ("1970-13-01", None),
        ("nan", None), ("inf", None),
    ],
)  # fmt: skip
def test_times_in_text(text, seconds):
    assert parse_timestamps(pl.Series([text, "5"])).to_list() == [seconds, 5]


def test_times_in_other_types():
    assert parse_timestamps(pl.Series([1500, None]), "ms").to_list() == [1, None]
    assert parse_timestamps(pl.Series([1.9, float("nan"), float("inf")])).to_list() == [1, None, None]
    assert parse_timestamps(pl.Series([10**18]), "ns").to_list() == [10**9]
    dates = pl.Series(["1970-01-02"]).str.to_date()
    assert parse_timestamps(dates).to_list() == [DAY]
    assert parse_timestamps(dates.cast(pl.Datetime("ns"))).to_list() == [DAY]
    assert parse_timestamps(pl.Series([True])).to_list() == [None]
    with pytest.raises(DataError, match="'minutes'"):
        parse_timestamps(pl.Series([1]), "minutes")
