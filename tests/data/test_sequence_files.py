"""Parquet files of sequences: what is written comes back, and files that do not hold sequences are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.sequence_files import read_sequences, write_sequences
from recformer_hf.data.sequences import Sequences
from tests.support.small_dataset import rewritten, small_dataset


@pytest.mark.parametrize("targets", [None, [5, 0]])
def test_round_trip(tmp_path: Path, targets: list[int] | None):
    split = Sequences.from_lists(["ada", "bob"], [[3, 1, 2], [4]], targets)
    write_sequences(split, tmp_path / "split.parquet")
    table = pq.read_table(tmp_path / "split.parquet")
    assert table.column_names == (["user_id", "items"] if targets is None else ["user_id", "history", "target"])
    found = read_sequences(tmp_path / "split.parquet", with_targets=targets is not None)
    assert found == split
    assert (found.items.dtype, found.offsets.dtype) == (np.int32, np.int64)


def test_several_row_groups_are_joined(tmp_path: Path):
    split = Sequences.from_lists([f"u{row}" for row in range(7)], [[row] * (row + 1) for row in range(7)], range(7))
    write_sequences(split, tmp_path / "whole.parquet")
    pq.write_table(pq.read_table(tmp_path / "whole.parquet"), tmp_path / "parts.parquet", row_group_size=2)
    assert read_sequences(tmp_path / "parts.parquet", with_targets=True) == split


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"target": None}, r"test\.parquet has the columns \['user_id', 'history'\]; expected"),
        ({"target": [1, 4, None]}, r"test\.parquet has missing values in target"),
        ({"user_id": ["ada", None, "cyd"]}, r"test\.parquet has missing values in user_id"),
        ({"history": [[1], [None], [2]]}, r"test\.parquet has missing values in history"),
        ({"history": [[1], [], [2]]}, r"test\.parquet: 1 of 3 users have no items, the first: \['bob'\]"),
        ({"history": [1, 2, 3]}, r"test\.parquet: 'history' is int64; expected lists"),
        ({"history": [["a"], ["b"], ["c"]]}, r"test\.parquet: items is .*; expected integers"),
    ],
)
def test_wrong_columns_and_values(saved, columns, message):
    rewritten(saved / "test.parquet", **columns)
    with pytest.raises(ValueError, match=message):
        SequentialDataset.load(saved)


def test_files_that_another_library_wrote_with_larger_types(saved):
    histories = pa.array([[0, 1, 2], [2, 0, 1, 3], [3, 0]], pa.large_list(pa.int64()))
    users = pa.array(["ada", "bob", "cyd"]).dictionary_encode()
    table = pa.table({"target": pa.array([1, 4, 2], pa.uint8()), "history": histories, "user_id": users})
    pq.write_table(table, saved / "test.parquet")
    assert SequentialDataset.load(saved) == small_dataset()


def test_ids_that_are_not_utf8_are_named(saved):
    table = pq.read_table(saved / "train.parquet")
    users = pa.array([b"ada", b"\xff\xfe", b"cyd"], pa.binary()).view(pa.string())
    pq.write_table(table.set_column(0, "user_id", users), saved / "train.parquet")
    with pytest.raises(ValueError, match=r"train\.parquet is damaged: .*UTF8"):
        SequentialDataset.load(saved)


def test_a_changed_byte_is_an_error_that_names_the_file_or_changes_values_only(saved):
    """Every byte of a small file, changed in turn: no other kind of error, and never a row outside the catalogue."""
    path = saved / "test.parquet"
    whole, messages = path.read_bytes(), []
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xA5]) + whole[place + 1 :])
        try:
            split = SequentialDataset.load(saved).test
        except ValueError as error:
            messages.append(str(error))
        else:
            assert split.items.max() < 6
            assert len(split[0].user_id) > 0
    assert len(messages) > 20
    assert not [message for message in messages if "test.parquet" not in message and "of test" not in message]


def test_columns_of_the_same_name(saved):
    table = pq.read_table(saved / "train.parquet")
    pq.write_table(table.append_column("items", table["items"]), saved / "train.parquet")
    with pytest.raises(ValueError, match=r"train\.parquet"):
        SequentialDataset.load(saved)
