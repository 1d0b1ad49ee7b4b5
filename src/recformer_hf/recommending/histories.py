"""Histories as callers pass them: lists of item dictionaries and of ids of the catalogue, in any mix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from torch import Tensor

from ..items.arrow import ATTRIBUTES, ITEM_ID, arrow
from ..items.catalog import ItemCatalog
from ..items.frames import frame_kind
from ..items.ids import UnknownItemError, item_id_text
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
        read_texts: whether the texts of ids are wanted; otherwise they are `{}`.
    """

    def __init__(self, catalog: ItemCatalog | None, read_texts: bool = True) -> None:
        self.catalog = catalog
        self.read_texts = read_texts
        self._texts: dict[int, dict[str, str]] = {}

    def resolve(self, histories: Sequence[Any]) -> tuple[list[list[dict[str, str]]], list[list[int]]]:
        """The text of every item of each history, and its row in the catalogue: -1 for an item that it does not have.

        Args:
            histories: lists of entries, oldest first: item dictionaries, or ids (text or whole numbers). A dictionary
                with the `item_id` of an item of the catalogue is that item, whatever else it holds; see [`given_id`].

        Raises:
            TypeError: for a history or an entry of another type.
            ValueError: for an empty history, an item without text, or an id if there is no catalogue.
            UnknownItemError: a `KeyError`, for an id that the catalogue does not have; it shows the closest ones.
        """
        texts, rows = [], []
        for h, history in enumerate(histories):
            place = Place(history=h)
            items = [self.item(entry, place.of_item(i)) for i, entry in enumerate(as_entries(history, place))]
            texts.append([text for text, _ in items])
            rows.append([row for _, row in items])
        return texts, rows

    def item(self, entry: Any, place: Place) -> tuple[dict[str, str], int]:
        """An entry's text and row, or -1."""
        if isinstance(entry, Mapping):
            item_id, attributes = given_id(entry, place)
            row = None if item_id is None or self.catalog is None else self.catalog.ids.find(item_id)
            if row is None and (attributes or item_id is None):
                return dict(item_attributes(attributes, EVERY_ATTRIBUTE, place)), -1
            entry = item_id
        row = self._row(entry, place)
        if not self.read_texts:
            return {}, row
        # Histories share items, so each is read from the catalogue once.
        if row not in self._texts:
            self._texts[row] = self.catalog[row]  # type: ignore[index]
        return self._texts[row], row

    def _row(self, entry: Any, place: Place) -> int:
        item_id = id_text(entry, place, _ID_OR_ATTRIBUTES)
        if self.catalog is None:
            problem = (
                f"is the id {shown(entry)}, but the model has no catalogue to look it up in. Attach one: model.catalog "
                "= ItemCatalog.from_pretrained(folder); or pass the item as a dictionary."
            )
            raise ValueError(PlacedText(place, problem))
        return row_of_id(self.catalog, item_id, place)


_ID_OR_ATTRIBUTES = "a dictionary of attributes, such as {'title': 'Zelda'}, or an item id (text or a whole number)"


def given_id(item: Mapping[str, Any], place: object) -> tuple[str | None, Mapping[str, Any]]:
    """The id in an item's dictionary, None if it has none, and the other attributes.

    The id is never text of the item. The dictionary may be a row of the source of a catalogue (`item_id` beside the
    attributes), a row of `catalog.table`, or a recommendation (`item_id`, `score`, `attributes`).

    Args:
        item: the dictionary.
        place: how errors refer to it.

    Raises:
        TypeError: if `item_id` is neither text nor a whole number.
    """
    if ITEM_ID not in item:
        return None, item
    attributes = item.get(ATTRIBUTES)
    if isinstance(attributes, (list, tuple)):
        try:
            attributes = {pair["key"]: pair["value"] for pair in attributes}
        except (TypeError, KeyError):  # an attribute of this name, whose value is a list
            attributes = None
    if not isinstance(attributes, Mapping):
        attributes = {key: value for key, value in item.items() if key != ITEM_ID}
    try:
        return item_id_text(item[ITEM_ID]) or None, attributes
    except TypeError as error:
        raise TypeError(PlacedText(place, f"has an {ITEM_ID} that is none. {error}")) from None


