"""The ids of an `ItemCatalog`: a sequence of texts over its Arrow column, and the look-up of rows by id."""

from __future__ import annotations

import difflib
import math
import numbers
import operator
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np

from .arrow import Array, ChunkedArray, arrow, is_string
from .text import MAX_DIGITS, is_missing, shown, without_lone_surrogates


class UnknownItemError(KeyError):
    """An id that the catalogue does not have."""

    def __str__(self) -> str:  # KeyError would show the repr of the message, in quotes
        return str(self.args[0])


class ItemIds(Sequence[str]):
    """A catalogue's ids in order of rows: reads like a list of `str` but keeps no `str` in memory.

    The first look-up of a row sorts the ids once; every look-up is a binary search. For a million ids that takes half a
    second and 4 MB, where a dictionary would take 150 MB in every process.

    Args:
        column: `pyarrow.ChunkedArray` of distinct strings.
    """

    def __init__(self, column: ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> list[str]: ...

    def __getitem__(self, row: int | slice) -> str | list[str]:
        if not isinstance(row, slice):
            item_id: str = self._column[checked_row(row, len(self))].as_py()
            return item_id
        start, stop, step = row.indices(len(self))
        if step != 1:
            return [self[i] for i in range(start, stop, step)]
        item_ids: list[str] = self._column.slice(start, max(0, stop - start)).to_pylist()
        return item_ids

    def __iter__(self) -> Iterator[str]:
        for chunk in self._column.chunks:
            yield from chunk.to_pylist()

    def __contains__(self, item_id: object) -> bool:
        try:
            return self.find(item_id_text(item_id)) is not None
        except TypeError:
            return False

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ItemIds):
            return bool(self._column.equals(other._column))
        return isinstance(other, (list, tuple)) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self[:10]))}{', ...' if len(self) > 10 else ''}]"

    def find(self, item_id: str) -> int | None:
        """Row of an id, or `None`."""
        place = bisect_left(self._in_order, item_id)
        if place == len(self) or self._in_order[place] != item_id:
            return None
        return int(self._in_order.rows[place])

    def row_of(self, item_id: str | int) -> int:
        """Row of an id.

        Raises:
            UnknownItemError: a `KeyError` that shows the closest ids.
        """
        text = item_id_text(item_id)
        row = self.find(text)
        if row is None:
            named = repr(text) if text else shown(item_id)  # a missing id is shown as it was passed
            raise UnknownItemError(f"No item {named} in the catalogue of {len(self):,} items.{self._closest(text)}")
        return row

    def rows_of(self, item_ids: Iterable[object] | Array, unknown: Literal["raise", "mark"]) -> np.ndarray:
        """Rows of many ids, int32 `[len(item_ids)]`; see `ItemCatalog.rows_of`."""
        if unknown not in ("raise", "mark"):
            raise ValueError(f"unknown is {unknown!r}; expected 'raise' or 'mark'.")
        wanted = _id_array(item_ids)
        # index_in hashes all ids of the catalogue in every call. A few ids are found sooner by binary search.
        if len(wanted) < len(self) // 200:
            found = [self.find(item_id) for item_id in wanted.to_pylist()]
            rows = np.array([-1 if row is None else row for row in found], dtype=np.int32)
        else:
            rows = np.asarray(arrow("pyarrow.compute").index_in(wanted, value_set=self._column).fill_null(-1))
        lost = np.flatnonzero(rows < 0)
        if lost.size and unknown == "raise":
            first = wanted.take(arrow().array(lost[:5])).to_pylist()
            raise UnknownItemError(
                f"{lost.size:,} of {len(wanted):,} ids are not in the catalogue of {len(self):,} items, the first: "
                f"{', '.join(map(repr, first))}.{self._closest(str(first[0]))} unknown='mark' gives them -1 instead."
            )
        return rows.astype(np.int32, copy=False)

    @cached_property
    def _in_order(self) -> _SortedIds:
        return _SortedIds(self._column)

    def _closest(self, item_id: str) -> str:
        """A sentence with the ids most similar to this one."""
        # Comparing with all ids would take minutes in a large catalogue. Most mistyped ids still begin like the right
        # one, which is therefore near them in sorted order.
        place = bisect_left(self._in_order, item_id)
        around = self._in_order[max(0, place - 500) : place + 500]
        closest = difflib.get_close_matches(item_id, around)
        return f" Closest: {', '.join(map(repr, closest))}." if closest else ""


class _SortedIds(Sequence[str]):
    """The ids in sorted order for `bisect`. An id is read from Arrow only when it is needed."""

    def __init__(self, column: ChunkedArray) -> None:
        self._column = column
        # int32 suffices for two billion rows and takes half the memory of int64.
        self.rows = np.asarray(arrow("pyarrow.compute").sort_indices(column)).astype(np.int32)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self._column[row].as_py() for row in self.rows[place].tolist()]
        item_id: str = self._column[int(self.rows[place])].as_py()
        return item_id


