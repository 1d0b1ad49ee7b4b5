"""storage/atomic_shared.py: folders and files that several processes write, and that appear whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from accelerate import PartialState

from recformer_hf.storage.atomic_shared import (
    SIZES_FILE,
    Processes,
    is_whole,
    remove_folder,
    remove_partial_folders,
    staged_files,
    staged_folder,
)
from tests.support.faults import full_disk, run_killed


@pytest.fixture(scope="module")
def accelerator() -> Processes:
    return PartialState(cpu=True)


def write_folder(parent: Path, processes: Processes, name: str = "checkpoint-1") -> Path:
    with staged_folder(parent / name, processes) as staging:
        (staging / "weights").write_bytes(b"weights" * 100)
        (staging / "part").mkdir()
        (staging / "part/shard").write_bytes(b"shard")
    return parent / name


class TestFolder:
    def test_a_folder_appears_when_it_is_whole(self, tmp_path, accelerator):
        with staged_folder(tmp_path / "checkpoint-1", accelerator) as staging:
            (staging / "file").write_text("text")
            assert not (tmp_path / "checkpoint-1").exists()
        assert os.listdir(tmp_path) == ["checkpoint-1"]
        assert sorted(os.listdir(tmp_path / "checkpoint-1")) == [SIZES_FILE, "file"]

    def test_an_error_leaves_what_was_there(self, tmp_path, accelerator):
        path = write_folder(tmp_path, accelerator)
        with pytest.raises(FileNotFoundError), staged_folder(path, accelerator) as staging:  # noqa: PT012
            (staging / "file").write_text("text")
            (staging / "nowhere/file").write_text("text")
        assert os.listdir(tmp_path) == ["checkpoint-1"]
        assert is_whole(path)

    def test_one_of_the_same_name_is_replaced(self, tmp_path, accelerator):
        path = write_folder(tmp_path, accelerator)
        with staged_folder(path, accelerator) as staging:
            (staging / "file").write_text("text")
        assert sorted(os.listdir(path)) == [SIZES_FILE, "file"]
        assert os.listdir(tmp_path) == ["checkpoint-1"]

    def test_what_a_killed_process_left_is_removed_by_the_next(self, tmp_path, accelerator):
        def die_while_writing() -> None:
            with staged_folder(tmp_path / "checkpoint-2", accelerator) as staging:
                (staging / "file").write_text("text")
                os._exit(9)

        run_killed(die_while_writing)
        (tmp_path / ".checkpoint-0.removed").mkdir()
        assert [name for name in os.listdir(tmp_path) if not name.startswith(".")] == []
        write_folder(tmp_path, accelerator, "checkpoint-3")
        assert os.listdir(tmp_path) == ["checkpoint-3"]

    def test_removing_hides_first(self, tmp_path, accelerator, monkeypatch):
        path = write_folder(tmp_path, accelerator)
        seen = []
        monkeypatch.setattr(shutil, "rmtree", lambda folder, **kwargs: seen.append((Path(folder).name, path.exists())))
        remove_folder(path)
        remove_folder(tmp_path / "none")
        assert seen[-1] == (".checkpoint-1.removed", False)


class Turns:
    """Two processes in one: notes when they wait for each other."""

    def __init__(self, is_main_process: bool) -> None:
        self.is_main_process = is_main_process
        self.waits: list[list[str]] = []
        self.folder = Path()

    def wait_for_everyone(self) -> None:
        self.waits.append(sorted(os.listdir(self.folder)))


class TestSeveralProcesses:
    def test_the_folder_exists_before_any_process_writes_and_gets_its_name_when_all_have_written(self, tmp_path):
        main = Turns(is_main_process=True)
        main.folder = tmp_path
        with staged_folder(tmp_path / "checkpoint-1", main) as staging:
            (staging / "file").write_text("text")
        assert main.waits == [[".checkpoint-1.partial"], [".checkpoint-1.partial"], ["checkpoint-1"]]

    def test_only_the_main_process_creates_renames_and_removes(self, tmp_path):
        other = Turns(is_main_process=False)
        other.folder = tmp_path
        (tmp_path / ".checkpoint-1.partial").mkdir()
        with staged_folder(tmp_path / "checkpoint-1", other) as staging:
            (staging / "shard").write_text("text")
        assert other.waits == [[".checkpoint-1.partial"]] * 3
        with pytest.raises(ZeroDivisionError), staged_folder(tmp_path / "checkpoint-1", other):
            _ = 1 // 0
        assert os.listdir(tmp_path / ".checkpoint-1.partial") == ["shard"]


class TestFiles:
    def test_appear_at_the_end_beside_what_is_there(self, tmp_path, accelerator):
        (tmp_path / "README.md").write_text("old")
        (tmp_path / "log").write_text("log")
        with staged_files(tmp_path, accelerator) as staging:
            (staging / "part").mkdir()
            (staging / "part/shard").write_text("shard")
            (staging / "README.md").write_text("new")
            assert (tmp_path / "README.md").read_text() == "old"
        assert sorted(os.listdir(tmp_path)) == ["README.md", "log", "part"]
        assert (tmp_path / "README.md").read_text() == "new"
        assert (tmp_path / "part/shard").read_text() == "shard"

    def test_a_full_disk_leaves_what_was_there(self, tmp_path, accelerator):
        (tmp_path / "file").write_text("old")
        with (
            full_disk(after=1000),
            pytest.raises(OSError, match="too large"),
            staged_files(tmp_path, accelerator) as staging,
        ):
            (staging / "file").write_bytes(b"x" * 2000)
        assert os.listdir(tmp_path) == ["file"]
        assert (tmp_path / "file").read_text() == "old"


class TestWhole:
    @pytest.mark.parametrize("name", ["weights", "part/shard", SIZES_FILE])
    @pytest.mark.parametrize("damage", ["missing", "truncated"])
    def test_a_damaged_folder_is_not(self, tmp_path, accelerator, name, damage):
        path = write_folder(tmp_path, accelerator)
        assert is_whole(path)
        content = (path / name).read_bytes()
        (path / name).unlink()
        if damage == "truncated":
            (path / name).write_bytes(content[: len(content) // 2])
        assert not is_whole(path)

    def test_every_file_is_listed_with_its_size(self, tmp_path, accelerator):
        path = write_folder(tmp_path, accelerator)
        assert json.loads((path / SIZES_FILE).read_text()) == {"weights": 700, "part/shard": 5}

    def test_partial_folders_are_removed_and_nothing_else(self, tmp_path, accelerator):
        write_folder(tmp_path, accelerator)
        (tmp_path / ".checkpoint-2.partial").mkdir()
        (tmp_path / ".checkpoint-0.removed").mkdir()
        (tmp_path / ".hidden").mkdir()
        remove_partial_folders(tmp_path)
        assert sorted(os.listdir(tmp_path)) == [".hidden", "checkpoint-1"]
