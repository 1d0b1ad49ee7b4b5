"""The ids of an `ItemCatalog`: a sequence of texts over its Arrow column, and the look-up of rows by id."""

from __future__ import annotations

import difflib
import numbers
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Literal, overload

import numpy as np

from .arrow import Array, ChunkedArray, arrow


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
            raise UnknownItemError(f"No item {text!r} in the catalogue of {len(self):,} items.{self._closest(text)}")
        return row

    def rows_of(self, item_ids: Iterable[object] | Array, unknown: Literal["raise", "mark"]) -> np.ndarray:
        """Rows of many ids, int32 `[len(item_ids)]`; see `ItemCatalog.rows_of`."""
        if unknown not in ("raise", "mark"):
            raise ValueError(f"unknown is {unknown!r}; expected 'raise' or 'mark'.")
        wanted = _id_array(item_ids)
        # index_in hashes all ids of the catalogue in every call. A few ids are found sooner by binary search.
        if len(wanted) < len(self) // 200:
            found = [None if item_id is None else self.find(item_id) for item_id in wanted.to_pylist()]
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
    """An item id as text. A whole number becomes its digits, a missing id `""`.

    Raises:
        TypeError: if the id is neither text nor a whole number.
    """
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, (float, np.floating)) and value != value):  # NaN differs from itself
        return ""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return str(int(value))
    hint = " pandas turns a column of whole numbers with gaps into floats: read it as text."
    raise TypeError(
        f"The item id {value!r} is a {type(value).__name__}; expected text or a whole number."
        f"{hint if isinstance(value, (float, np.floating)) else ''}"
    )


def checked_row(row: int, total: int) -> int:
    """The row counted from the start.

    Raises:
        IndexError: if there is no such row.
    """
    if not -total <= row < total:
        raise IndexError(f"No row {row} in a catalogue of {total:,} items.")
    return int(row) % total


def _id_array(item_ids: Iterable[object] | Array) -> Array:
    pa = arrow()
    if isinstance(item_ids, (pa.Array, pa.ChunkedArray)):
        return item_ids.cast(pa.string())
    return pa.array([None if item_id is None else item_id_text(item_id) for item_id in item_ids], pa.string())
