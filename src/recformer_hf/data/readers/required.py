"""Decides which rows of a file are usable, and says what is wrong with the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..polars_engine import pl
from .cells import WHITE_SPACE
from .source import SHOWN_LINES, DataError, ReadReport
from .timestamps import TimeUnit, parse_timestamps, time_problem

# What exports write for a missing number, besides nothing and "nan".
_NO_NUMBER = ("", "na", "n/a", "none", "null", "\\n")


@dataclass(frozen=True)
class Required:
    """The columns in which every row needs a value: neither null nor blank text; and the lowest rating of a log.

    Args:
        names: the columns.
        timestamp: the one of them that holds times, if any; its values must be times from 1970 to 2100.
        unit: unit of numeric times.
        format: notation of the times, see `parse_timestamps`.
        rating: the column of ratings. Its values need not be there unless it is one of `names`.
        min_rating: rows with a lower rating, or without one, are left out by `rated`; text that is no number, such as
            "4,5", makes a row unusable. None keeps all.
    """

    names: Sequence[str]
    timestamp: str | None = None
    unit: TimeUnit = "s"
    format: str | None = None
    rating: str | None = None
    min_rating: float | None = None

    def __post_init__(self) -> None:
        if self.min_rating is None:
            return
        if self.rating is None:
            raise DataError(f"min_rating is {self.min_rating}, but no column of ratings is named. Pass rating_column.")
        if isinstance(self.min_rating, bool) or not isinstance(self.min_rating, (int, float, np.number)):
            raise TypeError(f"min_rating is {self.min_rating!r}; expected a number, or None to keep all.")
        if math.isnan(self.min_rating):
            raise DataError("min_rating is NaN; expected a number, or None to keep all.")

    @property
    def columns(self) -> list[str]:
        """The columns that a reader must read: `names`, and the ratings if `rated` needs them."""
        rating = [] if self.rating is None or self.min_rating is None else [self.rating]
        return list(dict.fromkeys([*self.names, *rating]))

    def check(self, found: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
        """Parse the times of some rows and find the unusable rows.

        Returns:
            (the rows, their times as `parse_timestamps` returns them; whether each row is unusable, bool `[n]`).
        """
        rows = found
        if self.timestamp is not None:
            rows = found.with_columns(parse_timestamps(found[self.timestamp], self.unit, self.format))
        missing: list[pl.Expr | pl.Series] = [pl.col(name).is_null() for name in self.names]
        missing += [_is_blank(rows[name]) for name in self.names if rows.schema[name] == pl.String]
        unusable = pl.any_horizontal(missing).fill_null(True)
        if self.min_rating is not None and self.rating in rows.columns and rows.schema[self.rating] == pl.String:
            unusable |= _is_no_number(self.rating)
        return rows, rows.select(unusable).to_series()

    def problems(self, found: pl.DataFrame, unusable: pl.Series) -> tuple[list[tuple[int, str]], int]:
        """What is wrong with the unusable rows.

        Args:
            found: the rows as they stand in the file, as `check` got them.
            unusable: bool `[n]`, at most the rows that `check` found.

        Returns:
            ((index of the row, what is wrong with it) of the first few; the number of the others).
        """
        positions = unusable.arg_true()
        if not len(positions):  # as in nearly every block of a log; a second check() would take time even for no rows
            return [], 0
        shown = positions.head(SHOWN_LINES)
        rows = found[shown]
        checked, _ = self.check(rows)
        reasons = [self._problem(rows.row(i, named=True), checked.row(i, named=True)) for i in range(rows.height)]
        return list(zip(shown.to_list(), reasons, strict=True)), len(positions) - len(shown)

    def rated(self, rows: pl.DataFrame, report: ReadReport) -> pl.DataFrame:
        """The rows that have at least `min_rating`; the others are counted.

        Args:
            rows: usable rows with `columns`; ratings as numbers or text.
            report: gets the counts `ratings_below_the_minimum` and `ratings_missing` (no number, or NaN).
        """
        if self.rating is None or self.min_rating is None:
            return rows
        # A cast of text to numbers knows "nan" and "inf"; NaN would be larger than any number in a comparison.
        rating = rows[self.rating]
        rating = rating.str.strip_chars() if rating.dtype == pl.String else rating
        rating = rating.cast(pl.Float64, strict=False).fill_nan(None)
        high = rating >= self.min_rating
        report.count("ratings_below_the_minimum", int((~high).sum()))
        report.count("ratings_missing", rating.null_count())
        return rows.filter(high)

    def _problem(self, found: dict[str, object], checked: dict[str, object]) -> str:
        name = next((name for name in self.names if _is_missing(checked[name])), None)
        if name is None:
            return f"{self.rating!r} is {found[self.rating or '']!r}, which is not a number"
        value = found[name]
        if value is None:
            return f"no {name!r}"
        if name == self.timestamp and not (isinstance(value, str) and not value.strip()):
            return time_problem(name, value, self.unit, self.format)
        return f"{name!r} is {value!r}"


def _is_blank(texts: pl.Series) -> pl.Series:
    # Text that begins with a visible ASCII character is not blank. A comparison finds this ten times as fast.
    candidates = (texts < "!") | (texts > "~")
    return texts.str.strip_chars(WHITE_SPACE) == "" if candidates.any() else candidates


def _is_no_number(name: str) -> pl.Expr:
    """Whether a text is neither a number nor missing."""
    text = pl.col(name).str.strip_chars(WHITE_SPACE)
    return text.cast(pl.Float64, strict=False).is_null() & ~text.str.to_lowercase().is_in(_NO_NUMBER).fill_null(True)


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
