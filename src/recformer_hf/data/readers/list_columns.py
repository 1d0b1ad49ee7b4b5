"""Logs with several interactions in a row: lists of a user's items and perhaps of their times, as Yambda has them."""

from __future__ import annotations

from collections.abc import Mapping

from ..polars_engine import pl
from .cells import CellError
from .required import Required
from .source import FileReport


def check_lists(lengths: Mapping[str, int], required: Required) -> None:
    """Check the lists of one row.

    Args:
        lengths: the columns that hold a list in this row, and their lengths.
        required: the first of its `names` is the column of users, the second that of items.

    Raises:
        CellError: if the user is a list, only the item is none, or the lengths differ.
    """
    if not lengths:
        return
    user, item = required.names[0], required.names[1] if len(required.names) > 1 else None
    if user in lengths:
        raise CellError(f"{user!r} is a list; expected one user in a row")
    if item is not None and item not in lengths:
        raise CellError(f"{next(iter(lengths))!r} is a list, but {item!r} is not")
    if len(set(lengths.values())) > 1:
        described = ", ".join(f"{name!r} {length:,}" for name, length in lengths.items())
        raise CellError(f"lists of different lengths: {described}")


def usable_rows(found: pl.DataFrame, line_of: pl.Series, required: Required, report: FileReport) -> pl.DataFrame:
    """The interactions of the usable lines; a line with an unusable one is damaged as a whole.

    Args:
        found: interactions `[n]`; their times are not parsed yet.
        line_of: the number of the line of each, Int64 `[n]`.
        required: which values make an interaction usable.
        report: gets the damaged lines, which are counted as lines already.

    Returns:
        The interactions, with times as `parse_timestamps` returns them.
    """
    rows, unusable = required.check(found)
    if not unusable.any():
        return rows
    lines = line_of.filter(unusable).unique()
    problems, _ = required.problems(found, unusable)
    shown = {int(line_of[row]): problem for row, problem in reversed(problems)}
    report.add_damaged(sorted(shown.items()), len(lines) - len(shown))
    return rows.filter(~line_of.is_in(lines.implode()))
