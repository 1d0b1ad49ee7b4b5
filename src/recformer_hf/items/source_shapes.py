"""Shapes in which items are often passed by mistake: one item, a path, or columns instead of rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from .arrow import ITEM_ID
from .text import shown


def refuse_no_rows(rows: object) -> None:
    """Refuses what would be iterated as something else than rows.

    Raises:
        TypeError: if it is a text, a path, a mapping, or cannot be iterated.
    """
    if isinstance(rows, (str, os.PathLike)):
        raise TypeError(
            f"from_rows takes rows, got {shown(rows)}. Files are read by from_csv, from_json, from_jsonl and "
            "from_parquet, a saved catalogue by from_pretrained."
        )
    if isinstance(rows, Mapping) or not isinstance(rows, Iterable):
        raise TypeError(
            f"from_rows takes a list of mappings, got {shown(rows)}. A mapping of id to attributes is read by "
            "from_items; columns by from_arrow(pyarrow.table(columns))."
        )


def refuse_transposed(items: Mapping[Any, object]) -> None:
    """Refuses `{"item_id": {"0": value, ...}, "title": {...}}`, as `to_json()` of pandas writes a frame by default: it
    would be read as items that are called like the columns.

    Raises:
        ValueError: if one of several items is called "item_id" and the keys of all are the same row numbers.
    """
    if ITEM_ID in items and _have_row_numbers(items):
        raise _transposed(items)


def refuse_transposed_file(items: Mapping[str, object], id_column: str) -> None:
    """As [`refuse_transposed`], for what a JSON file holds: there no item is called like the id's column.

    Raises:
        ValueError: also if the keys of several items are the same row numbers, or if one item is called "title" while
            none has a title.
    """
    columns = [column for column in items.values() if isinstance(column, Mapping)]
    titled = any("title" in column for column in columns)
    if len(columns) == len(items) and (
        id_column in items or ("title" in items and not titled) or _have_row_numbers(items)
    ):
        raise _transposed(items)


def refuse_row_numbers_as_ids(items: Mapping[str, object], id_column: str) -> None:
    """Refuses `{"0": {"item_id": id, ...}, "1": ...}`, as pandas writes a frame with `orient="index"`.

    Raises:
        ValueError: if the ids are the numbers from 0 and every item has another one under `id_column`.
    """
    own = [item[id_column] for item in items.values() if isinstance(item, Mapping) and id_column in item]
    numbers = list(map(str, range(len(items))))
    if items and len(own) == len(items) and list(items) == numbers and list(map(str, own)) != numbers:
        raise ValueError(
            f"The keys are row numbers, and every item has an {id_column!r}: pandas writes this with orient='index'. "
            "Write rows: frame.to_json(path, orient='records')."
        )


def _have_row_numbers(items: Mapping[Any, object]) -> bool:
    columns = [set(column) for column in items.values() if isinstance(column, Mapping)]
    if len(columns) < max(2, len(items)) or not columns[0] or any(column != columns[0] for column in columns):
        return False
    return all(isinstance(row, int) or (isinstance(row, str) and row.isascii() and row.isdigit()) for row in columns[0])


def _transposed(items: Mapping[Any, object]) -> ValueError:
    names = ", ".join(map(repr, list(items)[:5]))
    return ValueError(
        "These look like columns, {column: {row: value}}, instead of items, {id: {key: value}}: they are called "
        f"{names}{', ...' if len(items) > 5 else ''}. Use ItemCatalog.from_pandas(frame), or write rows: "
        "frame.to_json(path, orient='records') or frame.to_dict('records')."
    )
