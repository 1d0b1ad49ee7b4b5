"""training/checkpoints.py: which checkpoints of a folder are complete, and which are kept."""

from __future__ import annotations

import errno
import logging as python_logging
from pathlib import Path

import pytest
from accelerate import Accelerator
from safetensors import SafetensorError

from recformer_hf.storage.atomic_shared import SIZES_FILE
from recformer_hf.training.checkpoints import (
    STATE_FILE,
    best_of,
    checkpoints_in,
    clear_write_errors,
    complete_checkpoints,
    holds_optimizer,
    last_checkpoint,
    remove_later,
    rotate_checkpoints,
)
from tests.support.training import write_checkpoint


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


class TestCompleteness:
    def test_in_order_of_steps(self, tmp_path, accelerator):
        for step in (9, 10, 100):
            write_checkpoint(tmp_path, accelerator, step)
        (tmp_path / "checkpoint-final").mkdir()
        (tmp_path / "checkpoint-7").write_text("a file")
        assert [path.name for path in complete_checkpoints(tmp_path)] == [
            "checkpoint-9", "checkpoint-10", "checkpoint-100"
        ]  # fmt: skip
        assert complete_checkpoints(tmp_path / "nowhere") == []

    @pytest.mark.parametrize("name", ["model.safetensors", "part/shard", STATE_FILE, SIZES_FILE])
    @pytest.mark.parametrize("damage", ["missing", "truncated"])
    def test_a_damaged_one_is_ignored_with_a_warning(self, tmp_path, accelerator, name, damage, caplog):
        write_checkpoint(tmp_path, accelerator, 1)
        path = write_checkpoint(tmp_path, accelerator, 2)
        content = (path / name).read_bytes()
        (path / name).unlink()
        if damage == "truncated":
            (path / name).write_bytes(content[: len(content) // 2])
        with caplog.at_level(python_logging.WARNING, logger="recformer_hf"):
            assert [each.name for each in complete_checkpoints(tmp_path)] == ["checkpoint-1"]
        assert "checkpoint-2 is not complete" in caplog.text

    @pytest.mark.parametrize(
        ("limit", "best", "kept"),
        [(None, 1, [1, 2, 3, 4]), (1, 2, [2, 4]), (2, None, [3, 4]), (0, 3, [3]), (9, 1, [1, 2, 3, 4])],
    )
    def test_rotation_keeps_the_newest_and_the_best(self, tmp_path, accelerator, limit, best, kept):
        for step in range(1, 5):
            write_checkpoint(tmp_path, accelerator, step)
        rotate_checkpoints(tmp_path, limit, None if best is None else Path(f"elsewhere/checkpoint-{best}"))
        assert [int(path.name[11:]) for path in complete_checkpoints(tmp_path)] == kept

    def test_rotation_keeps_what_those_that_stay_resume_with(self, tmp_path, accelerator):
        for step, best in ((1, 1), (2, 1), (3, 1), (4, 4)):
            write_checkpoint(tmp_path, accelerator, step, best)
        rotate_checkpoints(tmp_path, 2, tmp_path / "checkpoint-4")
        assert [int(path.name[11:]) for path in complete_checkpoints(tmp_path)] == [1, 3, 4]

    @pytest.mark.parametrize(
        ("names", "holds"),
        [
            (["optimizer.pt", "scheduler.pt"], True),
            (["optimizer.bin", "scheduler.pt"], True),
            (["optimizer_0/.metadata", "scheduler.pt"], True),
            (["global_step4/zero", "latest"], True),
            (["optimizer.pt"], False),
            (["model.safetensors"], False),
        ],
    )
    def test_an_optimizer_of_any_kind_counts(self, tmp_path, names, holds):
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        assert holds_optimizer(tmp_path) == holds


class TestChoice:
    def test_the_last_one_whose_best_one_is_there(self, tmp_path, accelerator, caplog):
        for step, best in ((1, 1), (2, 1), (4, 3)):
            write_checkpoint(tmp_path, accelerator, step, best)
        with caplog.at_level(python_logging.WARNING, logger="recformer_hf"):
            assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
        assert "whose best checkpoint is not complete are ignored" in caplog.text
        assert best_of(tmp_path / "checkpoint-4") == tmp_path / "checkpoint-3"
        assert last_checkpoint(tmp_path / "nowhere") is None

    def test_a_run_that_goes_back_keeps_what_came_before(self, tmp_path, accelerator):
        for step in (1, 2, 10, 11):
            write_checkpoint(tmp_path, accelerator, step)
        remove_later(tmp_path / "checkpoint-2")
        assert [path.name for path in checkpoints_in(tmp_path)] == ["checkpoint-1", "checkpoint-2"]

    def test_what_is_half_written_is_none(self, tmp_path, accelerator):
        write_checkpoint(tmp_path, accelerator, 1)
        (tmp_path / ".checkpoint-2.partial").mkdir()
        (tmp_path / ".checkpoint-0.removed").mkdir()
        assert [path.name for path in checkpoints_in(tmp_path)] == ["checkpoint-1"]


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "No space"), errno.ENOSPC),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), errno.ENOSPC),
        (RuntimeError("zip"), errno.EIO),
        (SafetensorError("io"), errno.EIO),
    ],
)
def test_every_library_s_error_of_writing_is_an_oserror(tmp_path, accelerator, error, number):
    kept = write_checkpoint(tmp_path, accelerator, 3)
    with (
        pytest.raises(OSError, match="The checkpoint could not be written") as caught,
        clear_write_errors("The checkpoint", tmp_path),
    ):
        raise error
    assert caught.value.errno == number
    assert f"{kept}, the last one, is whole" in str(caught.value)
    assert ("the disk is full" in str(caught.value)) == (number == errno.ENOSPC)
