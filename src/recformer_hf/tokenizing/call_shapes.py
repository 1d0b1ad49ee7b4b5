"""The shapes in which items reach a tokenizer besides dictionaries and lists, and errors about those that do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from transformers import BatchEncoding

from ..items.frames import frame_kind
from ..items.text import shown

_ROWS_OF = {
    "pandas": 'frame.to_dict("records")',
    "polars": "frame.to_dicts()",
    "arrow": "table.to_pylist()",
    "dataset": "list(dataset)",
}

# Sequences of other libraries that are read as lists, by module and name of the class.
_COLUMNS = {
    ("datasets", "Column"),
    ("pandas", "Series"),
    ("polars", "Series"),
    ("pyarrow", "ChunkedArray"),
    ("pyarrow", "Array"),
}


def plain_input(data: object) -> object:
    """What a call of the tokenizer passed, with arrays and columns as lists.

    A column is read as the list of its elements: of texts, of items, or of histories. The batch that `Dataset.map`
    passes with `batched=True` is a batch of rows, each of them an item.

    Raises:
        TypeError: for a table, an iterator, a set, or what a tokenizer returned.
    """
    if isinstance(data, (str, bytes)) or (frame_kind(data) is None and not isinstance(data, Iterable)):
        return data  # what is no item is named with its place, later
    if _is_kind(data, {("datasets", "LazyBatch")}):
        return _rows_of_batch(data)
    if isinstance(data, BatchEncoding):
        raise TypeError(
            "This is what a tokenizer returned, which is tokenized already. Pass it to the model: model(**it)."
        )
    if isinstance(data, Mapping) and frame_kind(data) is None:
        return data
    found = _as_list(data)
    if isinstance(found, (list, tuple)):
        # A history in a table is often an array, and columns of histories hold them.
        lists = [_as_list(element) for element in found]
        return found if all(one is other for one, other in zip(lists, found, strict=True)) else lists
    raise TypeError(
        "tokenizer(...) takes text, an item (a dictionary of attributes), a history (a list of items) or a batch (a "
        f"list of histories), got {_described(data)}."
    )


def check_items(items: object, method: str) -> None:
    """Raises TypeError unless this can be iterated as several items.

    Args:
        items: what was passed as items.
        method: the method's name.
    """
    table = frame_kind(items)
    if isinstance(items, (Mapping, str, bytes)) and table is None:
        raise TypeError(
            f"{method} takes several item dictionaries, got one {type(items).__name__}. Pass a list of "
            "items, or the values() of a dictionary of item id -> attributes."
        )
    if not isinstance(items, Iterable) or table not in (None, "dataset") or isinstance(items, Mapping):
        raise TypeError(f"{method} takes several item dictionaries, got {_described(items)}.")


def _as_list(data: object) -> object:
    """An array or a column as a list; anything else as it is."""
    if isinstance(data, np.ndarray) and data.ndim:
        return data.tolist()
    if _is_kind(data, _COLUMNS):
        column: Any = data
        return column.to_pylist() if hasattr(column, "to_pylist") else list(column)
    return data


def _is_kind(data: object, kinds: set[tuple[str, str]]) -> bool:
    return any((base.__module__.partition(".")[0], base.__name__) in kinds for base in type(data).__mro__)


def _rows_of_batch(batch: Any) -> list[list[dict[str, Any]]]:
    columns = {name: _as_list(batch[name]) for name in batch.keys()}  # noqa: SIM118 - it iterates over rows in some versions
    rows: Any = zip(*columns.values(), strict=True)
    return [[dict(zip(columns, row, strict=True))] for row in rows]


def _described(data: object) -> str:
    """What was found, and what to pass instead."""
    table = frame_kind(data)
    if table is not None:
        splits = " of one split" if isinstance(data, Mapping) else ""
        return f"a {type(data).__name__}, which is a table. Pass its rows{splits} as dictionaries: {_ROWS_OF[table]}"
    if isinstance(data, Iterable):
        return f"a {type(data).__name__}: {shown(data)}. Pass list(...) of it, or [...] around one"
    return f"{shown(data)} of type {type(data).__name__}"


__all__ = ["check_items", "plain_input"]
