"""Checkpoints that are there whole or not at all, and what a run makes of those it finds."""

from __future__ import annotations

import errno
import json
import logging as python_logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from faults import full_disk, run_killed
from training_setup import checkpoints_of, evaluations, small_dataset, small_model, small_trainer, weights_of
from transformers import TrainerCallback

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.training.checkpoints import (
    SIZES_FILE,
    STATE_FILE,
    complete_checkpoints,
    is_complete,
    remove_folder,
    rotate_checkpoints,
    staged_folder,
)

STEPS = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": None}


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def write_checkpoint(folder: Path, accelerator: Accelerator, step: int = 1) -> Path:
    path = folder / f"checkpoint-{step}"
    with staged_folder(path, accelerator) as staging:
        (staging / "model.safetensors").write_bytes(b"weights" * 100)
        (staging / "part").mkdir()
        (staging / "part/shard").write_bytes(b"shard")
        (staging / STATE_FILE).write_text(json.dumps({"global_step": step}))
    return path


class TestStaging:
    def test_a_folder_appears_when_it_is_whole(self, tmp_path, accelerator):
        with staged_folder(tmp_path / "checkpoint-1", accelerator) as staging:
            (staging / "file").write_text("text")
            assert not (tmp_path / "checkpoint-1").exists()
        assert os.listdir(tmp_path) == ["checkpoint-1"]
        assert sorted(os.listdir(tmp_path / "checkpoint-1")) == [SIZES_FILE, "file"]

    def test_an_error_leaves_what_was_there(self, tmp_path, accelerator):
        path = write_checkpoint(tmp_path, accelerator)
        with pytest.raises(FileNotFoundError), staged_folder(path, accelerator) as staging:  # noqa: PT012
            (staging / "file").write_text("text")
            (staging / "nowhere/file").write_text("text")
        assert os.listdir(tmp_path) == ["checkpoint-1"]
        assert is_complete(path)

    def test_one_of_the_same_name_is_replaced(self, tmp_path, accelerator):
        path = write_checkpoint(tmp_path, accelerator)
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
        assert complete_checkpoints(tmp_path) == []
        write_checkpoint(tmp_path, accelerator, step=3)
        assert os.listdir(tmp_path) == ["checkpoint-3"]

    def test_removing_hides_first(self, tmp_path, accelerator, monkeypatch):
        path = write_checkpoint(tmp_path, accelerator)
        seen = []
        monkeypatch.setattr(shutil, "rmtree", lambda folder, **kwargs: seen.append((Path(folder).name, path.exists())))
        remove_folder(path)
        remove_folder(tmp_path / "none")
        assert seen[-1] == (".checkpoint-1.removed", False)


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
    @pytest.mark.parametrize("damage", ["missing", "cut short"])
    def test_a_damaged_one_is_ignored_with_a_warning(self, tmp_path, accelerator, name, damage, caplog):
        write_checkpoint(tmp_path, accelerator, 1)
        path = write_checkpoint(tmp_path, accelerator, 2)
        content = (path / name).read_bytes()
        (path / name).unlink()
        if damage == "cut short":
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


class StopAt(TrainerCallback):
    """Stops a run as a person's Ctrl-C does, at the beginning of a step of a stage."""

    def __init__(self, stage: int, step: int) -> None:
        self.stage, self.step = stage, step

    def on_step_begin(self, args, state, control, **kwargs):
        if args.output_dir.endswith(f"stage-{self.stage}") and state.global_step == self.step:
            raise KeyboardInterrupt


def interrupted(folder: Path, stage: int, step: int, **settings) -> None:
    with pytest.raises(KeyboardInterrupt):
        small_trainer(folder, trainer_callbacks=[StopAt(stage, step)], **settings).train()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    small_trainer(folder, **STEPS).train()
    return folder


