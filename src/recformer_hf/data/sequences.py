"""`Sequences`: the users' sequences of one split as flat arrays, and their parquet files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..storage.atomic import atomic_file
from .mapped_files import mapped_copy

if TYPE_CHECKING:
    import pyarrow as pa

USER_ID = "user_id"
ITEMS = "items"
"""Column of a training sequence."""
HISTORY = "history"
"""Column of what came before the target, in validation and test."""
TARGET = "target"

ROW_GROUP_ROWS = 65_536
"""Rows of a parquet row group: small enough for the Hub's viewer."""


class UserSequence(NamedTuple):
    """One row of a split: `history` is int32 `[length]`, oldest first; `target` is `None` in training."""

    user_id: str
    history: np.ndarray
    target: int | None


@dataclass(frozen=True, eq=False)
class Sequences:
    """Users' sequences of catalogue rows, oldest item first; for validation and test also what came next.

    Args:
        user_ids: `pyarrow` string or large_string array `[num_users]`, or a list of `str`.
        items: int32 `[total]`, catalogue rows of all users end to end. Other integers are converted.
        offsets: int64 `[num_users + 1]`: user `i` has `items[offsets[i] : offsets[i + 1]]`, at least one item.
        targets: int32 `[num_users]`, or `None` for training, where whole sequences are kept.

    Raises:
        ValueError: if the arrays do not fit together, or a user has no items or no id.
        TypeError: if an array is not of whole numbers.
    """

    user_ids: pa.Array
    items: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__  # the class is frozen
        put(self, "user_ids", _text_array(self.user_ids))
        put(self, "items", _whole_numbers(self.items, np.int32, "items"))
        put(self, "offsets", _whole_numbers(self.offsets, np.int64, "offsets"))
        if self.targets is not None:
            put(self, "targets", _whole_numbers(self.targets, np.int32, "targets"))
        rows, offsets = len(self.user_ids), self.offsets
        if len(offsets) != rows + 1 or offsets[0] != 0 or offsets[-1] != len(self.items):
            ends = f"{offsets[0]} to {offsets[-1]}" if len(offsets) else "none"
            raise ValueError(
                f"{len(offsets)} offsets from {ends} do not cut {len(self.items)} items into {rows} sequences: "
                f"expected {rows + 1} from 0 to {len(self.items)}."
            )
        if self.targets is not None and len(self.targets) != rows:
            raise ValueError(f"{len(self.targets)} targets for {rows} users; expected one each.")
        empty = np.flatnonzero(self.lengths < 1)
        if empty.size:
            users = [self.user_ids[row].as_py() for row in empty[:5].tolist()]
            raise ValueError(f"{empty.size:,} of {rows:,} users have no item, the first: {users}. Leave them out.")

    @classmethod
    def from_lists(
        cls, user_ids: Sequence[str], histories: Iterable[Sequence[int]], targets: Sequence[int] | None = None
    ) -> Sequences:
        """From one list of catalogue rows a user."""
        arrays = [np.asarray(history, dtype=np.int32) for history in histories]
        offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays], dtype=np.int64)]).astype(np.int64)
        items = np.concatenate([np.zeros(0, np.int32), *arrays])
        return cls(user_ids, items, offsets, None if targets is None else np.asarray(targets))

    def __len__(self) -> int:
        return len(self.user_ids)

    def __getitem__(self, row: int) -> UserSequence:
        """One user; negative rows count from the end. [`~Sequences.history`] alone is faster."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"No row {row} in a split of {len(self):,} users.")
        row = int(row) % len(self)
        target = None if self.targets is None else int(self.targets[row])
        return UserSequence(self.user_ids[row].as_py(), self.history(row), target)

    def history(self, row: int) -> np.ndarray:
        """Items of one user, int32 `[length]`, oldest first: a view, not to be written to."""
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Items of each user, targets not counted: int64 `[num_users]`."""
        return np.diff(self.offsets)

    def select(self, rows: Any) -> Sequences:
        """These users, in this order.

        Args:
            rows: int sequence or array, each in [0, users).

        Raises:
            IndexError: for a row that is not there.
        """
        import pyarrow as pa

        wanted = np.asarray(rows, dtype=np.int64).reshape(-1)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"Rows {wanted.min()} to {wanted.max()} asked of a split of {len(self):,} users.")
        lengths = self.lengths[wanted]
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[wanted] - offsets[:-1], lengths)
        targets = None if self.targets is None else self.targets[wanted]
        return Sequences(self.user_ids.take(pa.array(wanted)), self.items[places], offsets, targets)

    def __eq__(self, other: object) -> bool:
        """Same users in the same order, with the same items and targets."""
        if not isinstance(other, Sequences) or (self.targets is None) != (other.targets is None):
            return False
        pairs = [(self.items, other.items), (self.offsets, other.offsets)]
        if self.targets is not None and other.targets is not None:
            pairs.append((self.targets, other.targets))
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs) and _same_texts(
            self.user_ids, other.user_ids
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        kind = "whole sequences" if self.targets is None else "histories with targets"
        return f"Sequences({len(self):,} {kind}, {len(self.items):,} items)"


def write_sequences(sequences: Sequences, path: Path) -> None:
    """Write a parquet file: `user_id`, and `items`, or `history` and `target`."""
    import pyarrow.parquet as pq

    pq.write_table(_table(sequences), path, compression="zstd", row_group_size=ROW_GROUP_ROWS)


def read_sequences(path: Path, with_targets: bool) -> Sequences:
    """Read a file of [`write_sequences`]; a large one is memory-mapped from a decoded copy in the cache.

    Raises:
        ValueError: if it is no such file: no parquet, other columns, missing values, sequences without items.
    """
    import pyarrow as pa

    def write_copy(copy: Path) -> None:
        table = _table(_decoded(path, with_targets))
        with (
            atomic_file(copy) as temporary,
            pa.OSFile(os.fspath(temporary), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)  # in one record batch: arrays that need no joining are mapped, not copied

    copy = mapped_copy(path, write_copy)
    if copy is None:
        return _decoded(path, with_targets)
    return _from_table(pa.ipc.open_file(pa.memory_map(os.fspath(copy))).read_all(), path, with_targets)


def _decoded(path: Path, with_targets: bool) -> Sequences:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} cannot be read as parquet: {error}") from error
    return _from_table(table, path, with_targets)


def _table(sequences: Sequences) -> pa.Table:
    import pyarrow as pa

    small = len(sequences.items) < 2**31  # `datasets` has no feature more common than a list with 32-bit offsets
    kind, offset_type = (pa.ListArray, np.int32) if small else (pa.LargeListArray, np.int64)
    histories = kind.from_arrays(pa.array(sequences.offsets.astype(offset_type)), pa.array(sequences.items))
    if sequences.targets is None:
        return pa.table({USER_ID: sequences.user_ids, ITEMS: histories})
    return pa.table({USER_ID: sequences.user_ids, HISTORY: histories, TARGET: pa.array(sequences.targets)})


def _from_table(table: pa.Table, path: Path, with_targets: bool) -> Sequences:
    import pyarrow as pa

    names = [USER_ID, HISTORY, TARGET] if with_targets else [USER_ID, ITEMS]
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise ValueError(f"{path} has the columns {table.column_names}; expected {names}. Save the dataset again.")
    gaps = [name for name in names if table[name].null_count]
    lists = table.column(names[1])
    if not (pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)):
        raise ValueError(f"{path}: {names[1]!r} is {lists.type}; expected lists of whole numbers.")
    if gaps or any(chunk.flatten().null_count for chunk in lists.chunks):
        raise ValueError(f"{path} has missing values in {', '.join(gaps) or names[1]}; expected none.")
    lengths = [np.zeros(1, np.int64), *(np.asarray(chunk.value_lengths(), dtype=np.int64) for chunk in lists.chunks)]
    items = _joined([chunk.flatten() for chunk in lists.chunks])
    try:
        targets = _joined(table[TARGET].chunks) if with_targets else None
        return Sequences(_text_array(table[USER_ID]), items, np.cumsum(np.concatenate(lengths)), targets)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _joined(chunks: list[pa.Array]) -> np.ndarray:
    """The chunks as one array; a single one is not copied, so that a mapped file stays mapped."""
    arrays = [chunk.to_numpy(zero_copy_only=False) for chunk in chunks]
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.zeros(0, np.int32), *arrays])


