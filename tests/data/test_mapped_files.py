"""Decoded copies of large files: written once, mapped, replaced when the file changes, and never in the way."""

from __future__ import annotations

import errno
import os

import numpy as np
import pyarrow as pa
import pytest

from recformer_hf.data import mapped_files, sequence_files
from recformer_hf.data.dataset import SequentialDataset
from tests.support.small_dataset import catalog, rewritten, small_dataset


def write_ipc(path, table):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


class TestMappedCopies:
    def test_large_files_are_decoded_once_and_mapped(self, saved, mapped_cache, monkeypatch):
        assert SequentialDataset.load(saved) == small_dataset()
        copies = sorted(mapped_cache.rglob("*.arrow"))
        assert len(copies) == 4
        monkeypatch.setattr(sequence_files, "_decoded", None)  # no parquet is read any more
        loaded = SequentialDataset.load(saved)
        assert loaded == small_dataset()
        assert loaded.catalog._mapped_file is not None
        assert not loaded.train.items.flags.owndata
        assert sorted(mapped_cache.rglob("*.arrow")) == copies

    def test_a_changed_file_replaces_its_copy(self, saved, mapped_cache):
        SequentialDataset.load(saved)
        other = SequentialDataset(catalog(7), small_dataset().train, None, None, {})
        other.save_to_disk(saved, overwrite=True)
        assert SequentialDataset.load(saved) == other
        assert len(list(mapped_cache.rglob("*.arrow"))) == 4  # items, train, and two of splits that are gone

    def test_bad_files_leave_no_copy(self, saved, mapped_cache):
        rewritten(saved / "train.parquet", items=[[0], [], [1]])
        with pytest.raises(ValueError, match="1 of 3 users have no items"):
            SequentialDataset.load(saved)
        assert len(list(mapped_cache.rglob("*.arrow"))) == 1  # the items

    @pytest.mark.parametrize("damage", ["cut", "empty", "text", "offsets", "types"])
    def test_a_damaged_copy_is_removed_and_the_parquet_read(self, saved, mapped_cache, damage):
        SequentialDataset.load(saved)
        copies = [path for path in mapped_cache.rglob("*.arrow") if b"user_id" in path.read_bytes()]
        assert len(copies) == 3
        for copy in copies:
            data = copy.read_bytes()
            if damage == "offsets":  # lists that point far outside the file
                table = pa.ipc.open_file(pa.BufferReader(data)).read_all().combine_chunks()
                name = table.column_names[1]
                values = table[name].chunk(0).values
                offsets = pa.py_buffer(np.array([0, 2**30, 2**31 - 1, len(values)], np.int32).tobytes())
                lists = pa.Array.from_buffers(table[name].type, 3, [None, offsets], children=[values])
                write_ipc(copy, table.set_column(1, name, lists))
            elif damage == "types":
                write_ipc(copy, pa.table({"user_id": ["a"], "items": [[0.5]], "history": [[0.5]], "target": [0.5]}))
            else:
                copy.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"x" * 500}[damage])
        assert SequentialDataset.load(saved) == small_dataset()
        assert not any(copy.exists() for copy in copies)
        assert SequentialDataset.load(saved) == small_dataset()
        assert all(copy.exists() for copy in copies)

    def test_a_cache_that_cannot_be_written_is_done_without(self, saved, mapped_cache, monkeypatch, caplog):
        def refuse(*args, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", refuse)
        messages = []
        monkeypatch.setattr(mapped_files.logger, "warning", messages.append)
        assert SequentialDataset.load(saved) == small_dataset()
        assert len(messages) == 4
        assert "No space left" in messages[0]
        assert list(mapped_cache.rglob("*.arrow")) == []

    def test_small_files_are_simply_read(self, saved, mapped_cache, monkeypatch):
        monkeypatch.setattr(mapped_files, "SMALLEST_MAPPED", 10**6)
        assert SequentialDataset.load(saved) == small_dataset()
        assert not mapped_cache.exists()
