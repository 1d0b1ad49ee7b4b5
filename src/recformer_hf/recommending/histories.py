"""Histories as callers pass them: lists of item dictionaries and of ids of the catalogue, in any mix."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..items.arrow import arrow
from ..items.catalog import ItemCatalog
from ..items.ids import UnknownItemError
from ..items.places import Place, PlacedText
from ..items.text import all_attributes, item_attributes, shown

LONGEST_SHOWN = 120
"""Characters of an unknown id that an error shows and compares with the catalogue's ids."""

EVERY_ATTRIBUTE = 1 << 30
"""A limit on attributes that no item reaches."""


class HistoryResolver:
    """Turns histories into item texts, and finds the rows of the items that are in the catalogue.

    Args:
        catalog: where ids are looked up. None: histories may hold dictionaries only.
    """

    def __init__(self, catalog: ItemCatalog | None) -> None:
        self.catalog = catalog
        self._texts: dict[int, dict[str, str]] = {}

    def resolve(self, histories: Sequence[Any]) -> tuple[list[list[dict[str, str]]], list[list[int]]]:
        """The text of every item of each history, and its row in the catalogue: -1 for an item given as a dictionary.

        Args:
            histories: lists of entries, oldest first: item dictionaries, or ids (text or whole numbers).

        Raises:
            TypeError: for a history or an entry of another type.
            ValueError: for an empty history, an item without text, or an id if there is no catalogue.
            UnknownItemError: a `KeyError`, for an id that the catalogue does not have; it shows the closest ones.
        """
        texts, rows = [], []
        for h, history in enumerate(histories):
            place = Place(history=h)
            entries = as_entries(history, place)
            row_of = [self._row(entry, place.of_item(i)) for i, entry in enumerate(entries)]
            texts.append(
                [
                    dict(item_attributes(entry, EVERY_ATTRIBUTE, place.of_item(i))) if row < 0 else self._text(row)
                    for i, (entry, row) in enumerate(zip(entries, row_of, strict=True))
                ]
            )
            rows.append(row_of)
        return texts, rows

    def _row(self, entry: Any, place: Place) -> int:
        if isinstance(entry, Mapping):
            return -1
        if isinstance(entry, bool) or not isinstance(entry, (str, numbers.Integral)):
            problem = (
                f"is a {type(entry).__name__}, {shown(entry)}; expected a dictionary of attributes, such as "
                "{'title': 'Zelda'}, or an item id (text or a whole number)."
            )
            raise TypeError(PlacedText(place, problem))
        if self.catalog is None:
            problem = (
                f"is the id {shown(entry)}, but the model has no catalogue to look it up in. Attach one: model.catalog "
                "= ItemCatalog.from_pretrained(folder); or pass the item as a dictionary."
            )
            raise ValueError(PlacedText(place, problem))
        return row_of_id(self.catalog, entry, place)

    def _text(self, row: int) -> dict[str, str]:
        assert self.catalog is not None
        # Histories share items, so each is read from the catalogue once.
        if row not in self._texts:
            self._texts[row] = self.catalog[row]
        return self._texts[row]


def as_entries(history: Any, place: Place) -> list[Any]:
    """The entries of one history.

    Raises:
        TypeError: if it is not a list.
        ValueError: if it is empty.
    """
    if not isinstance(history, (list, tuple)) and not (isinstance(history, np.ndarray) and history.ndim == 1):
        problem = (
            f"is a {type(history).__name__}, {shown(history)}; expected a list of items, oldest first. Pass several "
            "histories as a list of such lists."
        )
        raise TypeError(PlacedText(place, problem))
    if len(history) == 0:
        problem = "is empty; it needs at least one item. Recommend popular items to a user without a history."
        raise ValueError(PlacedText(place, problem))
    return list(history)


def row_of_id(catalog: ItemCatalog, item_id: Any, place: object) -> int:
    """The row of an id in the catalogue.

    Args:
        catalog: where to look.
        item_id: text or a whole number.
        place: how errors refer to the id.

    Raises:
        UnknownItemError: if the catalogue does not have it; the message shows the closest ids.
    """
    try:
        text = item_id if isinstance(item_id, str) else str(int(item_id))
        row = catalog.ids.find(text) if text.isascii() or _is_unicode(text) else None
    except ValueError:  # a number with more digits than Python writes
        text, row = "a number of thousands of digits", None
    if row is not None:
        return row
    short = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
    short = short.encode("utf-8", "backslashreplace").decode()
    try:
        catalog.row_of(short)  # for its error, which shows the closest ids
    except UnknownItemError as error:
        raise UnknownItemError(PlacedText(place, f"is unknown: {error}")) from None
    raise UnknownItemError(PlacedText(place, f"is unknown: no item {short!r} in the catalogue."))


def _is_unicode(text: str) -> bool:
    """Whether the text can be encoded. Half of a surrogate pair cannot, and neither Arrow nor a file can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def rows_of_equal_text(catalog: ItemCatalog, items: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """The rows of the catalogue's items that have exactly the attributes of an item, in any order.

    One pass over the catalogue's texts serves all of the items.

    Args:
        catalog: where to look.
        items: their attributes; missing and blank values do not count.

    Returns:
        a list of rows for each item.
    """
    pa, pc = arrow(), arrow("pyarrow.compute")
    rows_of: dict[frozenset[tuple[str, str]], list[int]] = {}
    keys = [frozenset(attributes) for attributes in all_attributes(items, EVERY_ATTRIBUTE)]
    rows_of.update((key, []) for key in keys)
    if not keys:
        return []
    # Few other items have the longest text of an item, so only the rows that have it are compared in full.
    longest = pa.array({max((text for _, text in key), key=len) for key in keys}, pa.string())
    start = 0
    for batch in catalog.table.to_batches():
        lists = batch.column(1)
        hits = np.flatnonzero(pc.is_in(lists.flatten().field("value"), value_set=longest))
        if hits.size:
            ends = np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))
            for row in np.unique(np.searchsorted(ends, hits, side="right")).tolist():
                key = frozenset(item_attributes(catalog[start + row], EVERY_ATTRIBUTE))
                if key in rows_of:
                    rows_of[key].append(start + row)
        start += len(batch)
    return [rows_of[key] for key in keys]


__all__ = ["HistoryResolver", "as_entries", "row_of_id", "rows_of_equal_text"]
