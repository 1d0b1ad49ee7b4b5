"""Checks a `Source` before it is prepared: one that was made by hand may hold anything."""

from __future__ import annotations

from dataclasses import replace

from .polars_engine import pl
from .readers.cells import column_as_text, ids_as_text
from .readers.source import DataError, MissingColumnsError, ReadReport, Source
from .readers.timestamps import parse_timestamps

_ID_COLUMNS = ("user_id", "item_id")


def checked_source(source: Source) -> Source:
    """The source with the column types that `Source` documents.

    Ids of whole numbers become their digits, dates and datetimes whole seconds, attributes of any type text, by the
    same rules as in files. A source of a reader comes back as it is.

    Raises:
        TypeError: if it is not a `Source` of polars frames with a report.
        MissingColumnsError: if a column is missing.
        DataError: for a missing id or time, a time outside 1970 to 2100, or a value that is no id, time or attribute.
            The message names the column and the first row.
    """
    _check_kinds(source)
    log, items = source.interactions, source.items
    advice = "Rename the columns, or use SequentialDataset.from_frames, which takes their names."
    _check_present(log, "interactions", [*_ID_COLUMNS, "timestamp"], advice)
    _check_present(items, "items", ["item_id"], advice)
    if items.width < 2:
        raise MissingColumnsError("items has no column besides 'item_id'; an item needs text.")
    for name in _ID_COLUMNS:
        log = _with_ids(log, "interactions", name)
    log = _with_times(log, source.report.file_order)
    items = _with_ids(items, "items", "item_id")
    items = _with_texts(items)
    return (
        source
        if log is source.interactions and items is source.items
        else replace(source, interactions=log, items=items)
    )


def refuse_blank_ids(ids: pl.Series, column: str) -> None:
    """Refuse a blank id.

    Args:
        ids: the distinct ids of the column, String `[m]`, without nulls.
        column: its name, for the message.

    Raises:
        DataError: if one is empty or holds white space only.
    """
    blank = ids.filter(~ids.str.contains(r"\S"))
    if len(blank):
        raise DataError(f"{column!r} has the blank id {blank[0]!r}. Remove the rows without an id.")


def _check_kinds(source: Source) -> None:
    if not isinstance(source, Source):
        raise TypeError(
            f"Expected a Source, which readers return, got {type(source).__name__}. Make a dataset of data frames with "
            "SequentialDataset.from_frames(interactions, items)."
        )
    for name in ("interactions", "items"):
        frame = getattr(source, name)
        if not isinstance(frame, pl.DataFrame):
            raise TypeError(
                f"{name} of the source is {type(frame).__name__}; expected a polars DataFrame. "
                "SequentialDataset.from_frames takes all other frames."
            )
    if not isinstance(source.report, ReadReport):
        raise TypeError(
            f"report of the source is {type(source.report).__name__}; expected a ReadReport, such as "
            'ReadReport("my shop"), which names the source in the dataset\'s card.'
        )


def _check_present(frame: pl.DataFrame, table: str, wanted: list[str], advice: str) -> None:
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise MissingColumnsError(
            f"{table} has no column {', '.join(map(repr, missing))}; its columns are "
            f"{', '.join(map(repr, frame.columns)) or 'none'}. {advice}"
        )


def _with_ids(frame: pl.DataFrame, table: str, name: str) -> pl.DataFrame:
    found = frame[name]
    texts = found if isinstance(found.dtype, (pl.String, pl.Categorical)) else ids_as_text(found)
    if texts.null_count():
        _refuse(table, found, texts.is_null(), "an id, text or a whole number", "Remove these rows.")
    return frame if texts is found else frame.with_columns(texts)


def _with_times(log: pl.DataFrame, file_order: bool) -> pl.DataFrame:
    found = log["timestamp"]
    if file_order and found.dtype == pl.Int64 and not found.null_count():
        return log  # positions instead of times
    parsed = parse_timestamps(found)
    if parsed.null_count():
        expected = "a time from 1970 to 2100: seconds, a date or a datetime"
        advice = "Remove these rows, or convert the times to seconds."
        _refuse("interactions", found, parsed.is_null(), expected, advice)
    return log if found.dtype == pl.Int64 else log.with_columns(parsed)


def _with_texts(items: pl.DataFrame) -> pl.DataFrame:
    others = {name: kind for name, kind in items.schema.items() if name != "item_id" and kind != pl.String}
    texts = [column_as_text(name, kind).alias(name) for name, kind in others.items()]
    return items.with_columns(texts) if texts else items


def _refuse(table: str, found: pl.Series, wrong: pl.Series, expected: str, advice: str) -> None:
    rows = wrong.arg_true()
    value = found[int(rows[0])]
    raise DataError(
        f"{len(rows):,} of {len(found):,} values of {found.name!r} in {table} are not {expected}; the first: "
        f"{'missing' if value is None else repr(value)} in row {rows[0]} (from 0; column type {found.dtype}). {advice}"
    )
