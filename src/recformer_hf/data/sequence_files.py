"""Parquet files of `Sequences`, which the Hub shows and `datasets` reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..storage.atomic import atomic_file
from .arrays import offsets_from_lengths
from .mapped_files import mapped_copy, unless_damaged
from .sequences import Sequences, text_array

if TYPE_CHECKING:
    import pyarrow as pa

USER_ID = "user_id"
ITEMS = "items"
"""Column of a whole sequence, in training."""
HISTORY = "history"
"""Column of what came before the target, in validation and test."""
TARGET = "target"

ROW_GROUP_ROWS = 65_536
"""Rows of a parquet row group: small enough for the Hub's viewer."""


def write_sequences(sequences: Sequences, path: Path) -> None:
    """Write a parquet file with `user_id`, and `items` or `history` and `target`."""
    import pyarrow.parquet as pq

    pq.write_table(_table(sequences), path, compression="zstd", row_group_size=ROW_GROUP_ROWS)


def read_sequences(path: Path, with_targets: bool) -> Sequences:
    """Read a file that [`write_sequences`] wrote; a large one is memory-mapped from a decoded copy in the cache.

    Args:
        path: the parquet file.
        with_targets: whether it is a validation or test split.

    Raises:
        ValueError: if it is not parquet, or has other columns, other types, missing values, or sequences without items.
    """
    import pyarrow as pa

    def write_copy(copy: Path) -> None:
        table = _table(_decoded(path, with_targets))
        with (
            atomic_file(copy) as temporary,
            pa.OSFile(os.fspath(temporary), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            # One record batch, because a column of several would have to be joined, and so copied, when it is opened.
            writer.write_table(table)

    copy = mapped_copy(path, write_copy)
    if copy is not None:
        with unless_damaged(copy):
            table = pa.ipc.open_file(pa.memory_map(os.fspath(copy))).read_all()
            return _from_table(table, path, with_targets)
    return _decoded(path, with_targets)


def _decoded(path: Path, with_targets: bool) -> Sequences:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as parquet: {error}") from error
    return _from_table(table, path, with_targets)


def _table(sequences: Sequences) -> pa.Table:
    import pyarrow as pa

    # `datasets` shows lists with 32-bit offsets as its usual `List`, those with 64-bit offsets as `LargeList`.
    small = len(sequences.items) < 2**31
    kind, offset_type = (pa.ListArray, np.int32) if small else (pa.LargeListArray, np.int64)
    histories = kind.from_arrays(pa.array(sequences.offsets.astype(offset_type)), pa.array(sequences.items))
    if sequences.targets is None:
        return pa.table({USER_ID: sequences.user_ids, ITEMS: histories})
    return pa.table({USER_ID: sequences.user_ids, HISTORY: histories, TARGET: pa.array(sequences.targets)})


def _from_table(table: pa.Table, path: Path, with_targets: bool) -> Sequences:
    import pyarrow as pa

    names = [USER_ID, HISTORY, TARGET] if with_targets else [USER_ID, ITEMS]
    present = table.column_names
    if not set(names) <= set(present) or len(set(present)) < len(present):
        raise ValueError(f"{path} has the columns {present}; expected {names}. Save the dataset again.")
    try:
        # Offsets that point outside a mapped file would read other memory of this process; ids may not be UTF-8.
        table.validate(full=True)
    except pa.ArrowException as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    gaps = [name for name in names if table[name].null_count]
    lists = table.column(names[1])
    if not (pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)):
        raise ValueError(f"{path}: {names[1]!r} is {lists.type}; expected lists of integers.")
    if gaps or any(chunk.flatten().null_count for chunk in lists.chunks):
        raise ValueError(f"{path} has missing values in {', '.join(gaps) or names[1]}; expected none.")
    lengths = [np.zeros(0, np.int64), *(np.asarray(chunk.value_lengths(), dtype=np.int64) for chunk in lists.chunks)]
    offsets = offsets_from_lengths(np.concatenate(lengths))  # the lists' own offsets may start anywhere in a chunk
    try:
        items = _joined([chunk.flatten() for chunk in lists.chunks])
        targets = _joined(table[TARGET].chunks) if with_targets else None
        return Sequences(text_array(table[USER_ID]), items, offsets, targets)
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise ValueError(f"{path}: {error}") from error


def _joined(chunks: list[pa.Array]) -> np.ndarray:
    """The chunks as one array. A single chunk is not copied, so that a mapped file stays mapped."""
    arrays = [chunk.to_numpy(zero_copy_only=False) for chunk in chunks]
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.zeros(0, np.int32), *arrays])
