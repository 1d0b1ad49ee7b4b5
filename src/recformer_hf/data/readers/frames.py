"""Reads data frames of other libraries and rows in memory, by the same rules as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...items.batches import is_index
from ...items.columns import texts_of
from ...items.ids import texts_of_ids
from ...items.text import is_missing
from ..arrays import offsets_from_lengths
from ..polars_engine import pl
from .arrow_tables import TableInMemory, interactions_of, items_of
from .columns import ITEM_ID, InteractionCollector, attribute_columns, check_columns, check_join, first_of_each_item
from .frame_kinds import OpenedFrame, opened_frame
from .required import Required
from .source import MAX_DAMAGED, DataError, MissingColumnsError, ReadReport, Source
from .timestamps import TimeUnit

_LOG_ADVICE = "Name the columns with user_column=, item_column= and timestamp_column= (None if there are no times)."
_ITEMS_ADVICE = "Name the columns with items_id_column= and attributes=."


def read_frames(
    interactions: Any,
    items: Any,
    *,
    user_column: str = "user_id",
    item_column: str = "item_id",
    timestamp_column: str | None = "timestamp",
    timestamp_unit: TimeUnit = "s",
    timestamp_format: str | None = None,
    check_times: bool = True,
    rating_column: str = "rating",
    min_rating: float | None = None,
    items_id_column: str | None = None,
    attributes: Sequence[str] | None = None,
    max_damaged: float = MAX_DAMAGED,
) -> Source:
    """Read a table of interactions and a table of items that are in memory.

    Each may be a frame of pandas or polars (lazy, too), a `pyarrow.Table` or anything that streams Arrow (a
    `RecordBatchReader`, a relation of duckdb), a `datasets.Dataset`, a list of dictionaries, or a dictionary of
    columns. The items may also be an `ItemCatalog`, or a dictionary of id to attributes. What the values become is the
    same as in files (`readers.table.read_table`). A level of a pandas index is a column if it has a name, a
    `RangeIndex` only if it is asked for.

    Args:
        interactions: the log. A row without user, item or time is damaged. A row may also hold lists: one user's items
            and their times.
        items: the items.
        user_column, item_column: columns of the ids in the log: text or whole numbers.
        timestamp_column: column of times: numbers in `timestamp_unit`, dates, datetimes, or text; None if there are no
            times, and the order of the rows is the order of the interactions.
        timestamp_unit: "s", "ms", "us" or "ns".
        timestamp_format: notation of texts and numbers as in `datetime.strptime`, such as "%m/%d/%Y %H:%M".
        check_times: refuse times that look like another unit or notation.
        rating_column: column of ratings; only read with `min_rating`.
        min_rating: skip interactions with a lower rating, or without one.
        items_id_column: column of the ids in `items`; by default `item_column`.
        attributes: columns of an item's text, in this order; by default all but the id.
        max_damaged: share of the rows, 0 to 1, that may be damaged.

    Returns:
        the source.

    Raises:
        TypeError: if a table is of another kind, or a value cannot become text.
        MissingColumnsError, DamagedFileError, DataError: as for files.
    """
    user_column, item_column = str(user_column), str(item_column)  # a frame without a header has numbers as names
    timestamp_column = None if timestamp_column is None else str(timestamp_column)
    items_id_column = item_column if items_id_column is None else str(items_id_column)
    columns = [user_column, item_column] + ([] if timestamp_column is None else [timestamp_column])
    if len(set(columns)) < len(columns):
        raise DataError(f"Users, items and times need columns of their own, got {', '.join(map(repr, columns))}.")
    required = Required(columns, timestamp_column, timestamp_unit, timestamp_format, str(rating_column), min_rating)
    report = ReadReport("data frames", file_order=timestamp_column is None)
    log_frame = opened_frame(interactions)
    name = f"interactions ({log_frame.kind})"
    check_columns(name, [*log_frame.names, *log_frame.counting], required.columns, _LOG_ADVICE)
    table = TableInMemory(name, _log_table(log_frame, required))
    log = InteractionCollector(
        user_column, item_column, timestamp_column, unit=timestamp_unit, format=timestamp_format, check=check_times
    )
    file = report.add_file(name, max_damaged)
    for rows in interactions_of(table, required.columns, required, file, check_times=check_times):
        log.add(required.rated(rows, report))
    file.check()
    described = _read_items(items, items_id_column, attributes, report, max_damaged)
    found = log.interactions(name)
    advice = f"The log names its items by {item_column!r}, the table by {items_id_column!r}."
    check_join(found["item_id"], described["item_id"], advice)
    return Source(found, described, report)


def _read_items(
    items: Any, id_column: str, attributes: Sequence[str] | None, report: ReadReport, max_damaged: float
) -> pl.DataFrame:
    """The table of items as a `Source` holds it."""
    if isinstance(attributes, str):
        raise TypeError(f"attributes is {attributes!r}; expected a list of names, such as [{attributes!r}].")
    frame = opened_frame(items, id_column)
    name = f"items ({frame.kind})"
    check_columns(name, [*frame.names, *frame.counting], [id_column], _ITEMS_ADVICE)
    found = [column for place, column in enumerate(frame.names) if not is_index(column, place)]
    wanted = attribute_columns(found, id_column, attributes)
    if not wanted:
        raise MissingColumnsError(f"{name} has no column besides the id {id_column!r}; an item needs text.")
    check_columns(name, [*frame.names, *frame.counting], [id_column, *wanted], _ITEMS_ADVICE)
    columns = {
        column: (
            _id_column(values, column) if column == id_column else texts_of(values, f"The column {column!r} of {name}")
        )
        if isinstance(values, list)
        else values
        for column, values in frame.columns([id_column, *wanted]).items()
    }
    file = report.add_file(name, max_damaged)
    table, names = items_of(TableInMemory(name, pa.table(columns)), id_column, wanted, file)
    file.check()
    chosen = table.select(pl.col(id_column).alias(ITEM_ID), *names)
    return first_of_each_item(chosen, report, "repeated_items")


def _log_table(frame: OpenedFrame, required: Required) -> pa.Table:
    """The columns of a log; Python values become text, lists of them lists of texts."""
    columns = {}
    for name, values in frame.columns(required.columns).items():
        if isinstance(values, list):
            convert = partial(texts_of, source=f"The column {name!r}")
            if name not in (required.timestamp, required.rating):
                convert = partial(_id_column, name=name)
            values = _list_column(values, convert) if any(map(_is_list, values)) else convert(values)
        columns[name] = values
    return pa.table(columns)


def _id_column(values: Sequence[object], name: str) -> pa.Array:
    try:
        texts = texts_of_ids(values)
        return pc.if_else(pc.equal(texts, ""), None, texts)
    except TypeError as error:
        raise TypeError(f"The column {name!r}: {error}".replace("item id", "id")) from None


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 1)


def _list_column(values: list[Any], convert: Callable[[Sequence[object]], pa.Array]) -> pa.Array:
    """A column of lists, such as all items of a user; a single value is a list of one, a missing one is missing."""
    lists = [list(value) if _is_list(value) else [value] for value in values]
    missing = pa.array([not _is_list(value) and is_missing(value) for value in values])
    flat = convert([part for parts in lists for part in parts]).cast(pa.large_string())
    offsets = pa.array(offsets_from_lengths([len(parts) for parts in lists]))
    return pa.LargeListArray.from_arrays(offsets, flat, mask=missing)
