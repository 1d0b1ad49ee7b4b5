"""Files and folders appear whole or not at all, whatever interrupts their writing."""

from __future__ import annotations

import os

import pytest

from recformer_hf.storage.atomic import atomic_file, atomic_folder, recover_folder
from tests.support.faults import full_disk, run_killed


def contents(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


class TestFile:
    def test_appears_at_the_end(self, tmp_path):
        path = tmp_path / "new" / "file"
        with atomic_file(path) as temporary:
            temporary.write_text("text")
            assert not path.exists()
        assert contents(tmp_path) == {"new/file": "text"}

    def test_an_error_leaves_the_old_one(self, tmp_path):
        path = tmp_path / "file"
        path.write_text("old")
        with pytest.raises(ZeroDivisionError), atomic_file(path) as temporary:
            temporary.write_text(f"half{1 // 0}")
        assert contents(tmp_path) == {"file": "old"}

    def test_a_full_disk_leaves_the_old_one(self, tmp_path):
        path = tmp_path / "file"
        path.write_text("old")
        with full_disk(after=1000), pytest.raises(OSError, match="File too large"), atomic_file(path) as temporary:
            temporary.write_text("x" * 2000)
        assert contents(tmp_path) == {"file": "old"}

    def test_a_disk_that_fills_while_flushing_leaves_the_old_one(self, tmp_path, monkeypatch):
        path = tmp_path / "file"
        path.write_text("old")

        def refuse(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="No space left"), atomic_file(path) as temporary:
            temporary.write_text("new")
        assert contents(tmp_path) == {"file": "old"}

    def test_what_a_killed_run_left_is_removed_and_other_files_are_not(self, tmp_path):
        path = tmp_path / "file"
        other = tmp_path / ".file.host.1.00000000.partial"  # another machine's, perhaps still writing
        other.write_text("theirs")

        def work():
            with atomic_file(path) as temporary:
                temporary.write_text("half")
                os._exit(9)

        run_killed(work)
        assert len(contents(tmp_path)) == 2
        assert not path.exists()
        with atomic_file(path) as temporary:
            temporary.write_text("whole")
        assert contents(tmp_path) == {"file": "whole", other.name: "theirs"}

    def test_a_living_process_keeps_its_half(self, tmp_path):
        path = tmp_path / "file"
        with atomic_file(path) as first:
            first.write_text("first")
            with atomic_file(path) as second:
                second.write_text("second")
            assert first.exists()
        assert contents(tmp_path) == {"file": "first"}


class TestFolder:
    def test_appears_at_the_end(self, tmp_path):
        folder = tmp_path / "new" / "folder"
        with atomic_folder(folder) as temporary:
            (temporary / "inner").mkdir()
            (temporary / "inner" / "a").write_text("text")
            assert not folder.exists()
        assert contents(tmp_path) == {"new/folder/inner/a": "text"}

    def test_an_empty_folder_is_filled(self, tmp_path):
        with atomic_folder(tmp_path / "folder"):
            pass
        with atomic_folder(tmp_path / "folder") as temporary:
            (temporary / "a").write_text("text")
        assert contents(tmp_path) == {"folder/a": "text"}

    def test_a_folder_with_files_is_refused_before_anything_is_written(self, tmp_path):
        (tmp_path / "mine").write_text("old")
        with pytest.raises(FileExistsError, match=r"is not empty \(mine\).*overwrite=True"), atomic_folder(tmp_path):
            raise AssertionError("never gets here")
        refused = pytest.raises(FileExistsError, match="also holds mine, which overwriting would lose")
        with refused, atomic_folder(tmp_path, overwrite=True, replaceable=["a"]):
            raise AssertionError("never gets here")
        with pytest.raises(NotADirectoryError), atomic_folder(tmp_path / "mine", overwrite=True):
            raise AssertionError("never gets here")
        assert contents(tmp_path) == {"mine": "old"}

    def test_replaces_all_of_a_folder_that_it_may(self, tmp_path):
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "a").write_text("old")
        (folder / "b").write_text("old")
        with atomic_folder(folder, overwrite=True, replaceable=["a", "b"]) as temporary:
            (temporary / "a").write_text("new")
            assert contents(folder) == {"a": "old", "b": "old"}
        assert contents(tmp_path) == {"folder/a": "new"}

    @pytest.mark.parametrize("step", ["write", "fsync", "rename"])
    def test_an_error_leaves_the_old_one(self, tmp_path, monkeypatch, step):
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "a").write_text("old")
        real_rename = os.rename

        def rename(source, target):
            if str(source).endswith(".partial"):
                raise OSError(28, "No space left on device")
            real_rename(source, target)

        def fsync(descriptor):
            raise OSError(28, "No space left on device")

        if step == "rename":
            monkeypatch.setattr(os, "rename", rename)
        if step == "fsync":
            monkeypatch.setattr(os, "fsync", fsync)
        failing = pytest.raises(OSError, match="No space left")
        with failing, atomic_folder(folder, overwrite=True, replaceable=["a"]) as temporary:
            (temporary / "a").write_text("new")
            if step == "write":
                raise OSError(28, "No space left on device")
        assert contents(tmp_path) == {"folder/a": "old"}

    def test_files_that_come_while_it_is_written_are_not_lost(self, tmp_path):
        folder = tmp_path / "folder"
        refused = pytest.raises(FileExistsError, match="not empty")
        with refused, atomic_folder(folder) as temporary:
            (temporary / "a").write_text("new")
            folder.mkdir()
            (folder / "theirs").write_text("theirs")
        assert contents(tmp_path) == {"folder/theirs": "theirs"}

    @pytest.mark.parametrize("moment", ["write", "swap"])
    def test_a_killed_run_loses_nothing_and_the_next_starts_clean(self, tmp_path, moment):
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "a").write_text("old")
        real_rename = os.rename

        def rename(source, target):
            if moment == "swap" and str(source).endswith(".partial"):
                os._exit(9)
            real_rename(source, target)

        def work():
            os.rename = rename
            with atomic_folder(folder, overwrite=True, replaceable=["a"]) as temporary:
                (temporary / "a").write_text("new")
                if moment == "write":
                    os._exit(9)

        run_killed(work)
        assert folder.exists() == (moment == "write")
        recover_folder(folder)
        assert contents(folder) == {"a": "old"}
        with atomic_folder(folder, overwrite=True, replaceable=["a"]) as temporary:
            assert [path for path in tmp_path.iterdir() if path not in (folder, temporary)] == []
            (temporary / "a").write_text("whole")
        assert contents(tmp_path) == {"folder/a": "whole"}
