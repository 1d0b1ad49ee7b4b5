"""What every reader shares: the source it returns, the report of what was read, its errors, ids and times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from transformers.utils import logging

from ..polars_engine import pl

logger = logging.get_logger(__name__)

# The share of a file's lines that may be damaged before the file is refused: one in a thousand. More than that is
# rarely damage: it is a wrong file, a wrong layout, or a broken download.
MAX_DAMAGED = 0.001
# Timestamps outside 1970-01-01 to 2100-01-01 (seconds) are damaged, or are in another unit.
LATEST_TIMESTAMP = 4_102_444_800
SHOWN_LINES = 5
HOPELESS_LINES = 10_000

TimeUnit = Literal["s", "ms", "us", "ns"]
UNITS_PER_SECOND: dict[TimeUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class DataError(ValueError):
    """Base of the errors of readers, preparation and splits: the input cannot become a dataset as asked."""


class MissingFileError(DataError, FileNotFoundError):
    """A file that a reader needs is not there."""


class MissingColumnsError(DataError):
    """A file does not have the columns that its layout promises."""


class DamagedFileError(DataError):
    """Too large a share of a file's lines could not be read, or the file ends too early."""


@dataclass
class FileReport:
    """What was read from one file.

    Args:
        name: the file's name, without its folder (reports end in dataset cards: they do not tell folders).
        max_damaged: share of the lines, 0 to 1, that may be damaged.
        lines: lines that were not blank.
        damaged: lines among them that could not be used.
        examples: (line number from 1, what is wrong with it) of the first few damaged lines.
    """

    name: str
    max_damaged: float = MAX_DAMAGED
    lines: int = 0
    damaged: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)

    def add_damaged(self, found: Sequence[tuple[int, str]], more: int = 0) -> None:
        """Count damaged lines: (line number, what is wrong) of some, and the number of others."""
        self.damaged += len(found) + more
        self.examples = sorted([*self.examples, *found])[:SHOWN_LINES]

    def check_so_far(self) -> None:
        """Give up on a file most of whose first lines are damaged: it is another file, and the rest is no better."""
        if self.damaged >= HOPELESS_LINES and self.damaged > self.lines / 2:
            self.check()

    def check(self) -> None:
        """Raise `DamagedFileError` where more than `max_damaged` of the lines are damaged, warn where any is."""
        if not self.damaged:
            return
        where = "; ".join(f"line {number}: {reason}" for number, reason in self.examples)
        more = f"; and {self.damaged - len(self.examples):,} more" if self.damaged > len(self.examples) else ""
        share = self.damaged / max(self.lines, 1)
        message = f"{self.name}: {self.damaged:,} of {self.lines:,} lines ({share:.3%}) are damaged ({where}{more})"
        if share > self.max_damaged:
            raise DamagedFileError(
                f"{message}. At most {self.max_damaged:.3%} may be; check that the file is whole and of this layout, "
                "or raise `max_damaged`."
            )
        logger.warning("%s. They were left out.", message)


@dataclass
class ReadReport:
    """What a reader read: one `FileReport` a file, and named counts (duplicate metadata, titles emptied ...)."""

    reader: str
    files: list[FileReport] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, name: str, number: int) -> None:
        """Add `number` to the count `name`."""
        self.counts[name] = self.counts.get(name, 0) + int(number)

    def describe(self) -> str:
        """The source in a line, for a dataset card."""
        return f"{self.reader} ({', '.join(file.name for file in self.files)})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a dataset's `info` and card."""
        return {
            "reader": self.reader,
            "files": [
                {
                    "name": file.name,
                    "lines": file.lines,
                    "damaged_lines": file.damaged,
                    "first_damaged_lines": [number for number, _ in file.examples],
                }
                for file in self.files
            ],
            **self.counts,
        }