def item_id_text(value: object) -> str:
    """An item id as text. A missing id is `""`.

    Args:
        value: text; a whole number, which becomes its digits, also where it is a float, because pandas turns whole
            numbers with gaps into floats; a missing value; a numpy or Arrow scalar of these.

    Raises:
        TypeError: for anything else: fractions, infinite numbers, booleans, bytes, lists, and floats so large that
            digits were lost.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.timedelta64)):
        return _digits(int(value))
    if isinstance(value, (float, np.floating, Decimal)):
        return _digits_of_whole(value)
    if is_missing(value):
        return ""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return item_id_text(value[()])
    if type(value).__module__ == "pyarrow.lib" and hasattr(value, "as_py"):
        return item_id_text(value.as_py())
    hint = "; decode it to text first" if isinstance(value, bytes) else ""
    raise TypeError(f"The item id {shown(value)} is a {type(value).__name__}; expected text or a whole number{hint}.")


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError as error:
        raise TypeError(f"An item id has too many digits ({error}).") from error


def _digits_of_whole(value: float | np.floating[Any] | Decimal) -> str:
    kind = type(value).__name__
    if isinstance(value, Decimal):
        if value.is_nan():
            return ""
        if value.is_finite() and abs(value.adjusted()) < MAX_DIGITS and value == value.to_integral_value():
            return _digits(int(value))
    elif value != value:  # only NaN differs from itself
        return ""
    elif math.isfinite(value) and int(value) == value:
        # A larger float stands for several whole numbers.
        if abs(value) >= 2 ** (np.finfo(type(value)).nmant + 1):
            raise TypeError(f"The item id {value!r} is a {kind} so large that digits were lost; read the ids as text.")
        return str(int(value))
    raise TypeError(
        f"The item id {value!r} is a {kind}; expected text or a whole number. pandas turns a column of whole numbers "
        "with gaps into floats: read it as text."
    )


def id_texts(column: Array, first_row: int = 0) -> Array:
    """An Arrow column of ids as strings by the rule of [`item_id_text`]; missing ids are `""`.

    Args:
        column: `pyarrow.Array` `[rows]`.
        first_row: number of its first row, for errors.
    """
    pa, types = arrow(), arrow().types
    kind = column.type
    if types.is_dictionary(kind):
        texts = id_texts(column.dictionary)
        return texts.take(column.indices).fill_null("")
    if types.is_integer(kind) or is_string(kind) or types.is_null(kind):
        return column.cast(pa.string()).fill_null("")
    # numpy keeps a float32 apart from a float, which holds more digits.
    floating = types.is_floating(kind)
    values = column.to_numpy(zero_copy_only=False) if floating else column.to_pylist()
    return texts_of_ids(values, first_row)


def texts_of_ids(values: Iterable[object], first_row: int = 0) -> Array:
    """Ids as an Arrow array of strings by the rule of [`item_id_text`].

    Args:
        values: any ids.
        first_row: number of the first one's row, for errors.

    Raises:
        TypeError: if one cannot be an id. The message has its row.
    """
    texts: list[str | None] = []
    try:
        for value in values:
            texts.append(item_id_text(value))
    except TypeError as error:
        raise TypeError(f"{error} It is in row {first_row + len(texts)}.") from None
    return strings(texts)


def strings(values: Sequence[str | None]) -> Array:
    """The texts as an Arrow array of strings; halves of surrogate pairs are joined or replaced."""
    pa = arrow()
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return pa.array([value and without_lone_surrogates(value) for value in values], pa.string())


def checked_row(row: int, total: int) -> int:
    """The row counted from the start.

    Raises:
        IndexError: if there is no such row.
        TypeError: if it is no whole number.
    """
    if isinstance(row, (bool, np.bool_)) or not hasattr(row, "__index__"):
        raise TypeError(
            f"A row of the catalogue is a whole number, got {shown(row)}. For an item's id: catalog.row_of(item_id)."
        )
    number = operator.index(row)
    if not -total <= number < total:
        raise IndexError(f"No row {number} in a catalogue of {total:,} items.")
    return number % total


def _id_array(item_ids: Iterable[object] | Array) -> Array:
    pa = arrow()
    if isinstance(item_ids, pa.ChunkedArray):
        return pa.chunked_array([id_texts(chunk) for chunk in item_ids.chunks], pa.string())
    if isinstance(item_ids, pa.Array):
        return id_texts(item_ids)
    if isinstance(item_ids, (str, bytes, Mapping)) or hasattr(item_ids, "columns"):
        raise TypeError(
            f"rows_of takes several ids, got a {type(item_ids).__name__}. Pass a list or a column; row_of takes one id."
        )
    if not isinstance(item_ids, Iterable):
        raise TypeError(f"rows_of takes several ids, got {shown(item_ids)}. row_of takes one id.")
    return texts_of_ids(item_ids)