def id_text(item_id: object, place: object, expected: str) -> str:
    """The text of an id: itself, or the digits of a whole number, also where pandas made a float of it.

    Raises:
        TypeError: for anything else; the message says what is expected.
        UnknownItemError: for a number of thousands of digits.
    """
    if isinstance(item_id, str):
        return item_id
    if isinstance(item_id, int) and item_id.bit_length() > 10_000:  # more digits than Python writes
        raise UnknownItemError(PlacedText(place, "is unknown: a number of thousands of digits."))
    reason, text = "", ""
    try:
        text = item_id_text(item_id)
    except TypeError as error:
        reason = f" {error}" if isinstance(item_id, (float, np.floating)) else ""
    if not text:  # missing, too
        problem = f"is a {type(item_id).__name__}, {shown(item_id)}; expected {expected}.{reason}"
        raise TypeError(PlacedText(place, problem))
    return text


def is_list(data: object) -> bool:
    """Whether this is a sequence of entries: a list, an array of one or more dimensions, a column of a frame, ..."""
    if isinstance(data, (str, bytes, bytearray, Mapping, Set, type)) or _is_table(data):
        return False
    return isinstance(data, Iterable) and getattr(data, "ndim", 1) > 0


def as_list(data: Any) -> list[Any]:
    """The entries of what [`is_list`], as Python objects where a library has its own."""
    for method in ("to_pylist", "to_list"):  # Arrow; polars and pandas
        if hasattr(data, method):
            return list(getattr(data, method)())
    return data.tolist() if isinstance(data, Tensor) else list(data)


def as_batch(histories: Any) -> list[Any]:
    """Histories as a list.

    Raises:
        TypeError: if this is no list of histories; the message says what to pass.
    """
    if not is_list(histories):
        raise TypeError(f"Expected a list of histories, got {described(histories)}.")
    batch = as_list(histories)
    if batch and not any(is_list(history) or _is_table(history) for history in batch):
        raise TypeError(
            f"Expected a list of histories, each a list of items, got a list of {type(batch[0]).__name__}. One "
            "history is [history]."
        )
    return batch


def as_entries(history: Any, place: Place) -> list[Any]:
    """The entries of one history.

    Raises:
        TypeError: if it is not a list.
        ValueError: if it is empty.
    """
    if not is_list(history):
        problem = (
            f"is {described(history)}; expected a list of items, oldest first. Pass several histories as a list of "
            "such lists."
        )
        raise TypeError(PlacedText(place, problem))
    entries = as_list(history)
    if not entries:
        problem = "is empty; it needs at least one item. Recommend popular items to a user without a history."
        raise ValueError(PlacedText(place, problem))
    return entries


def _is_table(data: object) -> bool:
    # Arrow's chunked array, one column, streams as a table does.
    return frame_kind(data) is not None and not hasattr(data, "chunks")


def described(data: object) -> str:
    """What was passed instead of a list."""
    kind = type(data).__name__
    if _is_table(data):
        return f"a {kind}. Pass one column of it, such as frame['history'], or its rows as a list of dictionaries"
    if isinstance(data, Set):
        return f"a {kind}, which has no order"
    return f"a {kind}" if data is None else f"a {kind}, {shown(data)}"


def row_of_id(catalog: ItemCatalog, item_id: str, place: object) -> int:
    """The row of an id in the catalogue.

    Args:
        catalog: where to look.
        item_id: text.
        place: how errors refer to the id.

    Raises:
        UnknownItemError: if the catalogue does not have it; the message shows the closest ids.
    """
    text = item_id
    row = catalog.ids.find(text) if text.isascii() or _is_unicode(text) else None
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


__all__ = [
    "HistoryResolver",
    "as_batch",
    "as_entries",
    "as_list",
    "described",
    "given_id",
    "id_text",
    "is_list",
    "row_of_id",
    "rows_of_equal_text",
]