@dataclass(frozen=True)
class Source:
    """What a reader returns.

    Args:
        interactions: columns `user_id`, `item_id` (String, or Categorical: an id's text is then kept once, which is
            what makes a log of tens of millions of rows fit) and `timestamp` (Int64, seconds since 1970, no nulls);
            rows in the file's order.
        items: column `item_id` (String, unique) and one String column an attribute, in the order that the item's
            text takes; null where an item does not have the attribute.
        report: what was read and what was left out.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    report: ReadReport


def existing_file(path: str | Path) -> Path:
    """`path` as a `Path`, or `MissingFileError` naming it."""
    path = Path(path)
    if path.is_dir():
        raise MissingFileError(f"{path} is a folder; a file was expected.")
    if not path.is_file():
        near = sorted(p.name for p in path.parent.iterdir() if p.is_file())[:8] if path.parent.is_dir() else None
        there = "its folder does not exist" if near is None else f"its folder holds: {', '.join(near) or 'no files'}"
        raise MissingFileError(f"No file {path} ({there}).")
    return path


def as_categories(frame: pl.DataFrame, users: pl.Categories, items: pl.Categories) -> pl.DataFrame:
    """Interactions with both id columns interned: four bytes a row instead of the id's text."""
    return frame.with_columns(
        pl.col("user_id").cast(pl.Categorical(users)), pl.col("item_id").cast(pl.Categorical(items))
    )


def concat_interactions(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """One frame from the blocks of all files; an empty one with the right columns where there is none."""
    if not frames:
        return pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64})
    return pl.concat(frames, rechunk=True)


_TIME_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")


def parse_timestamps(times: pl.Series, unit: TimeUnit = "s") -> pl.Series:
    """Times as whole seconds since 1970 (UTC), rounded down.

    Args:
        times: `[n]` numbers in `unit`; dates or datetimes (without a zone: UTC); or text of either: a number,
            "2019-03-31", "2019-03-31 17:05:00", with "T" between, fractions, "Z" or an offset such as "+02:00".
        unit: of the numbers.

    Returns:
        Int64 series `[n]`; null where there is no time or it lies outside 1970 to 2100.
    """
    if unit not in UNITS_PER_SECOND:
        raise DataError(f"No unit of time {unit!r}; expected one of {', '.join(map(repr, UNITS_PER_SECOND))}.")
    if times.dtype.is_temporal():
        seconds = times.cast(pl.Datetime("us"), strict=False).dt.epoch("s")
    elif times.dtype == pl.String:
        seconds = _numbers(times.str.strip_chars().cast(pl.Int64, strict=False), unit)
        if seconds.null_count() > times.null_count():
            seconds = pl.select(pl.coalesce(pl.lit(seconds), pl.lit(_parse_time_text(times, unit)))).to_series()
    elif times.dtype.is_numeric():
        seconds = _numbers(times, unit)
    else:
        seconds = pl.Series([None] * len(times), dtype=pl.Int64)
    seconds = seconds.cast(pl.Int64, strict=False).alias(times.name)
    return seconds.set(~seconds.is_between(0, LATEST_TIMESTAMP), None)


def _numbers(times: pl.Series, unit: TimeUnit) -> pl.Series:
    if times.dtype.is_float():
        times = times.set(~times.is_finite(), None)
        return (times / UNITS_PER_SECOND[unit]).floor().cast(pl.Int64, strict=False)
    return times.cast(pl.Int64, strict=False) // UNITS_PER_SECOND[unit]


def _parse_time_text(times: pl.Series, unit: TimeUnit) -> pl.Series:
    """The slower forms of a time in text: decimal numbers, dates, times with and without a zone."""
    text = times.str.strip_chars().str.replace("[Tt]", " ").str.replace(r"\s*(?:[Zz]|UTC)$", "+00:00")
    found = [_numbers(text.cast(pl.Float64, strict=False), unit)]
    with_zone = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%:z", time_unit="us", time_zone="UTC", strict=False)
    found.append(with_zone.dt.epoch("s"))
    found += [text.str.to_datetime(form, time_unit="us", strict=False).dt.epoch("s") for form in _TIME_FORMATS[:2]]
    found.append(text.str.to_date(_TIME_FORMATS[2], strict=False).cast(pl.Datetime("us")).dt.epoch("s"))
    return pl.select(pl.coalesce([pl.lit(series) for series in found])).to_series()
