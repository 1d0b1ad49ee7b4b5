"""Times of all notations become whole seconds since 1970."""

from __future__ import annotations

import re

import polars as pl
import pytest

from recformer_hf.data.readers.source import DataError
from recformer_hf.data.readers.timestamps import check_times, odd_times, parse_timestamps, time_problem
from tests.support.data_sources import DAY


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("86400", DAY), ("86400.7", DAY), (" 86400 ", DAY), ("1e5", 100_000), ("1970-01-02", DAY),
        ("1970-01-02 00:00", DAY),
        ("1970-01-02T00:00:01", DAY + 1), ("1970-01-02T01:00:01.5Z", DAY + 3601), ("1970-01-02 02:00:00+02:00", DAY),
        ("1970-01-02T02:00:00+0200", DAY), ("1970-01-02 02:00:00 +02", DAY), ("1970-01-02 00:00:00 UTC", DAY),
        ("1970-01-02 00:00Z", DAY), ("1970-01-02T00:00:00,25 GMT", DAY), ("1970-1-2 0:0", DAY),
        ("1970-01-02 00:00:00 EST", None), ("1970-01-02 25:00:00", None), ("1970-01-02 00:00:00+99:00", None),
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


@pytest.mark.parametrize(
    ("text", "format", "seconds"),
    [
        ("01/02/1970 12:00:01 AM", "%m/%d/%Y %I:%M:%S %p", DAY + 1),
        (" 1/2/1970 0:01 ", "%m/%d/%Y %H:%M", DAY + 60),
        ("01 2, 1970", "%m %d, %Y", DAY),
        ("Fri Jan 02 02:00:00 +0200 1970", "%a %b %d %H:%M:%S %z %Y", DAY),
        ("1970-01-02 00:00:00.9", "%Y-%m-%d %H:%M:%S.%f", DAY),
        ("13/02/1970", "%m/%d/%Y", None), ("1970-01-02", "%m/%d/%Y", None), ("86400", "%m/%d/%Y", None),
        ("02/01/1869", "%d/%m/%Y", None),
    ],
)  # fmt: skip
def test_times_in_a_given_format_as_strptime_reads_them(text, format, seconds):
    assert parse_timestamps(pl.Series([text, None]), format=format).to_list() == [seconds, None]


def test_dates_as_numbers_in_a_given_format():
    assert parse_timestamps(pl.Series([19700102, None, 19701332]), format="%Y%m%d").to_list() == [DAY, None, None]
    floats = pl.Series([19700102.0, None, float("nan"), 19700102.5])
    assert parse_timestamps(floats, format="%Y%m%d").to_list() == [DAY, None, None, None]


@pytest.mark.parametrize(
    ("format", "problem"),
    [("%m/%d", "with a year"), ("%Y %Z", "zones"), ("%Y %Q", "strptime refuses"), ("%Y%", "strptime refuses")],
)
def test_a_format_that_is_no_notation_of_times_is_refused(format, problem):
    with pytest.raises(DataError, match=problem):
        parse_timestamps(pl.Series(["x"]), format=format)


def test_zones_of_typed_columns_are_kept():
    noon = pl.Series(["1970-01-02 09:00:00"]).str.to_datetime().dt.replace_time_zone("Asia/Tokyo")
    assert parse_timestamps(noon).to_list() == [DAY]
    assert parse_timestamps(pl.Series([pl.duration(days=1)], dtype=pl.Duration)).to_list() == [None]
    assert parse_timestamps(pl.Series(["86400"], dtype=pl.Categorical)).to_list() == [DAY]


@pytest.mark.parametrize(
    ("numbers", "unit", "advice"),
    [
        ([1_400_000_000, 1_500_000_000], "ms", 'timestamp_unit="s", which gives 2017-07-14'),
        ([1_400_000_000_000], "us", 'timestamp_unit="ms"'),
        ([1_400_000_000_000_000], "ns", 'timestamp_unit="us"'),
        ([1, 2, 3], "ms", "positions such as 1, 2, 3"),
        ([20170918, 20170919], "s", 'timestamp_format="%Y%m%d"'),
        ([2017091812], "s", 'timestamp_format="%Y%m%d%H"'),
        ([201709181200], "ms", 'timestamp_format="%Y%m%d%H%M"'),
        ([20170918120000], "us", 'timestamp_format="%Y%m%d%H%M%S"'),
    ],
)
def test_a_log_in_another_notation_is_found_out(numbers, unit, advice):
    seconds = parse_timestamps(pl.Series("when", numbers), unit)
    with pytest.raises(DataError, match=rf"'when'.*{advice}.*check_times=False"):
        check_times(seconds, "when", unit)


def test_times_that_may_be_right_are_accepted():
    for numbers, unit in (([1, 2, 3], "s"), ([20170918, 1_400_000_000], "s"), ([20170999], "s"), ([10**12], "ms")):
        check_times(parse_timestamps(pl.Series(numbers), unit), "when", unit)
    check_times(pl.Series([None], dtype=pl.Int64), "when", "ms")
    check_times(pl.Series([DAY]), "when", "ms", "%Y-%m-%d")
    # pandas.to_datetime(1400000000) is 1.4 seconds after the start of 1970.
    with pytest.raises(DataError, match=r"January 1970.*Convert the column"):
        check_times(pl.Series([1]), "when", typed=True)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1_400_000_000_000, "in 's' ('ms' fits)"),
        (20170918120000, "in 's' (timestamp_format=\"%Y%m%d%H%M%S\" fits)"),
        (10**400, "in 's'"),  # too large for a float
        ("11/15/2019", "in 's' (other notations: timestamp_format, such as \"%m/%d/%Y %H:%M\")"),
        (-5, "in 's'"),
        ("soon", "in 's'"),
    ],
)
def test_a_damaged_time_is_described_with_what_may_fit(value, hint):
    assert time_problem("when", value, "s") == f"'when' is {value!r}, which is not a time from 1970 to 2100 {hint}"


def test_floats_of_few_digits_are_no_times():
    times = pl.Series("when", [1_500_000_000, 1_500_000_001], dtype=pl.Float32)  # both became 1500000000
    with pytest.raises(DataError, match=r"'when' are floats of few digits \(Float32\).* such as 1500000000"):
        parse_timestamps(times)
    assert parse_timestamps(pl.Series([5.0, None, float("nan"), float("inf")], dtype=pl.Float32)).to_list() == [
        5, None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "problem"),
    [
        ([2017, 2018, 2017], 'numbers from 2017 to 2018. If these are years, pass timestamp_format="%Y"'),
        ([43_555, 43_556, None], r"a spreadsheet's days \(43556 is 2019-04-01\)"),
        ([1_500_000_000, 0, 1_500_000], r"2 of 3 times of 'when' lie in 1970 \(the first: 1970-01-01 00:00:00\)"),
        ([1_500_000_000, 31_536_000], None),
        ([1, 2, 3], None),
        ([0, 50_000], None),
        ([1970, 5000], None),
        ([2000, 2000], None),
        ([None], None),
    ],
)
def test_times_that_may_be_wrong_are_described(seconds, problem):
    found = odd_times(pl.Series(seconds, dtype=pl.Int64), "when")
    assert found is None if problem is None else re.search(problem, found)
    assert odd_times(pl.Series(seconds, dtype=pl.Int64), "when", format="%Y") is None
