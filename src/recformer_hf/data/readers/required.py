"""Decides which rows of a file are usable, and says what is wrong with the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..polars_engine import pl
from .source import SHOWN_LINES
from .timestamps import TimeUnit, parse_timestamps, time_problem


@dataclass(frozen=True)
class Required:
    """The columns in which every row needs a value: neither null nor empty text.

    Args:
        names: the columns.
        timestamp: the one of them that holds times, if any; its values must be times from 1970 to 2100.
        unit: unit of numeric times.
    """

    names: Sequence[str]
    timestamp: str | None = None
    unit: TimeUnit = "s"

    def check(self, found: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
        """Parse the times of some rows and find the unusable rows.

        Returns:
            (the rows, their times as `parse_timestamps` returns them; whether each row is unusable, bool `[n]`).
        """
        rows = found
        if self.timestamp is not None:
            rows = found.with_columns(parse_timestamps(found[self.timestamp], self.unit))
        missing = [pl.col(name).is_null() for name in self.names]
        missing += [pl.col(name) == "" for name in self.names if rows.schema[name] == pl.String]
        return rows, rows.select(pl.any_horizontal(missing)).to_series()

    def problems(self, found: pl.DataFrame, unusable: pl.Series) -> tuple[list[tuple[int, str]], int]:
        """What is wrong with the unusable rows.

        Args:
            found: the rows as they stand in the file, as `check` got them.
            unusable: bool `[n]`, at most the rows that `check` found.

        Returns:
            ((index of the row, what is wrong with it) of the first few; the number of the others).
        """
        positions = unusable.arg_true()
        shown = positions.head(SHOWN_LINES)
        rows = found[shown]
        checked, _ = self.check(rows)
        reasons = [self._problem(rows.row(i, named=True), checked.row(i, named=True)) for i in range(rows.height)]
        return list(zip(shown.to_list(), reasons, strict=True)), len(positions) - len(shown)

    def _problem(self, found: dict[str, object], checked: dict[str, object]) -> str:
        name = next(name for name in self.names if checked[name] is None or checked[name] == "")
        if found[name] is None:
            return f"no {name!r}"
        if name == self.timestamp:
            return time_problem(name, found[name], self.unit)
        return f"{name!r} is {found[name]!r}"