class TestGoingOn:
    def test_in_the_middle_of_an_epoch_with_the_matrix_of_the_checkpoint(self, tmp_path, undisturbed):
        """Encoding anew there would give items that the first half of the epoch did not train against."""
        interrupted(tmp_path / "run", 1, 9, **STEPS)
        matrices: list[tuple[int, torch.Tensor]] = []

        class Watch(TrainerCallback):
            def on_step_begin(self, args, state, control, model=None, **kwargs):
                matrices.append((state.global_step, model.item_embeddings.detach().clone()))

        trainer = small_trainer(tmp_path / "run", trainer_callbacks=[Watch()], **STEPS)
        saved = type(trainer.model).from_pretrained(tmp_path / "run/stage-1/checkpoint-8")
        trainer.train(resume_from_checkpoint=True)
        step, matrix = matrices[0]
        assert step == 8
        assert torch.equal(matrix, saved.item_embeddings)
        assert weights_of(tmp_path / "run") == weights_of(undisturbed)

    def test_between_the_stages(self, tmp_path, undisturbed):
        interrupted(tmp_path / "run", 2, 0, **STEPS)
        assert (tmp_path / "run/stage-1/stage.json").exists()
        trainer = small_trainer(tmp_path / "run", **STEPS)
        trainer.train(resume_from_checkpoint="true")  # as a command line gives it
        assert weights_of(tmp_path / "run") == weights_of(undisturbed)

    def test_from_the_start_where_there_is_no_checkpoint_yet(self, tmp_path, undisturbed):
        interrupted(tmp_path / "run", 1, 1, **STEPS)
        small_trainer(tmp_path / "run", **STEPS).train(resume_from_checkpoint=True)
        assert weights_of(tmp_path / "run") == weights_of(undisturbed)

    def test_a_run_that_was_begun_is_not_overwritten(self, tmp_path):
        interrupted(tmp_path / "run", 1, 3, **STEPS)
        with pytest.raises(FileExistsError, match=r"a run that was begun .*--resume_from_checkpoint true"):
            small_trainer(tmp_path / "run", **STEPS).train()

    def test_past_a_checkpoint_that_was_cut_short(self, tmp_path, undisturbed, caplog):
        interrupted(tmp_path / "run", 1, 9, **STEPS)
        with open(tmp_path / "run/stage-1/checkpoint-8/optimizer.pt", "r+b") as file:
            file.truncate(1000)
        with caplog.at_level(python_logging.WARNING, logger="recformer_hf"):
            small_trainer(tmp_path / "run", **STEPS).train(resume_from_checkpoint=True)
        assert "checkpoint-8 is not complete" in caplog.text
        assert weights_of(tmp_path / "run") == weights_of(undisturbed)

    def test_past_a_checkpoint_whose_best_one_was_cut_short(self, tmp_path, undisturbed):
        interrupted(tmp_path / "run", 1, 9, **STEPS)
        (tmp_path / "run/stage-1/checkpoint-6/model.safetensors").unlink()  # the best of the first epoch
        small_trainer(tmp_path / "run", **STEPS).train(resume_from_checkpoint=True)
        assert weights_of(tmp_path / "run") == weights_of(undisturbed)

    def test_back_to_a_checkpoint_of_stage_1(self, tmp_path, undisturbed):
        folder = tmp_path / "run"
        shutil.copytree(undisturbed, folder)
        trainer = small_trainer(folder, **{**STEPS, "stage2_learning_rate": 1e-2})
        trainer.train(resume_from_checkpoint=str(folder / "stage-1/checkpoint-8"))
        assert weights_of(folder / "stage-1/checkpoint-12") == weights_of(undisturbed / "stage-1/checkpoint-12")
        assert weights_of(folder / "stage-2/checkpoint-12") != weights_of(undisturbed / "stage-2/checkpoint-12")

    def test_a_path_that_is_no_checkpoint_of_the_run(self, tmp_path, undisturbed):
        trainer = small_trainer(tmp_path / "run", **STEPS)
        with pytest.raises(ValueError, match="no complete checkpoint of this run"):
            trainer.train(resume_from_checkpoint=str(undisturbed / "stage-1/checkpoint-8"))

    def test_the_catalogue_of_a_checkpoint_must_be_the_dataset_s(self, tmp_path):
        interrupted(tmp_path / "run", 1, 5, **STEPS)
        other = load_demo_domain("kitchen", seed=1, num_users=96, num_items=60)
        trainer = small_trainer(tmp_path / "run", trainer_train_dataset=other, **STEPS)
        with pytest.raises(ValueError, match="another catalogue"):
            trainer.train(resume_from_checkpoint=True)

    def test_the_catalogue_of_a_finished_run_must_be_the_dataset_s(self, tmp_path, undisturbed):
        folder = tmp_path / "run"
        shutil.copytree(undisturbed, folder)
        other = load_demo_domain("kitchen", seed=1, num_users=96, num_items=len(small_dataset().catalog))
        with pytest.raises(ValueError, match="another catalogue"):
            small_trainer(folder, trainer_train_dataset=other, **STEPS).train(resume_from_checkpoint=True)
        assert (folder / "item_catalog.arrow").read_bytes() == (undisturbed / "item_catalog.arrow").read_bytes()

    def test_a_finished_stage_whose_checkpoint_is_gone(self, tmp_path, undisturbed):
        folder = tmp_path / "run"
        shutil.copytree(undisturbed, folder)
        for checkpoint in folder.glob("stage-1/checkpoint-*"):
            (checkpoint / "model.safetensors").unlink()
        with pytest.raises(ValueError, match=r"stage\.json names checkpoint-\d+, which is not complete"):
            small_trainer(folder, **STEPS).train(resume_from_checkpoint=True)

    def test_an_evaluation_at_the_start_is_not_repeated(self, tmp_path):
        settings = {**STEPS, "eval_on_start": True, "num_train_epochs": 1}
        small_trainer(tmp_path / "whole", **settings).train()
        interrupted(tmp_path / "run", 1, 3, **settings)
        small_trainer(tmp_path / "run", **settings).train(resume_from_checkpoint=True)
        for stage in (1, 2):
            steps = [
                [step for step, _, _ in evaluations(complete_checkpoints(tmp_path / run / f"stage-{stage}")[-1])]
                for run in ("whole", "run")
            ]
            assert steps == [[0, 6], [0, 6]]
        assert weights_of(tmp_path / "run") == weights_of(tmp_path / "whole")

    def test_the_save_of_an_epoch_s_last_step_has_its_evaluation(self, tmp_path):
        """Saved before, it would leave a run that goes on from it without that evaluation for good."""
        settings = {**STEPS, "save_steps": 3, "skip_stage2": True}
        small_trainer(tmp_path / "run", **settings).train()
        for step, evaluated in ((3, []), (6, [6]), (9, [6]), (12, [6, 12])):
            assert [each for each, _, _ in evaluations(tmp_path / f"run/stage-1/checkpoint-{step}")] == evaluated


