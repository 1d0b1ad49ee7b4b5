"""Times in any notation as whole seconds since 1970."""

from __future__ import annotations

from typing import Literal

from ..polars_engine import pl
from .source import DataError

# The first moment of 2100. A later time is damaged or has another unit: milliseconds read as seconds lie far beyond it.
LATEST_TIMESTAMP = 4_102_444_800

TimeUnit = Literal["s", "ms", "us", "ns"]
UNITS_PER_SECOND: dict[TimeUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

_DATETIME_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")
_DATETIME_WITH_ZONE = "%Y-%m-%d %H:%M:%S%.f%:z"
_DATE_FORMAT = "%Y-%m-%d"


def parse_timestamps(times: pl.Series, unit: TimeUnit = "s") -> pl.Series:
    """Times as whole seconds since 1970 (UTC), rounded down.

    Args:
        times: `[n]`, one of: numbers in `unit`; dates or datetimes (UTC if they have no zone); or text with a number,
            "2019-03-31", or "2019-03-31 17:05:00", which may have a "T" between date and time, fractions of a second,
            and "Z" or an offset such as "+02:00".
        unit: unit of the numbers.

    Returns:
        Int64 series `[n]`; null for a value that is not a time or lies outside 1970 to 2100.

    Raises:
        DataError: if the unit is unknown.
    """
    if unit not in UNITS_PER_SECOND:
        raise DataError(f"unit is {unit!r}; expected one of {', '.join(map(repr, UNITS_PER_SECOND))}.")
    if times.dtype.is_temporal():
        seconds = times.cast(pl.Datetime("us"), strict=False).dt.epoch("s")
    elif times.dtype == pl.String:
        seconds = _seconds_of_text(times, unit)
    elif times.dtype.is_numeric():
        seconds = _seconds_of_numbers(times, unit)
    else:
        seconds = pl.Series([None] * len(times), dtype=pl.Int64)
    seconds = seconds.cast(pl.Int64, strict=False).alias(times.name)
    return seconds.set(~seconds.is_between(0, LATEST_TIMESTAMP), None)


def time_problem(name: str, value: object, unit: TimeUnit) -> str:
    """What to report about a value that `parse_timestamps` turned to null."""
    return f"{name!r} is {value!r}, which is not a time from 1970 to 2100 in {unit!r}"


def _seconds_of_numbers(times: pl.Series, unit: TimeUnit) -> pl.Series:
    if times.dtype.is_float():
        times = times.set(~times.is_finite(), None)
        return (times / UNITS_PER_SECOND[unit]).floor().cast(pl.Int64, strict=False)
    return times.cast(pl.Int64, strict=False) // UNITS_PER_SECOND[unit]


def _seconds_of_text(times: pl.Series, unit: TimeUnit) -> pl.Series:
    # Whole numbers first: most logs hold nothing else, and trying all notations takes several times as long.
    seconds = _seconds_of_numbers(times.str.strip_chars().cast(pl.Int64, strict=False), unit)
    if seconds.null_count() == times.null_count():
        return seconds
    return _coalesce([seconds, *_seconds_of_other_text(times, unit)])


def _seconds_of_other_text(times: pl.Series, unit: TimeUnit) -> list[pl.Series]:
    """The seconds by each notation: decimal numbers, datetimes with and without a zone, dates; null for all others."""
    text = times.str.strip_chars().str.replace("[Tt]", " ").str.replace(r"\s*(?:[Zz]|UTC)$", "+00:00")
    with_zone = text.str.to_datetime(_DATETIME_WITH_ZONE, time_unit="us", time_zone="UTC", strict=False)
    without_zone = [text.str.to_datetime(form, time_unit="us", strict=False) for form in _DATETIME_FORMATS]
    dates = text.str.to_date(_DATE_FORMAT, strict=False).cast(pl.Datetime("us"))
    numbers = _seconds_of_numbers(text.cast(pl.Float64, strict=False), unit)
    return [numbers, *(found.dt.epoch("s") for found in (with_zone, *without_zone, dates))]


def _coalesce(series: list[pl.Series]) -> pl.Series:
    """The first value of each row that is not null."""
    return pl.select(pl.coalesce([pl.lit(candidate) for candidate in series])).to_series()
