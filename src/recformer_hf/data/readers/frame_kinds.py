"""The columns of any table in memory: frames of other libraries, Arrow, rows, catalogues."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from ...items.arrow import ATTRIBUTES, ITEM_ID
from ...items.batches import is_pairs
from ...items.catalog import ItemCatalog
from ...items.frames import arrow_table, dataset_tables, frame_kind, only_split, pandas_series, polars_values
from ...items.text import shown
from ..polars_engine import pl
from .source import DataError

Values: TypeAlias = "pa.Array | pa.ChunkedArray | list[Any]"
"""A column: of a type that Arrow knows, or Python values of any kind."""

_EXPECTED = (
    "a frame of pandas or polars, a pyarrow.Table, a datasets.Dataset, a relation of duckdb, a list of dictionaries, "
    "or a dictionary of columns"
)


@dataclass(frozen=True)
class OpenedFrame:
    """A table whose columns can be asked for by name.

    Args:
        kind: what it is, for messages and reports.
        names: its columns.
        columns: gives some of its columns, in this order.
        counting: further columns, which only count the rows (`items.frames.pandas_series`).
    """

    kind: str
    names: list[str]
    columns: Callable[[Sequence[str]], dict[str, Values]]
    counting: list[str] = field(default_factory=list)


def opened_frame(table: Any, id_column: str | None = None) -> OpenedFrame:
    """Open a table of any kind. Streams and iterators are read here, once.

    Args:
        table: see `frames.read_frames`.
        id_column: for a table of items, under which name an `ItemCatalog`, or a dictionary of id to attributes, gives
            the ids; None for a log, which cannot be one of these.

    Raises:
        TypeError: if it is no table.
        DataError: if it is a dictionary of several splits, or columns have different lengths.
    """
    kind = frame_kind(table)
    described = f"{type(table).__module__.partition('.')[0]} {type(table).__name__}"
    if id_column is not None and kind is not None and _is_catalog(table, kind):
        table, kind = ItemCatalog.from_arrow(table), None
    if kind == "pandas":
        return _pandas(table, described)
    if kind == "polars":
        names = _collected(table.collect_schema, described).names()
        return OpenedFrame(described, names, lambda names: _polars_columns(table, names, described))
    if kind == "dataset":
        if isinstance(table, Mapping) and len(table) != 1:
            raise DataError(
                f"{described} has {len(table)} splits: {list(table)}. Pass one of them, such as dataset['train']."
            )
        return _dataset(only_split(table), described)
    if kind == "arrow":
        found = arrow_table(table)
        return OpenedFrame(described, found.column_names, lambda wanted: {name: found[name] for name in wanted})
    return _python_values(table, id_column)


def _is_catalog(table: Any, kind: str) -> bool:
    """Whether this has the columns of a saved catalogue: `item_id`, and `attributes` as a list of keys and values."""
    schema = table.features.arrow_schema if kind == "dataset" and getattr(table, "features", None) else None
    schema = table.schema if kind == "arrow" and isinstance(getattr(table, "schema", None), pa.Schema) else schema
    return schema is not None and schema.names == [ITEM_ID, ATTRIBUTES] and is_pairs(schema.field(ATTRIBUTES).type)


def _pandas(frame: Any, described: str) -> OpenedFrame:
    found, counting = pandas_series(frame)
    series = dict(reversed(found))  # of two columns of one name, which are refused, the first
    names = [name for name, _ in found if name not in counting]
    return OpenedFrame(
        described, names, lambda wanted: {name: _of_series(series[name]) for name in wanted}, list(counting)
    )


def _of_series(series: Any) -> Values:
    # Arrow would give Python objects of mixed types one type, such as floats for 1 and 2.5.
    if series.dtype != object:
        try:
            return pa.Array.from_pandas(series)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):  # such as a category of mixed types
            pass
    return list(series)


def _collected(collect: Callable[[], Any], described: str) -> Any:
    """What a frame of polars gives; a lazy one may fail only here, far from where it was written."""
    try:
        return collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"The {described} cannot be computed ({str(error).splitlines()[0]}). Call .collect() where it is made, to "
            "see which step fails."
        ) from error


def _polars_columns(frame: Any, names: Sequence[str], described: str) -> dict[str, Values]:
    chosen = frame.select(list(names))
    chosen = _collected(chosen.collect, described) if hasattr(chosen, "collect") else chosen
    return {name: polars_values(chosen[name]) for name in names}


def _dataset(dataset: Any, described: str) -> OpenedFrame:
    if dataset.features is None:  # a stream after map() does not know its columns
        return _of_rows(list(dataset), described)

    def columns(names: Sequence[str]) -> dict[str, Values]:
        tables = list(dataset_tables(dataset, names[0], names[1:] or names))
        if not tables:
            return {name: pa.nulls(0, pa.string()) for name in names}
        joined = pa.concat_tables(tables, promote_options="permissive")
        return {name: joined[name] for name in names}

    return OpenedFrame(described, list(dataset.features), columns)


def _python_values(table: Any, id_column: str | None) -> OpenedFrame:
    if id_column is not None and isinstance(table, ItemCatalog):
        return _of_rows(_rows_of_items(dict(zip(table.ids, table, strict=True)), id_column), "catalog")
    if isinstance(table, Mapping):
        if id_column is not None and table and all(isinstance(item, Mapping) for item in table.values()):
            return _of_rows(_rows_of_items(table, id_column), "dictionary of items")
        return _of_columns(table)
    if isinstance(table, (str, bytes, os.PathLike)):
        raise TypeError(f"Expected {_EXPECTED}, got {shown(table)}. Files are read by readers.table.read_table.")
    if not isinstance(table, Iterable) or isinstance(table, np.ndarray) or hasattr(table, "dtype"):
        raise TypeError(f"Expected {_EXPECTED}, got a {type(table).__name__}.")
    return _of_rows(list(table), "rows")


def _rows_of_items(items: Mapping[Any, Any], id_column: str) -> list[dict[Any, Any]]:
    for item_id, item in items.items():
        if id_column in item:
            raise DataError(
                f"The item {shown(item_id)} has the key {id_column!r}, under which the ids are read. Rename the key, "
                "or pass a list of the items."
            )
    return [{id_column: item_id, **item} for item_id, item in items.items()]


def _of_rows(rows: list[Any], kind: str) -> OpenedFrame:
    names: dict[str, None] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(f"Row {number} is {shown(row)}, a {type(row).__name__}; expected a dictionary.")
        names |= dict.fromkeys(row)
    _check_names(names)
    return OpenedFrame(kind, list(names), lambda wanted: {name: [row.get(name) for row in rows] for name in wanted})


def _of_columns(columns: Mapping[Any, Any]) -> OpenedFrame:
    _check_names(columns)
    values = {}
    for name, column in columns.items():
        if isinstance(column, (str, bytes, Mapping)) or not isinstance(column, Iterable):
            raise TypeError(f"The column {name!r} is {shown(column)}; expected a list of values.")
        values[name] = list(column)
    lengths = {name: len(column) for name, column in values.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"The columns have different lengths: {lengths}.")
    return OpenedFrame("dictionary of columns", list(values), lambda wanted: {name: values[name] for name in wanted})


def _check_names(names: Iterable[object]) -> None:
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"A column is called {shown(name)}, a {type(name).__name__}; expected a text.")
