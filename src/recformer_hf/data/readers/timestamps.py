"""Times in any notation as whole seconds since 1970."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Literal

from ..polars_engine import pl
from .source import DataError

# The first moment of 2100. A later time is damaged or has another unit: milliseconds read as seconds lie far beyond it.
LATEST_TIMESTAMP = 4_102_444_800
# The first moment of February 1970. Seconds read as milliseconds, or milliseconds as microseconds, all lie before it.
END_OF_JANUARY_1970 = 31 * 86_400
END_OF_1970 = 365 * 86_400

# Days since 1900, as spreadsheets count them: those of 1970 to 2100.
_SPREADSHEET_DAYS = (25_569, 73_051)

TimeUnit = Literal["s", "ms", "us", "ns"]
UNITS_PER_SECOND: dict[TimeUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

# A date, and perhaps a time with or without seconds, a fraction and a zone.
_ISO_TIME = (
    r"^(?P<date>\d{4}-\d{1,2}-\d{1,2})"
    r"(?:(?:\s+|[Tt])(?P<minutes>\d{1,2}:\d{1,2})(?::(?P<seconds>\d{1,2})(?:[.,](?P<fraction>\d+))?)?)?"
    r"\s*(?P<zone>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?$"
)
# Notations of dates as whole numbers, by their number of digits.
_FORMATS_OF_DIGITS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


def parse_timestamps(times: pl.Series, unit: TimeUnit = "s", format: str | None = None) -> pl.Series:
    """Times as whole seconds since 1970 (UTC), rounded down.

    Args:
        times: `[n]`, one of: numbers in `unit`; dates or datetimes (UTC if they have no zone); or text with a number,
            "2019-03-31", or "2019-03-31 17:05:00", which may have a "T" between date and time, fractions of a second,
            and a zone: "Z", "UTC", "GMT", or an offset such as "+02:00" or "+0200".
        unit: unit of the numbers.
        format: notation of texts and numbers as in Python's `datetime.strptime`, such as "%m/%d/%Y %I:%M:%S %p" or
            "%Y%m%d"; UTC unless it has "%z". None: the notations above.

    Returns:
        Int64 series `[n]`; null for a value that is not a time or lies outside 1970 to 2100.

    Raises:
        DataError: if the unit is unknown, or the format is not a notation of dates.
    """
    if unit not in UNITS_PER_SECOND:
        raise DataError(f"unit is {unit!r}; expected one of {', '.join(map(repr, UNITS_PER_SECOND))}.")
    if format is not None:
        _check_format(format)
    if isinstance(times.dtype, (pl.Categorical, pl.Enum)):
        times = times.cast(pl.String)
    if isinstance(times.dtype, (pl.Date, pl.Datetime)):
        seconds = times.cast(pl.Datetime("us"), strict=False).dt.epoch("s")
    elif times.dtype == pl.String:
        seconds = _seconds_of_text(times, unit) if format is None else _seconds_by_format(times, format)
    elif times.dtype.is_numeric():
        seconds = _seconds_of_numbers(times, unit) if format is None else _seconds_by_format(_digits(times), format)
    else:
        seconds = pl.Series([None] * len(times), dtype=pl.Int64)
    seconds = seconds.cast(pl.Int64, strict=False).alias(times.name)
    return seconds.set(~seconds.is_between(0, LATEST_TIMESTAMP), None)


def time_problem(name: str, value: object, unit: TimeUnit, format: str | None = None) -> str:
    """What to report about a value that `parse_timestamps` turned to null."""
    # Readers of text have numbers as text, too.
    shown = value if isinstance(value, str) and re.fullmatch(r"-?\d+", value) else repr(value)
    if format is not None:
        return f"{name!r} is {shown}, which is not a time from 1970 to 2100 as {format!r}"
    return f"{name!r} is {shown}, which is not a time from 1970 to 2100 in {unit!r}{_hint(value)}"


def check_times(
    seconds: pl.Series, column: str, unit: TimeUnit = "s", format: str | None = None, *, typed: bool = False
) -> None:
    """Check that the times of a whole log look as if they had been read in the right notation.

    Args:
        seconds: what `parse_timestamps` returned, Int64 `[n]`; nulls are ignored.
        column: the column's name, for the message.
        unit: the unit with which they were read. Small numbers of seconds are accepted, because they may be mere
            positions (1, 2, 3 ...).
        format: the format with which they were read; any time is accepted if there is one.
        typed: the column held dates or datetimes instead of numbers or text.

    Raises:
        DataError: if every time is a number such as 20170918, which is a date; or if every time lies in January 1970,
            which means that another unit was written. The message says which unit or format fits.
    """
    earliest, latest = seconds.min(), seconds.max()
    if format is not None or not isinstance(earliest, int) or not isinstance(latest, int):
        return
    read_as = "as dates" if typed else f"in {unit!r}"
    switch = "If the times are right, pass check_times=False."
    if latest < END_OF_JANUARY_1970 and (typed or unit != "s"):
        advice = "Convert the column with the unit of its numbers" if typed else _fitting_unit(latest, unit)
        raise DataError(
            f"All times of {column!r} lie in January 1970 (the last: {_as_date(latest)}) when read {read_as}. "
            f"{advice}. {switch}"
        )
    if not typed and _are_dates_as_numbers(seconds, earliest, latest):
        digits = len(str(latest * UNITS_PER_SECOND[unit]))
        fitting = _FORMATS_OF_DIGITS.get(digits, "%Y%m%d")
        raise DataError(
            f"All numbers of {column!r} are dates, such as {latest}; read {read_as} they lie in "
            f'{_as_date(latest)[:4]}. Pass timestamp_format="{fitting}". {switch}'
        )


def odd_times(seconds: pl.Series, column: str, unit: TimeUnit = "s", format: str | None = None) -> str | None:
    """What is odd about the times of a whole log that may still be right.

    Args:
        seconds, column, unit, format: as for `check_times`.

    Returns:
        a sentence or two, or None.
    """
    earliest, latest = seconds.min(), seconds.max()
    if format is not None or not isinstance(earliest, int) or not isinstance(latest, int):
        return None
    if unit == "s" and 1970 <= earliest <= latest < 2100 and earliest < latest:
        advice = 'If these are years, pass timestamp_format="%Y".'
        return f"All times of {column!r} are numbers from {earliest} to {latest}. {advice}"
    if unit == "s" and _SPREADSHEET_DAYS[0] <= earliest <= latest < _SPREADSHEET_DAYS[1]:
        day = _as_date((latest - _SPREADSHEET_DAYS[0]) * 86_400)[:10]
        return (
            f"All times of {column!r} are numbers from {earliest} to {latest}, read as seconds of 1 January 1970. "
            f"If these are a spreadsheet's days ({latest} is {day}), save the column as dates."
        )
    if earliest < END_OF_1970 and _is_plausible(latest):
        early = int((seconds < END_OF_1970).sum())
        return (
            f"{early:,} of {len(seconds):,} times of {column!r} lie in 1970 (the first: {_as_date(earliest)}), others "
            f"as late as {_as_date(latest)}. Those may be missing times written as 0, or have another unit or notation."
        )
    return None


def _check_format(format: str) -> None:
    if "%Z" in format:
        raise DataError(
            f"timestamp_format is {format!r}; the names of zones (%Z) depend on the machine. Write the zone as it "
            'stands ("UTC"), or "%z" for offsets such as +0200.'
        )
    if not re.search("%[YyGcx]", format):
        raise DataError(f'timestamp_format is {format!r}; expected a notation with a year, such as "%m/%d/%Y %H:%M".')
    try:
        datetime.strptime("", format)
    except (ValueError, IndexError, re.error) as error:
        if "does not match" not in str(error):
            raise DataError(f"timestamp_format is {format!r}, which strptime refuses ({error}).") from error


def _seconds_by_format(times: pl.Series, format: str) -> pl.Series:
    """The times of text by Python's own `strptime`: polars' notation of formats differs in fractions, years and zones.

    Each distinct text is parsed once, because most logs in such notations hold days or minutes.
    """
    stripped = times.str.strip_chars()
    distinct = stripped.drop_nulls().unique()
    seconds = pl.Series([_seconds_of(text, format) for text in distinct.to_list()], dtype=pl.Int64)
    return stripped.replace_strict(distinct, seconds, default=None, return_dtype=pl.Int64)


def _seconds_of(text: str, format: str) -> int | None:
    try:
        time = datetime.strptime(text, format)
        return int((time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp() // 1)
    except (ValueError, OverflowError):
        return None


def _digits(numbers: pl.Series) -> pl.Series:
    """Whole numbers as their digits, also in a column of floats, which pandas makes of whole numbers with gaps."""
    if numbers.dtype.is_integer():
        return numbers.cast(pl.String)
    whole = numbers.cast(pl.Int64, strict=False)
    return whole.set((whole != numbers).fill_null(False), None).cast(pl.String)


def _seconds_of_numbers(times: pl.Series, unit: TimeUnit) -> pl.Series:
    if times.dtype.is_float():
        latest = times.cast(pl.Float64).fill_nan(None).max()
        if times.dtype != pl.Float64 and isinstance(latest, float) and 2**24 <= latest < float("inf"):
            raise DataError(
                f"The times of {times.name!r} are floats of few digits ({times.dtype}) and have lost some, such as "
                f"{latest:.0f}: in seconds, they are off by up to two minutes. Write them as whole numbers."
            )
        times = times.cast(pl.Float64)
        times = times.set(~times.is_finite(), None)
        return (times / UNITS_PER_SECOND[unit]).floor().cast(pl.Int64, strict=False)
    return times.cast(pl.Int64, strict=False) // UNITS_PER_SECOND[unit]


def _seconds_of_text(times: pl.Series, unit: TimeUnit) -> pl.Series:
    # Whole numbers first: most logs hold nothing else, and trying all notations takes several times as long.
    text = times.str.strip_chars()
    seconds = _seconds_of_numbers(text.cast(pl.Int64, strict=False), unit)
    if seconds.null_count() == times.null_count():
        return seconds
    numbers = _seconds_of_numbers(text.cast(pl.Float64, strict=False), unit)
    return _coalesce([seconds, numbers, _seconds_of_iso_text(text)])


def _seconds_of_iso_text(text: pl.Series) -> pl.Series:
    """The seconds of "2019-03-31", "2019-03-31T17:05:00.5Z" and the like; null for all others."""
    part = text.str.extract_groups(_ISO_TIME).struct.field
    zone = part("zone").fill_null("").str.replace(r"^(?:[Zz]|UTC|GMT|)$", "+00:00")
    zone = zone.str.replace(r"^([+-]\d{2})$", "$1:00").str.replace(r"^([+-]\d{2})(\d{2})$", "$1:$2")
    minutes, seconds = part("minutes").fill_null("00:00"), part("seconds").fill_null("00")
    written = part("date") + " " + minutes + ":" + seconds + zone
    return written.str.to_datetime("%Y-%m-%d %H:%M:%S%:z", time_unit="us", time_zone="UTC", strict=False).dt.epoch("s")


def _coalesce(series: list[pl.Series]) -> pl.Series:
    """The first value of each row that is not null."""
    return pl.select(pl.coalesce([pl.lit(candidate) for candidate in series])).to_series()


def _hint(value: object) -> str:
    """Which unit or format fits a number, or that other text needs a format."""
    try:
        number = int(str(value))
    except ValueError:
        has_digits = isinstance(value, str) and re.search(r"\d", value)
        return ' (other notations: timestamp_format, such as "%m/%d/%Y %H:%M")' if has_digits else ""
    fitting = _FORMATS_OF_DIGITS.get(len(str(number)))
    if fitting is not None and _seconds_of(str(number), fitting) is not None:
        return f' (timestamp_format="{fitting}" fits)'
    unit = _plausible_unit(number)
    return f" ({unit!r} fits)" if unit else ""


def _fitting_unit(latest: int, unit: TimeUnit) -> str:
    """Which unit fits a number that was read as `latest` seconds in `unit`."""
    number = latest * UNITS_PER_SECOND[unit]
    other = _plausible_unit(number)
    if other is not None:
        return f'Pass timestamp_unit="{other}", which gives {_as_date(number // UNITS_PER_SECOND[other])}'
    if len(str(number)) in _FORMATS_OF_DIGITS:
        return 'Pass the right timestamp_unit, or timestamp_format (dates as 20170918: "%Y%m%d")'
    return 'Pass the right timestamp_unit; positions such as 1, 2, 3 are read with timestamp_unit="s"'


def _plausible_unit(number: int) -> TimeUnit | None:
    """The coarsest unit in which a number is a plausible time."""
    return next((unit for unit, scale in UNITS_PER_SECOND.items() if _is_plausible(number // scale)), None)


def _is_plausible(seconds: float) -> bool:
    """Whether this is a time of 1990 to 2100."""
    return 631_152_000 <= seconds <= LATEST_TIMESTAMP


def _as_date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def _are_dates_as_numbers(seconds: pl.Series, earliest: int, latest: int) -> bool:
    """Whether every number begins with year, month and day: 20170918, or that with one or two digits of the hour."""
    digits = len(str(latest))
    scale = int(10 ** (digits - 8))
    if digits not in (8, 9, 10) or not 19700101 * scale <= earliest <= latest < 21010000 * scale:
        return False
    days = (seconds.drop_nulls() // scale).unique().cast(pl.String)
    return days.str.to_date("%Y%m%d", strict=False).null_count() == 0
