"""Turns cells into the text that readers return: single values of a parsed line, and whole columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import pyarrow as pa

from ...items.ids import item_id_text, strings
from ...items.text import attribute_text, shown, without_lone_surrogates
from ..polars_engine import pl
from .source import DataError

# From these numbers on, a float does not tell every whole number from its neighbours; 2**53 for all others.
_LARGEST_EXACT = {"Float16": 2**11, "Float32": 2**24}

# What `str.strip` removes; polars' own set lacks four control characters.
WHITE_SPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)

Texts = TypeVar("Texts", pl.Series, pl.Expr)


class CellError(ValueError):
    """A value cannot be used; the message says what it is, without naming its place."""


def item_text(value: object) -> str | None:
    """An attribute's value as `attribute_text` writes it, stripped; None if it is missing or blank.

    Halves of surrogate pairs are left to `text_series`, which needs no look at every text for them.

    Raises:
        CellError: if the value cannot become text.
    """
    if value is None:
        return None
    try:
        text = value if isinstance(value, str) else attribute_text(value)
    except TypeError as error:
        raise CellError(str(error)) from error
    return (text.strip() or None) if text else None


def id_text(value: object) -> str | None:
    """An id as text by the rule of `item_id_text`; None if it is missing or blank.

    Raises:
        CellError: if the value is no id: a fraction, a truth value, a list, an object.
    """
    try:
        text = without_lone_surrogates(item_id_text(value))
    except TypeError as error:
        raise CellError(f"{shown(value)}, a {type(value).__name__}; expected text or a whole number") from error
    return text if text.strip() else None


def time_text(value: object) -> str | None:
    """A time, text or number, as text for `parse_timestamps`; None if it is missing.

    Raises:
        CellError: if the value is neither.
    """
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, str):
        return without_lone_surrogates(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(int(value)) if value == value // 1 and abs(value) < 2**63 else str(value)
    raise CellError(f"{shown(value)}, a {type(value).__name__}; expected a number or text")


def number_text(value: object) -> str | None:
    """A rating, number or text, as text; None for anything else."""
    if isinstance(value, str):
        return without_lone_surrogates(value)
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def text_series(name: str, values: Sequence[str | None]) -> pl.Series:
    """Texts as a column; halves of surrogate pairs, which JSON can hold, are joined or replaced."""
    return pl.Series(name, pl.from_arrow(strings(values)))


def lists_of_text_series(name: str, values: Sequence[Sequence[str] | None]) -> pl.Series:
    """Lists of texts as a column; otherwise as `text_series`."""
    kind = pa.list_(pa.string())
    try:
        lists = pa.array(values, kind)
    except UnicodeEncodeError:
        lists = pa.array([value and [without_lone_surrogates(text) for text in value] for value in values], kind)
    return pl.Series(name, pl.from_arrow(lists))


def ids_as_text(ids: pl.Series, written_as: str | None = None) -> pl.Series:
    """A column of ids as text, by the rule of `id_text`; null for what is no id.

    Args:
        ids: `[n]`, text, categories or whole numbers, which may be floats or decimals (pandas makes floats of whole
            numbers with gaps).
        written_as: the type that the file has, if polars has none for it: "Float16".

    Raises:
        DataError: if a float is so large that it has lost digits.
    """
    kind = ids.dtype
    if kind == pl.String or kind.is_integer() or isinstance(kind, (pl.Categorical, pl.Enum)):
        return ids.cast(pl.String)
    if kind.is_decimal():
        text = ids.cast(pl.String).str.replace(r"\.0*$", "")
        return text.set(text.str.contains(".", literal=True).fill_null(False), None)
    if not kind.is_float():
        return pl.Series(ids.name, [None] * len(ids), dtype=pl.String)
    described = written_as or str(kind)
    limit = _LARGEST_EXACT.get(described, 2**53)
    exact = ids.cast(pl.Float64)
    whole = exact.is_finite() & (exact.floor() == exact)
    inexact = exact.filter((whole & (exact.abs() >= limit)).fill_null(False))
    if len(inexact):
        raise DataError(
            f"The ids of {ids.name!r} are floats ({described}) and have lost digits, such as {inexact[0]!r}. Write "
            "them as text or whole numbers."
        )
    return exact.set(~whole.fill_null(False), None).cast(pl.Int64).cast(pl.String)


def column_as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column of this type as stripped text, lists joined by spaces; null where nothing is left."""
    column = pl.col(name)
    if isinstance(dtype, (pl.List, pl.Array)):
        column = column.cast(pl.List(pl.String)).list.drop_nulls().list.join(" ")
    return stripped(column.cast(pl.String))


def stripped(texts: Texts) -> Texts:
    """Text without the white space around it; null where nothing is left."""
    return texts.str.strip_chars(WHITE_SPACE).replace("", None)
