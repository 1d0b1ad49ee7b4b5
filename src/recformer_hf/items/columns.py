"""Arrow columns as the text of attributes, value by value as `attribute_text` writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, time
from itertools import pairwise
from typing import Any

import numpy as np

from .arrow import Array, arrow, is_list, is_string
from .ids import strings
from .text import attribute_text

# Extension types whose storage is the value itself. The storage of others, such as the months of pandas.Period, is a
# number that nobody would print.
_PLAIN_STORAGE = ("arrow.fixed_shape_tensor", "datasets.features.features.Array")


def text_column(column: Array, name: str, first_row: int = 0) -> Array:
    """A column of any type as strings; missing values are null.

    Args:
        column: `pyarrow.Array` `[rows]`.
        name: the column's name, for errors.
        first_row: number of the array's first row in its table, for errors.

    Raises:
        TypeError: if a value cannot become text. The message names column, type, row and kind of value.
    """
    pa, types = arrow(), arrow().types
    kind = column.type
    if types.is_dictionary(kind):
        return text_column(column.dictionary, name).take(column.indices)
    if types.is_integer(kind) or is_string(kind) or types.is_null(kind):
        return column.cast(pa.string())
    if column.null_count == len(column):
        return pa.nulls(len(column), pa.string())
    try:
        values = python_values(column)
    except (
        TypeError,
        ValueError,
        OverflowError,
        LookupError,
        NotImplementedError,
    ) as error:  # such as a date in the year 20000
        raise TypeError(f"The column {name!r} ({kind}) cannot become text: {str(error).rstrip('.')}.") from error
    return texts_of(values, f"The column {name!r} ({kind})", first_row)


def texts_of(values: Sequence[object], source: str, first_row: int = 0) -> Array:
    """Python values as strings; missing values are null.

    Args:
        values: `[rows]`.
        source: where they are from, as an error's subject.
        first_row: number of the first value's row, for errors.

    Raises:
        TypeError: if a value cannot become text.
    """
    texts: list[str | None] = []
    try:
        for value in values:
            texts.append(attribute_text(value))
    except TypeError as error:
        raise TypeError(f"{source} holds {error} (row {first_row + len(texts)}).") from None
    return strings(texts)


def python_values(column: Array) -> list[Any]:
    """The values as Python objects that print as the column's own.

    Unlike `to_pylist()`, this keeps the digits of a float32 (9.99, where the Python float would be 9.989999771118164),
    gives maps as dictionaries, and nanoseconds without pandas.
    """
    kind, types = column.type, arrow().types
    if types.is_dictionary(kind):
        values = python_values(column.dictionary)
        return [None if code is None else values[code] for code in column.indices.to_pylist()]
    if types.is_floating(kind):
        return list(column.to_numpy(zero_copy_only=False))
    if types.is_struct(kind):
        return _of_structs(column)
    if types.is_map(kind):
        return _of_maps(column)
    if is_list(kind):
        return _of_lists(column)
    if str(kind).startswith(("timestamp[ns", "time64[ns")):
        return _of_nanoseconds(column)
    if isinstance(kind, arrow().BaseExtensionType):
        return _of_extension(column)
    if str(kind).startswith("run_end_encoded"):
        return python_values(arrow("pyarrow.compute").run_end_decode(column))
    if types.is_interval(kind) and column.null_count < len(column):
        raise TypeError("it holds intervals")  # a tuple of numbers in Python, which would look like a list
    return list(column.to_pylist())


def _of_lists(column: Array) -> list[Any]:
    parts = python_values(column.flatten())
    lengths = arrow("pyarrow.compute").list_value_length(column).fill_null(0)
    ends = np.cumsum([0, *lengths.to_pylist()]).tolist()
    return [parts[start:end] for start, end in pairwise(ends)]


def _of_structs(column: Array) -> list[Any]:
    names = [field.name for field in column.type]
    _check_distinct(names, "field")
    fields = [python_values(field) for field in column.flatten()]
    if not fields:
        return [None] * len(column)
    return [dict(zip(names, values, strict=True)) for values in zip(*fields, strict=True)]


def _of_maps(column: Array) -> list[Any]:
    # Keys and items are those of the whole array, also where this is a slice of it; offsets count from their start.
    offsets = np.asarray(column.offsets)
    first, last = int(offsets[0]), int(offsets[-1])
    keys = [attribute_text(key) or "" for key in python_values(column.keys[first:last])]
    items = python_values(column.items[first:last])
    mappings: list[Any] = []
    for missing, (start, end) in zip(column.is_null().to_pylist(), pairwise((offsets - first).tolist()), strict=True):
        _check_distinct(keys[start:end], "key")
        mappings.append(None if missing else dict(zip(keys[start:end], items[start:end], strict=True)))
    return mappings


def _check_distinct(names: list[str], what: str) -> None:
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise TypeError(f"it has the {what} {twice!r} twice")


def _of_nanoseconds(column: Array) -> list[Any]:
    """Times in nanoseconds: Python's own types, or text where these are too coarse."""
    pa = arrow()
    zone = getattr(column.type, "tz", None)
    coarser = pa.time64("us") if zone is None and pa.types.is_time(column.type) else pa.timestamp("us", zone)
    counts = np.asarray(column.cast(pa.int64()).fill_null(0))
    micros, rest = np.divmod(counts, 1000)
    missing = np.asarray(column.is_null())
    values = pa.array(micros, pa.int64(), mask=missing).cast(coarser).to_pylist()
    for row in np.flatnonzero(rest).tolist():
        values[row] = _with_nanoseconds(values[row], int(rest[row]))
    return list(values)


def _with_nanoseconds(moment: datetime | time, nanoseconds: int) -> str:
    text = str(moment.replace(microsecond=0))
    end = text.index(":") + len(":00:00")
    return f"{text[:end]}.{moment.microsecond:06d}{nanoseconds:03d}{text[end:]}"


def _of_extension(column: Array) -> list[Any]:
    name = column.type.extension_name
    if name == "arrow.json":
        return [None if text is None else json.loads(text) for text in column.storage.to_pylist()]
    if name == "arrow.bool8":
        return [None if value is None else bool(value) for value in column.storage.to_pylist()]
    if name.startswith(_PLAIN_STORAGE):
        return python_values(column.storage)
    if column.null_count < len(column):
        raise TypeError(f"it holds values of the type {name}; turn them into text first")
    return [None] * len(column)
