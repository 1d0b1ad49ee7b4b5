"""Reads a table of items from JSON: every key of any object is a column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...items.text import without_lone_surrogates
from ..polars_engine import pl
from .cells import CellError, id_text, item_text, text_series
from .columns import attribute_columns, check_columns
from .json_lines import read_json_rows
from .source import DamagedFileError, DataError, FileReport

# A table of items has tens of columns. A file with a new key in every line would need columns times lines cells.
MAX_COLUMNS = 1_000


def read_json_items(
    path: str | Path, id_column: str, attributes: Sequence[str] | None, report: FileReport
) -> tuple[pl.DataFrame, list[str]]:
    """A table of items with one object per line, or one list of objects.

    Args:
        path: the file, plain or compressed.
        id_column: the key of the ids. A line without an id is damaged.
        attributes: keys of the items' text; if None, every key that any line has, in the order in which they appear.
        report: filled in while reading.

    Returns:
        (the table, all of its columns text as `cells.item_text` and `cells.id_text` make it; the attributes' names).

    Raises:
        MissingColumnsError: if no line has one of the attributes.
        DamagedFileError: if every line is damaged.
        DataError: if there are more than `MAX_COLUMNS` keys; see also `read_json_lines`.
    """
    # A dictionary, because it keeps the order.
    seen: dict[str, None] = {}

    def convert(found: dict[str, object]) -> dict[str, str | None]:
        row: dict[str, str | None] = {id_column: id_of(found, id_column)}
        for name in found if attributes is None else attributes:
            if name != id_column and name in found:
                row[_column_name(name)] = attribute_of(found, name)
        seen.update(dict.fromkeys(map(without_lone_surrogates, found)))
        if len(seen) > MAX_COLUMNS and attributes is None:
            raise DataError(
                f"{report.name} has more than {MAX_COLUMNS:,} different keys, such as {list(seen)[-1]!r}. Name the "
                "attributes of an item's text with attributes=."
            )
        return row

    blocks = [_frame(rows) for rows in read_json_rows(path, [id_column], convert, report)]
    if not seen and report.damaged:
        where = "; ".join(f"line {number}: {problem}" for number, problem in report.examples)
        raise DamagedFileError(f"{report.name}: none of its {report.lines:,} lines holds an item ({where}).")
    names = attribute_columns(seen, id_column, attributes)
    if seen:
        check_columns(report.name, seen, names, "Name the columns.")
    empty = pl.DataFrame(schema=dict.fromkeys([id_column, *names], pl.String))  # an id may be an attribute, too
    return pl.concat([empty, *blocks], how="diagonal").select(empty.columns), names


def id_of(found: dict[str, object], name: str) -> str:
    """The id of an object.

    Raises:
        CellError: if it has none.
    """
    try:
        text = id_text(found.get(name))
    except CellError as error:
        raise CellError(f"{name!r} is {error}") from error
    if text is None:
        raise CellError(f"{name!r} is {found[name]!r}" if name in found else f"no {name!r}")
    return text


def attribute_of(found: dict[str, object], name: str) -> str | None:
    """The text of an attribute of an object, None if it is missing.

    Raises:
        CellError: if the value cannot become text.
    """
    try:
        return item_text(found.get(name))
    except CellError as error:
        raise CellError(f"{name!r} is {error}") from error


def _column_name(key: str) -> str:
    if not key.strip():
        raise CellError("a value without a name (its key is empty)")
    return without_lone_surrogates(key)


def _frame(rows: Sequence[dict[str, str | None]]) -> pl.DataFrame:
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame([text_series(name, [row.get(name) for row in rows]) for name in names])
