"""What a tokenizer reads: item dictionaries checked and turned to text, and the shapes that a call may have."""

from __future__ import annotations

import numbers
import reprlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np


def is_text(data: Any) -> bool:
    """Whether this is text, a non-empty list of texts, or pairs of them: what a text tokenizer takes."""
    if isinstance(data, (list, tuple)):
        return len(data) > 0 and all(is_text(element) for element in data)
    return isinstance(data, str)


def is_batch(data: Any) -> bool:
    return isinstance(data, (list, tuple)) and any(isinstance(element, (list, tuple)) for element in data)


def as_histories(data: Any) -> tuple[list[Sequence[Any]], Callable[[int, int | None], str]]:
    """Histories, and how errors call item i (or, with None, the whole) of history h."""
    if is_batch(data):
        for h, history in enumerate(data):
            if not isinstance(history, (list, tuple)):
                raise TypeError(f"History {h} of the batch must be a list of items, got {reprlib.repr(history)}.")
        return list(data), lambda h, i: f"History {h}" if i is None else f"Item {i} of history {h}"
    if isinstance(data, (list, tuple)):
        return [data], lambda h, i: "The history" if i is None else f"Item {i} of the history"
    return [[data]], lambda h, i: "The item"


def refuse_mapping(items: Any, method: str) -> None:
    if isinstance(items, (Mapping, str)):
        raise TypeError(
            f"{method} takes item dictionaries one after another, got one {type(items).__name__}. Pass a list of "
            "items, or the values() of a dictionary of item id -> attributes."
        )


def item_attributes(item: Any, limit: int, where: str) -> list[tuple[str, str]]:
    """The first `limit` attributes of an item that are not missing, as (key, value) texts."""
    if not isinstance(item, Mapping):
        raise TypeError(
            f"{where} must be a dictionary of attributes, such as {{'title': 'Zelda'}}; got {type(item).__name__} "
            f"{reprlib.repr(item)}."
        )
    attributes = []
    for key, value in item.items():
        if not isinstance(key, str):
            raise TypeError(f"{where} has the key {key!r} of type {type(key).__name__}; keys must be strings.")
        text = value if isinstance(value, str) else _value_text(value, where, key)
        if text and not text.isspace():
            attributes.append((_clean(key), _clean(text)))
    if not attributes:
        raise ValueError(f"{where} is empty: {reprlib.repr(dict(item))}. It needs an attribute with text.")
    return attributes[:limit]


def _value_text(value: Any, where: str, key: str) -> str:
    """A value that is no string, as text; "" for a missing one."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        return _scalar_text(value, where, key)
    parts = [part if isinstance(part, str) else _scalar_text(part, where, key) for part in value]
    return " ".join(part for part in parts if part and not part.isspace())


def _scalar_text(value: Any, where: str, key: str) -> str:
    if value is None:
        return ""
    if isinstance(value, (numbers.Real, Decimal, np.bool_)):
        return str(value) if value == value else ""  # NaN differs from itself
    raise TypeError(
        f"{where} has a value of type {type(value).__name__} under {key!r}: {reprlib.repr(value)}. Values are strings, "
        "numbers, None, or lists of strings and numbers; turn anything else into text first."
    )


def _clean(text: str) -> str:
    """The text, with halves of surrogate pairs (JSON can hold them, Unicode cannot) joined or made U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


__all__ = ["as_histories", "is_batch", "is_text", "item_attributes", "refuse_mapping"]
