"""`SparseRows`: a sparse matrix over the catalogue, a row for each item, and what a history adds up in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

ENTRIES_AT_ONCE = 1 << 22
"""Entries of the matrix that are unfolded together: their indices and weights take about 100 MB."""


@dataclass(frozen=True, eq=False)
class SparseRows:
    """Rows of numbers, most of them 0; only the others are stored (compressed sparse rows).

    Args:
        offsets: int64 `[num_rows + 1]`: row i has the entries `offsets[i]` to `offsets[i + 1]` of the next two.
        columns: int32 `[entries]`, ascending within a row.
        values: float32 `[entries]`, the numbers at these columns.
        num_columns: how many columns there are.

    Raises:
        ValueError: if the arrays do not fit together, a column is outside the matrix, not above the one before it in
            the same row, or a value is not finite.
        TypeError: if an array has another type.
    """

    offsets: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    num_columns: int

    def __post_init__(self) -> None:
        for name, kind in (("offsets", np.int64), ("columns", np.int32), ("values", np.float32)):
            array = getattr(self, name)
            if array.dtype != kind or array.ndim != 1:
                raise TypeError(
                    f"{name} of sparse rows are {array.dtype} of shape {list(array.shape)}; expected {np.dtype(kind)} "
                    "in one dimension."
                )
        self._check_offsets()
        self._check_entries()

    def _check_offsets(self) -> None:
        offsets, entries = self.offsets, len(self.columns)
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != entries or (offsets[1:] < offsets[:-1]).any():
            ends = f"{offsets[0]} to {offsets[-1]}" if len(offsets) else "none"
            raise ValueError(f"Offsets of sparse rows must ascend from 0 to {entries:,} entries, got {ends}.")
        if len(self.values) != entries:
            raise ValueError(f"Sparse rows have {entries:,} columns but {len(self.values):,} values; expected as many.")

    def _check_entries(self) -> None:
        columns = self.columns
        if len(columns) == 0:
            return
        if columns.min() < 0 or columns.max() >= self.num_columns:
            raise ValueError(
                f"Columns of sparse rows go from {columns.min()} to {columns.max()}; expected 0 to "
                f"{self.num_columns - 1}."
            )
        ascends = columns[1:] > columns[:-1]
        firsts = self.offsets[1:-1]
        ascends[firsts[(firsts > 0) & (firsts < len(columns))] - 1] = True
        if not ascends.all():
            row = int(np.searchsorted(self.offsets, int(ascends.argmin()) + 1, side="right")) - 1
            raise ValueError(f"Columns of row {row} of sparse rows do not ascend, or one occurs twice.")
        if not np.isfinite(self.values).all():
            raise ValueError("Sparse rows hold a value that is not finite.")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_entries(self) -> int:
        """How many numbers are stored."""
        return len(self.columns)

    # Making

    @classmethod
    def empty(cls, num_rows: int, num_columns: int) -> SparseRows:
        """Rows without entries."""
        return cls(np.zeros(num_rows + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), num_columns)

    @classmethod
    def from_triples(
        cls, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, num_rows: int, num_columns: int
    ) -> SparseRows:
        """Rows of entries in any order; the values of an entry that occurs several times are added.

        Args:
            rows (int `[n]`): each in [0, num_rows).
            columns (int `[n]`): each in [0, num_columns).
            values (float `[n]`): the numbers. They are added in the order in which they stand.

        Raises:
            ValueError: for a row or a column outside the matrix, or arrays of different lengths.
        """
        if not len(rows) == len(columns) == len(values):
            raise ValueError(f"{len(rows):,} rows, {len(columns):,} columns, {len(values):,} values; expected as many.")
        for name, places, size in (("rows", rows, num_rows), ("columns", columns, num_columns)):
            if len(places) and (places.min() < 0 or places.max() >= size):
                raise ValueError(f"{name} go from {places.min()} to {places.max()}; expected 0 to {size - 1}.")
        # An entry is one number, its place in the whole matrix, so that one sort finds the equal ones.
        places = rows.astype(np.int64) * num_columns + columns
        order = np.argsort(places, kind="stable")
        places = places[order]
        firsts = firsts_of_equal(places)
        sums = np.add.reduceat(np.asarray(values, np.float64)[order], firsts) if len(firsts) else np.zeros(0)
        return cls.from_places(places[firsts], sums, num_rows, num_columns)

    @classmethod
    def from_places(cls, places: np.ndarray, values: np.ndarray, num_rows: int, num_columns: int) -> SparseRows:
        """Rows of entries in order: int64 `[n]` places `row * num_columns + column`, ascending, and their values."""
        offsets = np.searchsorted(places, np.arange(num_rows + 1) * num_columns).astype(np.int64)
        columns = (places % max(1, num_columns)).astype(np.int32)
        return cls(offsets, columns, values.astype(np.float32), num_columns)

    @classmethod
    def joined(cls, blocks: Iterable[SparseRows], num_columns: int) -> SparseRows:
        """The rows of several blocks, one below the other; all have `num_columns`."""
        kept = list(blocks)
        counts = [np.diff(block.offsets) for block in kept]
        return cls(
            offsets_of(np.concatenate([np.zeros(0, np.int64), *counts])),
            np.concatenate([np.zeros(0, np.int32), *(block.columns for block in kept)]),
            np.concatenate([np.zeros(0, np.float32), *(block.values for block in kept)]),
            num_columns,
        )

    def scaled_by_sums(self, power: float) -> SparseRows:
        """Every row multiplied by its sum to this power, such as -.25; a row whose sum is 0 stays as it is."""
        sums = self.row_sums()
        factors = np.where(sums > 0, sums, 1.0) ** power
        values = self.values * np.repeat(factors, np.diff(self.offsets))
        return SparseRows(self.offsets, self.columns, values.astype(np.float32), self.num_columns)

    def row_sums(self) -> np.ndarray:
        """Sum of the values of each row, float64 `[num_rows]`."""
        ends = np.concatenate([[0.0], np.cumsum(self.values, dtype=np.float64)])
        sums: np.ndarray = ends[self.offsets[1:]] - ends[self.offsets[:-1]]
        # Rounding of the running sum must not leave something of an empty row.
        return np.where(np.diff(self.offsets) > 0, sums, 0.0)

    # Histories

    def sum_of_rows(self, histories: Sequence[np.ndarray], decay: float) -> np.ndarray:
        """The weighted sum of the rows of each history's items.

        Args:
            histories: `[batch]` int arrays of rows, oldest first; they may be empty. An item that occurs twice counts
                twice.
            decay: the newest item weighs 1, and an item before it `exp(-decay * age)`, where age counts items.

        Returns:
            float32 `[batch, num_columns]`. A history's sum does not depend on the others of the batch.

        Raises:
            IndexError: for an item that has no row here.
        """
        sums = np.zeros((len(histories), self.num_columns), np.float32)
        flat = sums.reshape(-1)
        for first, users, columns, values in self._entries_of(histories, decay):
            np.add.at(flat, (users + first) * self.num_columns + columns, values)
        return sums

    def sparse_sum_of_rows(self, histories: Sequence[np.ndarray], decay: float) -> SparseRows:
        """The same sums as `[batch]` sparse rows: only columns that an item of the history has."""
        blocks, done = [], 0
        for first, users, columns, values in self._entries_of(histories, decay):
            last = first + (int(users[-1]) if len(users) else 0)
            blocks.append(SparseRows.empty(first - done, self.num_columns))
            places, which = np.unique(users * self.num_columns + columns, return_inverse=True)
            sums = np.zeros(len(places), np.float32)
            np.add.at(sums, which.reshape(-1), values)  # in the order of the dense sums, so to their last bit
            blocks.append(SparseRows.from_places(places, sums, last + 1 - first, self.num_columns))
            done = last + 1
        blocks.append(SparseRows.empty(len(histories) - done, self.num_columns))
        return SparseRows.joined(blocks, self.num_columns)

    def _entries_of(
        self, histories: Sequence[np.ndarray], decay: float
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """Blocks of whole histories: the first history, then for each entry of its items' rows the history (counted
        from the first), the column, and the value times the item's weight."""
        lengths = np.fromiter(map(len, histories), np.int64, len(histories))
        items = np.concatenate([np.zeros(0, np.int64), *histories]).astype(np.int64)
        if len(items) and (items.min() < 0 or items.max() >= len(self)):
            raise IndexError(
                f"Histories have the items {items.min()} to {items.max()}; there are rows for 0 to {len(self) - 1}."
            )
        ends = np.cumsum(lengths)
        ages = np.repeat(ends, lengths) - 1 - np.arange(len(items))
        weights = np.exp(-decay * ages).astype(np.float32)
        users = np.repeat(np.arange(len(histories)), lengths)
        counts = self.offsets[items + 1] - self.offsets[items]
        for first, last in _blocks(offsets_of(counts)[offsets_of(lengths)]):
            mine = slice(ends[first] - lengths[first], ends[last - 1])
            places = _places(self.offsets[items[mine]], counts[mine])
            values = self.values[places] * np.repeat(weights[mine], counts[mine])
            yield first, np.repeat(users[mine] - first, counts[mine]), self.columns[places], values

    # Other catalogues

    def extended(self, num_more: int) -> SparseRows:
        """The matrix of a catalogue with items added at its end; their rows and columns are empty."""
        more = np.full(num_more, self.offsets[-1])
        return SparseRows(np.concatenate([self.offsets, more]), self.columns, self.values, self.num_columns + num_more)

    def columns_scaled(self, factors: np.ndarray) -> SparseRows:
        """Every column multiplied by a number, float `[num_columns]`."""
        values = (self.values * factors[self.columns]).astype(np.float32)
        return SparseRows(self.offsets, self.columns, values, self.num_columns)

    def take_rows(self, rows: np.ndarray) -> SparseRows:
        """These rows in this order, with all columns; int `[n]`, a row may occur more than once."""
        counts = self.offsets[rows + 1] - self.offsets[rows]
        places = _places(self.offsets[rows], counts)
        return SparseRows(offsets_of(counts), self.columns[places], self.values[places], self.num_columns)

    def replaced(self, rows: np.ndarray, by: SparseRows) -> SparseRows:
        """The matrix with other rows at these places.

        Args:
            rows (int `[n]`): each at most once.
            by: the n new rows, with as many columns.
        """
        order = np.arange(len(self))
        order[rows] = len(self) + np.arange(len(by))
        return SparseRows.joined([self, by], self.num_columns).take_rows(order)

    def select(self, rows: np.ndarray) -> SparseRows:
        """The matrix of a catalogue with these items in this order: rows and columns alike.

        Args:
            rows (int `[n]`): each item at most once.

        Raises:
            ValueError: if the matrix is not square, or an item occurs twice.
            IndexError: for an item that is not in the matrix.
        """
        if len(self) != self.num_columns:
            raise ValueError(f"Items can only be selected from a square matrix, not {len(self)} x {self.num_columns}.")
        rows = np.asarray(rows, np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"Items {rows.min()} to {rows.max()} selected from {len(self):,}.")
        if len(np.unique(rows)) != len(rows):
            raise ValueError("An item is selected twice; expected each at most once.")
        new = np.full(len(self), -1, np.int64)
        new[rows] = np.arange(len(rows))
        taken = self.take_rows(rows)
        columns = new[taken.columns]
        stays = columns >= 0
        owners = np.repeat(np.arange(len(rows)), np.diff(taken.offsets))[stays]
        return SparseRows.from_triples(owners, columns[stays], taken.values[stays], len(rows), len(rows))

    # Files

    def to_tensors(self) -> dict[str, Tensor]:
        """The arrays as tensors, for a safetensors file."""
        return {name: torch.from_numpy(getattr(self, name)) for name in ("offsets", "columns", "values")}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Any], num_columns: int) -> SparseRows:
        """The inverse of `to_tensors`.

        Raises:
            ValueError: if a tensor is missing, or they are not of one matrix with `num_columns` columns.
            TypeError: if a tensor has another type.
        """
        names = ("offsets", "columns", "values")
        missing = [name for name in names if name not in tensors]
        if missing:
            raise ValueError(f"Sparse rows have no {', '.join(missing)}; expected {', '.join(names)}.")
        offsets, columns, values = (tensors[name].numpy() for name in names)
        return cls(offsets, columns, values, num_columns)