class TestFullDisk:
    def sizes(self, folder: Path) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in folder.iterdir()}

    @pytest.mark.parametrize(
        "file",
        [
            "model.safetensors",
            "optimizer.pt",
            *(
                pytest.param(name, marks=pytest.mark.slow)
                for name in ("rng_state.pth", "item_catalog.arrow", STATE_FILE)
            ),
        ],
    )
    def test_gives_a_clear_error_and_the_run_goes_on_later(self, tmp_path, undisturbed, file):
        """The system refuses to let the file grow to its size; all smaller ones are written. (Older torch does
        not notice that a file's very last byte is missing.)"""
        interrupted(tmp_path / "run", 1, 5, **STEPS)
        before = checkpoints_of(tmp_path / "run/stage-1")
        after = self.sizes(undisturbed / "stage-1/checkpoint-6")[file] - 100
        trainer = small_trainer(tmp_path / "run", **STEPS)
        with (
            full_disk(after),
            pytest.raises(OSError, match=r"The checkpoint of step 6 .*could not be written.*make room"),
        ):
            trainer.train(resume_from_checkpoint=True)
        assert checkpoints_of(tmp_path / "run/stage-1") == before
        small_trainer(tmp_path / "run", **STEPS).train(resume_from_checkpoint=True)
        assert weights_of(tmp_path / "run") == weights_of(undisturbed)

    def test_no_space_left(self, tmp_path, monkeypatch):
        def refuse(*args, **kwargs):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        trainer = small_trainer(tmp_path / "run", **STEPS)
        monkeypatch.setattr(trainer, "_save_rng_state", refuse)
        with pytest.raises(OSError, match=r"No space left on device.*What was written before is whole") as caught:
            trainer.train()
        assert caught.value.errno == errno.ENOSPC
        assert checkpoints_of(tmp_path / "run/stage-1") == []

    def test_while_the_result_is_written(self, tmp_path, undisturbed):
        folder = tmp_path / "run"
        shutil.copytree(undisturbed, folder)
        (folder / "run.json").unlink()
        (folder / "model.safetensors").unlink()
        trainer = small_trainer(folder, **STEPS)
        with full_disk(20_000), pytest.raises(OSError, match=r"The result .*could not be written.*make room"):
            trainer.train(resume_from_checkpoint=True)
        assert not (folder / "run.json").exists()
        small_trainer(folder, **STEPS).train(resume_from_checkpoint=True)
        assert weights_of(folder) == weights_of(undisturbed)


def test_save_only_model_leaves_out_what_goes_on_needs(tmp_path):
    trainer = small_trainer(tmp_path / "run", small_model(), save_only_model=True, max_steps=1, skip_stage2=True)
    trainer.train()
    names = {path.name for path in (tmp_path / "run/stage-1/checkpoint-1").iterdir()}
    assert "optimizer.pt" not in names
    assert {"model.safetensors", "item_catalog.arrow", "tokenizer.json", STATE_FILE, SIZES_FILE} <= names
    assert len(trainer.model.item_embeddings) == len(small_dataset().catalog)


class TestSettings:
    def test_a_run_is_gone_on_with_as_it_was_begun(self, tmp_path):
        small_trainer(tmp_path / "run", num_train_epochs=1).train()
        with pytest.raises(ValueError, match=r"other settings: .*recipe was 'paper', is 'lecture'.*output_dir"):
            small_trainer(tmp_path / "run", num_train_epochs=1, recipe="lecture").train(resume_from_checkpoint=True)
        small_trainer(tmp_path / "run", num_train_epochs=1, logging_steps=1).train(resume_from_checkpoint=True)

    def test_other_sequences_of_the_same_items_are_another_run(self, tmp_path):
        small_trainer(tmp_path / "run", num_train_epochs=1).train()
        trainer = small_trainer(tmp_path / "run", num_train_epochs=1)
        dataset = small_dataset()
        train = dataset.train.select(np.arange(len(dataset.train))[::-1])
        trainer.datasets = [SequentialDataset(dataset.catalog, train, dataset.validation, dataset.test, dataset.info)]
        with pytest.raises(ValueError, match="its training sequences are others"):
            trainer.train(resume_from_checkpoint=True)

    def test_without_a_checkpoint_they_may_change(self, tmp_path):
        (tmp_path / "run").mkdir()
        small_trainer(tmp_path / "run", num_train_epochs=1).check_settings(small_trainer(tmp_path / "run").args, True)
        small_trainer(tmp_path / "run", num_train_epochs=1, seed=5).train(resume_from_checkpoint=True)
