"""Item dictionaries as text, and the shapes in which a tokenizer's call may pass them: item, history or batch."""

from __future__ import annotations

import numbers
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from .places import Place, PlacedText, renumbered

ONLY_ITEM = Place()


def is_text(data: object) -> bool:
    """Whether this is text, a non-empty list of texts, or pairs of them: what a text tokenizer takes."""
    if isinstance(data, (list, tuple)):
        return len(data) > 0 and all(is_text(element) for element in data)
    return isinstance(data, str)


def is_batch(data: object) -> bool:
    """Whether this is a list with a list in it: a batch of histories."""
    return isinstance(data, (list, tuple)) and any(isinstance(element, (list, tuple)) for element in data)


def as_histories(data: object) -> tuple[list[Sequence[Any]], list[Place]]:
    """The histories that a call passed, and the place of each: a batch, one history, or one item."""
    if isinstance(data, (list, tuple)) and is_batch(data):
        for h, history in enumerate(data):
            if not isinstance(history, (list, tuple)):
                raise TypeError(f"History {h} of the batch must be a list of items, got {shown(history)}.")
        return list(data), [Place(history=h) for h in range(len(data))]
    if isinstance(data, (list, tuple)):
        return [data], [Place(history="only")]
    return [[data]], [Place()]


def refuse_mapping(items: object, method: str) -> None:
    """Raises an error for a single dictionary: iterating over it would give keys instead of items."""
    if isinstance(items, (Mapping, str)):
        raise TypeError(
            f"{method} takes several item dictionaries, got one {type(items).__name__}. Pass a list of "
            "items, or the values() of a dictionary of item id -> attributes."
        )


def all_attributes(items: Iterable[object], limit: int, history: Place | None = None) -> list[list[tuple[str, str]]]:
    """The [`item_attributes`] of several items.

    Args:
        items: item dictionaries.
        limit (`int`): how many attributes of an item are read.
        history: the place of the history that the items belong to. None: they are a plain list.
    """
    rows: list[list[tuple[str, str]]] = []
    # One block around the loop, because a block around every item would cost as much as reading the item.
    with renumbered(lambda _: Place(len(rows)) if history is None else history.of_item(len(rows))):
        for item in items:
            rows.append(item_attributes(item, limit))
    return rows


def item_attributes(item: object, limit: int, where: object = ONLY_ITEM) -> list[tuple[str, str]]:
    """The first `limit` attributes of an item that are not missing, as (key, value) texts.

    Args:
        item: dictionary of attributes.
        limit (`int`): how many attributes are read.
        where: how errors refer to the item.

    Raises:
        TypeError: if the item is not a dictionary, a key is not a string, or a value cannot become text.
        ValueError: if the item has no attribute with text.
    """
    if not isinstance(item, Mapping):
        problem = "must be a dictionary of attributes, such as {'title': 'Zelda'}; got"
        raise TypeError(PlacedText(where, f"{problem} {type(item).__name__} {shown(item)}."))
    attributes = []
    for key, value in item.items():
        if not isinstance(key, str):
            problem = f"has the key {shown(key)} of type {type(key).__name__}; keys must be strings."
            raise TypeError(PlacedText(where, problem))
        text = value if isinstance(value, str) else _value_text(value, where, key)
        if text and not text.isspace():
            attributes.append((without_lone_surrogates(key), without_lone_surrogates(text)))
    if not attributes:
        raise ValueError(PlacedText(where, f"is empty: {shown(dict(item))}. It needs an attribute with text."))
    # Attributes beyond the limit are checked, too, so that the limit does not decide which items are valid.
    return attributes[:limit]


def attribute_text(value: object) -> str | None:
    """One attribute's value as text. Tokenizer and catalogue share this rule.

    Args:
        value: text; a number, written as `str` does; a list of texts and numbers, joined by spaces without missing and
            blank ones; `None` or NaN, which are missing.

    Returns:
        The text, or `None` if the value is missing.

    Raises:
        TypeError: for anything else: dictionaries, lists in lists, dates, bytes, numbers of thousands of digits.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (numbers.Real, Decimal, np.bool_)):  # Decimal and np.bool_ are not registered as Real
        try:
            return str(value) if value == value else None  # NaN differs from itself
        except ValueError as error:  # Python refuses to write integers of thousands of digits
            raise TypeError(f"a whole number too long to be an attribute ({error})") from error
    if isinstance(value, (list, tuple, np.ndarray)):
        if any(isinstance(part, (list, tuple, np.ndarray)) for part in value):
            raise TypeError("a list inside a list; join the inner lists to text first")
        texts = (attribute_text(part) for part in value)
        return " ".join(text for text in texts if text and not text.isspace())
    raise TypeError(f"a {type(value).__name__}; expected text, a number, or a list of those. Turn it into text first")


def _value_text(value: object, where: object, key: str) -> str:
    try:
        return attribute_text(value) or ""
    except TypeError as error:
        problem = (
            f"has a value of type {type(value).__name__} under {shown(key)}: {shown(value)}. Values are strings, "
            "numbers, None, or lists of strings and numbers; turn anything else into text first."
        )
        raise TypeError(PlacedText(where, problem)) from error


def shown(value: object) -> str:
    """A short `repr` of a user's value, or its type if `repr` fails."""
    try:
        return reprlib.repr(value).encode("utf-8", "backslashreplace").decode()
    except Exception:  # an integer with too many digits for Python to write, or any error in a user's __repr__
        return f"a value of type {type(value).__name__} that cannot be shown"


def without_lone_surrogates(text: str) -> str:
    """The text with surrogate pairs joined and single halves of pairs replaced by U+FFFD.

    JSON can hold such halves ("\\ud83d"), but UTF-8 cannot, and neither tokenizers nor Arrow accept them.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


__all__ = [
    "all_attributes",
    "as_histories",
    "attribute_text",
    "is_batch",
    "is_text",
    "item_attributes",
    "refuse_mapping",
    "shown",
    "without_lone_surrogates",
]
