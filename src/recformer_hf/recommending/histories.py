"""Histories as people have them: lists of item dictionaries and of a catalogue's ids, mixed at will."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..items.arrow import arrow
from ..items.catalog import ItemCatalog
from ..items.ids import UnknownItemError
from ..items.text import item_attributes, shown

LONGEST_SHOWN = 120
"""Characters of an unknown id that an error shows, and looks for similar ids with."""

EVERY_ATTRIBUTE = 1 << 30


class HistoryResolver:
    """Turns histories into item texts, and knows which rows of the catalogue they are.

    Args:
        catalog: where ids are looked up; without one, histories are dictionaries only.
    """

    def __init__(self, catalog: ItemCatalog | None) -> None:
        self.catalog = catalog
        self._texts: dict[int, dict[str, str]] = {}

    def resolve(
        self, histories: Sequence[Any], where: Callable[[int, int | None], str]
    ) -> tuple[list[list[dict[str, str]]], list[list[int]]]:
        """Item texts of each history, and the catalogue's row of each item: -1 for what came as a dictionary.

        Args:
            histories: lists of entries, oldest first: item dictionaries, or ids (text or whole numbers).
            where: what errors call item i of history h, or, with None, the history.

        Raises:
            TypeError: for a history or an entry of another type.
            ValueError: for an empty history, an item without text, or ids without a catalogue.
            UnknownItemError: a `KeyError`, for an id that the catalogue does not have; it shows the closest ones.
        """
        texts, rows = [], []
        for h, history in enumerate(histories):
            entries = as_entries(history, partial(where, h, None))
            row_of = [self._row(entry, partial(where, h, i)) for i, entry in enumerate(entries)]
            texts.append(
                [
                    dict(item_attributes(entry, EVERY_ATTRIBUTE, where(h, i))) if row < 0 else self._text(row)
                    for i, (entry, row) in enumerate(zip(entries, row_of, strict=True))
                ]
            )
            rows.append(row_of)
        return texts, rows

    def _row(self, entry: Any, where: Callable[[], str]) -> int:
        if isinstance(entry, Mapping):
            return -1
        if isinstance(entry, bool) or not isinstance(entry, (str, numbers.Integral)):
            raise TypeError(
                f"{where()} is a {type(entry).__name__}, {shown(entry)}; expected a dictionary of attributes, "
                "such as {'title': 'Zelda'}, or an item id (text or a whole number)."
            )
        if self.catalog is None:
            raise ValueError(
                f"{where()} is the id {shown(entry)}, but the model has no catalogue to look it up in. Attach "
                "one: model.catalog = ItemCatalog.from_pretrained(folder); or give the item as a dictionary."
            )
        return row_of_id(self.catalog, entry, where)

    def _text(self, row: int) -> dict[str, str]:
        assert self.catalog is not None
        if row not in self._texts:
            self._texts[row] = self.catalog[row]
        return self._texts[row]


def as_entries(history: Any, where: Callable[[], str]) -> list[Any]:
    """The entries of one history.

    Raises:
        TypeError: if it is no list.
        ValueError: if it is empty.
    """
    if not isinstance(history, (list, tuple)) and not (isinstance(history, np.ndarray) and history.ndim == 1):
        raise TypeError(
            f"{where()} is a {type(history).__name__}, {shown(history)}; expected a list of items, oldest "
            "first. Several histories are a list of such lists."
        )
    if len(history) == 0:
        raise ValueError(
            f"{where()} is empty; it needs at least one item. For somebody without a history recommend what is popular."
        )
    return list(history)


def row_of_id(catalog: ItemCatalog, item_id: Any, where: Callable[[], str]) -> int:
    """Row of an id.

    Raises:
        UnknownItemError: that names the id, says where it stands and shows the closest ones.
    """
    try:
        text = item_id if isinstance(item_id, str) else str(int(item_id))
        row = catalog.ids.find(text) if text.isascii() or _is_unicode(text) else None
    except ValueError:  # a number of more digits than Python writes
        text, row = "a number of thousands of digits", None
    if row is not None:
        return row
    short = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
    short = short.encode("utf-8", "backslashreplace").decode()
    try:
        catalog.row_of(short)
    except UnknownItemError as error:
        raise UnknownItemError(f"{where()} is unknown: {error}") from None
    raise UnknownItemError(f"{where()} is unknown: no item {short!r} in the catalogue.")


def _is_unicode(text: str) -> bool:
    """Whether the text has no halves of surrogate pairs, which neither Arrow nor a file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def rows_of_equal_text(catalog: ItemCatalog, items: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Rows of the catalogue's items that have exactly the attributes of an item, in whatever order.

    One pass over the catalogue's texts for all of the items.

    Args:
        catalog: where to look.
        items: attributes; values that are missing or blank do not count.

    Returns:
        a list of rows for each item.
    """
    pa, pc = arrow(), arrow("pyarrow.compute")
    rows_of: dict[frozenset[tuple[str, str]], list[int]] = {}
    keys = [frozenset(item_attributes(item, EVERY_ATTRIBUTE, f"Item {i}")) for i, item in enumerate(items)]
    rows_of.update((key, []) for key in keys)
    if not keys:
        return []
    # The longest text of an item is in few others: it leads to the rows that are then compared in full.
    telling = pa.array({max((text for _, text in key), key=len) for key in keys}, pa.string())
    start = 0
    for batch in catalog.table.to_batches():
        lists = batch.column(1)
        hits = np.flatnonzero(pc.is_in(lists.flatten().field("value"), value_set=telling))
        if hits.size:
            ends = np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))
            for row in np.unique(np.searchsorted(ends, hits, side="right")).tolist():
                key = frozenset(item_attributes(catalog[start + row], EVERY_ATTRIBUTE, "The item"))
                if key in rows_of:
                    rows_of[key].append(start + row)
        start += len(batch)
    return [rows_of[key] for key in keys]


__all__ = ["HistoryResolver", "as_entries", "row_of_id", "rows_of_equal_text"]
