"""Item dictionaries as text, and the shapes in which a tokenizer's call may pass them: item, history or batch."""

from __future__ import annotations

import math
import numbers
import reprlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any

import numpy as np

from .places import Place, PlacedText, renumbered

ONLY_ITEM = Place()

MAX_DEPTH = 8
"""How many lists and dictionaries an attribute's value may have inside each other."""

MAX_DIGITS = 4300
"""How many digits a decimal number may have; Python's own limit for whole numbers."""


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
    """One attribute's value as text. Tokenizer, catalogue and readers share this rule.

    Args:
        value: one of

            - text, which stays as it is;
            - a number, date or time, written as `str` does: `12.5`, `5.0`, `True`, `2019-03-31 17:05:00+00:00`. A
              `Decimal` has no exponent, and a float32 gets the shortest digits that tell it from its neighbours;
            - a list, tuple or array: its values by this rule, joined by single spaces;
            - a dictionary: `"key: value, key: value"`, its values by this rule;
            - missing: `None`, NaN, infinite, `pandas.NA`, `NaT`. In lists and dictionaries, missing and blank values
              are left out. If nothing is left, the whole value is missing.

    Returns:
        The text, or `None` if the value is missing.

    Raises:
        TypeError: for anything else: bytes, durations, sets, numbers of thousands of digits, values more than
            `MAX_DEPTH` deep.
    """
    return value if isinstance(value, str) else _text(value, 0)


def _text(value: object, depth: int) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (numbers.Real, Decimal, np.bool_)):  # Decimal and np.bool_ are not registered as Real
        return _number_text(value)
    if is_missing(value):
        return None
    if isinstance(value, (date, time)):  # a datetime is a date
        return str(value)
    if isinstance(value, np.datetime64):
        return _datetime64_text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError("bytes; decode them to text first")
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return _text(value[()], depth)
    if not isinstance(value, (Mapping, Sequence, np.ndarray)):
        expected = "expected text, a number, a date, or a list or dictionary of those; turn it into text first"
        raise TypeError(f"a {type(value).__name__}; {expected}")
    if depth == MAX_DEPTH:
        raise TypeError(f"more than {MAX_DEPTH} lists or dictionaries inside each other; join the inner ones to text")
    if isinstance(value, Mapping):
        return _mapping_text(value, depth + 1)
    texts = (_text(part, depth + 1) for part in value)
    return " ".join(text for text in texts if text and not text.isspace()) or None


def is_missing(value: object) -> bool:
    """Whether this is `None`, or a missing value of numpy or pandas other than NaN."""
    if value is None:
        return True
    if isinstance(value, np.datetime64):
        return bool(np.isnat(value))
    # pandas is not imported for this: where it is not loaded, nobody can pass its values.
    pandas = sys.modules.get("pandas")
    return value is np.ma.masked or (pandas is not None and (value is pandas.NA or value is pandas.NaT))


def _number_text(value: Any) -> str | None:
    if isinstance(value, np.timedelta64):  # numpy registers it as a whole number
        if np.isnat(value):
            return None
        raise TypeError("a duration; make it a number or text first")
    if isinstance(value, Decimal):
        if value.is_finite() and abs(value.adjusted()) > MAX_DIGITS:
            raise TypeError(f"a decimal number of more than {MAX_DIGITS:,} digits")
        return format(value, "f") if value.is_finite() else None
    try:
        return str(value) if not isinstance(value, (float, np.floating)) or math.isfinite(value) else None
    except ValueError as error:  # Python refuses to write integers of thousands of digits
        raise TypeError(f"a whole number too long to be an attribute ({error})") from error


def _datetime64_text(value: np.datetime64) -> str:
    """As `str` writes the datetime: of a fraction, six digits, or nine where it has nanoseconds."""
    unit = np.datetime_data(value)[0]
    if unit in ("Y", "M", "W", "D"):
        return str(value)
    seconds, _, fraction = str(value if unit not in ("h", "m") else value.astype("datetime64[s]")).partition(".")
    digits = fraction.rstrip("0")
    width = next(width for width in (0, 6, 9, 18) if width >= len(digits))
    return seconds.replace("T", " ") + (f".{digits:0<{width}}" if digits else "")


def _mapping_text(value: Mapping[object, object], depth: int) -> str | None:
    pairs = []
    for key, inner in value.items():
        name = _text(key, depth)
        if name is None:
            raise TypeError(f"a dictionary with the key {shown(key)}, which is missing; name it")
        text = _text(inner, depth)
        if text and not text.isspace():
            pairs.append(f"{name}: {text}")
    return ", ".join(pairs) or None


def _value_text(value: object, where: object, key: str) -> str:
    try:
        return attribute_text(value) or ""
    except TypeError as error:
        problem = f"has a value of type {type(value).__name__} under {shown(key)}: {shown(value)}. It holds {error}."
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
    "is_missing",
    "is_text",
    "item_attributes",
    "shown",
    "without_lone_surrogates",
]