def _text_array(texts: Any) -> pa.Array:
    """One string array; large_string where 2 GiB are not enough."""
    import pyarrow as pa

    if not isinstance(texts, (pa.Array, pa.ChunkedArray)):
        texts = pa.array(texts, pa.string())
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        texts = texts.cast(pa.string())
    if isinstance(texts, pa.ChunkedArray):
        if texts.num_chunks == 1:  # no copy, so that a mapped file stays mapped
            texts = texts.chunk(0)
        else:
            texts = (texts if texts.nbytes < 2**31 else texts.cast(pa.large_string())).combine_chunks()
    if texts.null_count:
        raise ValueError(f"{texts.null_count:,} of {len(texts):,} user ids are missing.")
    return texts


def _same_texts(mine: pa.Array, theirs: pa.Array) -> bool:
    return mine.equals(theirs if mine.type == theirs.type else theirs.cast(mine.type))


def _whole_numbers(values: Any, dtype: Any, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(f"{name} is {array.dtype} of shape {array.shape}; expected whole numbers in one dimension.")
    if array.size and array.dtype != dtype and not np.can_cast(array.dtype, dtype):
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise ValueError(f"{name} go from {array.min()} to {array.max()}; expected {np.dtype(dtype)}.")
    return np.ascontiguousarray(array, dtype=dtype)
