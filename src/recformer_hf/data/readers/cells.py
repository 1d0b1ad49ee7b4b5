"""Turns cells into the values that readers return: single values of a parsed line, and whole columns into text."""

from __future__ import annotations

from typing import TypeAlias

from ..polars_engine import pl
from .column_types import ColumnType

CellValue: TypeAlias = "str | int | list[CellValue | None]"


def cell_value(value: object, dtype: ColumnType) -> CellValue | None:
    """A parsed value as a column's type, converted as polars' JSON parser converts it in a clean block.

    Args:
        value: what `json.loads` or `ast.literal_eval` returned.
        dtype: Int64, String, or a list of one of them.

    Returns:
        the value; None if it cannot be converted.
    """
    if value is None or isinstance(value, bool):
        return None
    if dtype == pl.Int64:
        return _whole_number(value)
    if dtype == pl.String:
        return _text(value)
    if isinstance(dtype, pl.List) and isinstance(value, list):
        return [cell_value(part, dtype.inner) for part in value]
    return None


def _whole_number(value: object) -> int | None:
    if not isinstance(value, (int, float, str)):
        return None
    try:
        number = int(value)
        return number if number == float(value) and abs(number) < 2**63 else None
    except (ValueError, OverflowError):
        return None


def _text(value: object) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # polars' parser writes 5.0 as "5"
    if not isinstance(value, (str, int, float)):
        return None
    # polars refuses half of a surrogate pair, which has no UTF-8 form. (Its own JSON parser, 2.1, writes "\0" for it.)
    return str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def column_as_text(frame: pl.DataFrame, name: str) -> pl.Expr:
    """A column as stripped text, lists joined by spaces; null where nothing is left."""
    dtype, column = frame.schema[name], pl.col(name)
    if isinstance(dtype, (pl.List, pl.Array)):
        column = column.cast(pl.List(pl.String)).list.drop_nulls().list.join(" ")
    return column.cast(pl.String).str.strip_chars().replace("", None)


def id_as_text(name: str) -> pl.Expr:
    """A column of ids, text or whole numbers, as text."""
    return pl.col(name).cast(pl.String)