def offsets_of(counts: np.ndarray) -> np.ndarray:
    """int64 `[n + 1]`: where rows with so many entries begin and end; of a bool array, the true values before each."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _places(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The places of several slices of a flat array, one after the other: `counts[i]` from `starts[i]` on."""
    begins = offsets_of(counts)
    places: np.ndarray = np.arange(begins[-1]) + np.repeat(starts - begins[:-1], counts)
    return places


def firsts_of_equal(ordered: np.ndarray) -> np.ndarray:
    """Where a new value begins in an array in order."""
    changes = np.ones(len(ordered), bool)
    changes[1:] = ordered[1:] != ordered[:-1]
    return np.flatnonzero(changes)


def _blocks(entries: np.ndarray) -> Iterator[tuple[int, int]]:
    """Histories first to last - 1 with at most `ENTRIES_AT_ONCE` entries, or one history.

    Args:
        entries: int64 `[batch + 1]`, the entries before each history.
    """
    first, batch = 0, len(entries) - 1
    while first < batch:
        last = int(np.searchsorted(entries, entries[first] + ENTRIES_AT_ONCE, side="right")) - 1
        last = min(max(last, first + 1), batch)
        yield first, last
        first = last


__all__ = ["SparseRows", "firsts_of_equal", "offsets_of"]
