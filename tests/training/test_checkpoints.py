"""Checkpoints that are there whole or not at all, and what a run makes of those it finds."""

from __future__ import annotations

import copy
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
from transformers import TrainerCallback

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.storage.staged import SIZES_FILE, remove_folder, staged_folder
from recformer_hf.training.checkpoints import (
    STATE_FILE,
    complete_checkpoints,
    holds_optimizer,
    is_complete,
    rotate_checkpoints,
)
from recformer_hf.training.resume import checkpoint_to_resume_from
from recformer_hf.training.run_settings import check_run
from tests.support.faults import full_disk, run_killed
from tests.support.pretraining import domain, pretraining_model, pretraining_trainer
from tests.support.training import (
    checkpoints_of,
    evaluations,
    same_state,
    small_dataset,
    small_model,
    small_trainer,
    state_of,
    weights_of,
)

STEPS = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": None}


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def write_checkpoint(folder: Path, accelerator: Accelerator, step: int = 1, best: int | None = None) -> Path:
    path = folder / f"checkpoint-{step}"
    with staged_folder(path, accelerator) as staging:
        (staging / "model.safetensors").write_bytes(b"weights" * 100)
        (staging / "part").mkdir()
        (staging / "part/shard").write_bytes(b"shard")
        (staging / STATE_FILE).write_text(json.dumps({"global_step": step, "best_global_step": best}))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def list_sizes(checkpoint: Path) -> None:
    """Makes a checkpoint that was changed a complete one."""
    (checkpoint / SIZES_FILE).unlink()
    sizes = {name: len(content) for name, content in contents(checkpoint).items()}
    (checkpoint / SIZES_FILE).write_text(json.dumps(sizes))


def remove_optimizer(checkpoint: Path) -> None:
    """Leaves what `save_only_model` leaves."""
    for name in ("optimizer.pt", "scheduler.pt"):
        (checkpoint / name).unlink()
    list_sizes(checkpoint)


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

    def test_rotation_keeps_what_those_that_stay_go_on_with(self, tmp_path, accelerator):
        for step, best in ((1, 1), (2, 1), (3, 1), (4, 4)):
            write_checkpoint(tmp_path, accelerator, step, best)
        rotate_checkpoints(tmp_path, 2, tmp_path / "checkpoint-4")
        assert [int(path.name[11:]) for path in complete_checkpoints(tmp_path)] == [1, 3, 4]

    def test_where_none_can_be_gone_on_from(self, tmp_path, accelerator):
        assert checkpoint_to_resume_from(tmp_path / "nowhere") is None
        (tmp_path / ".checkpoint-1.partial").mkdir()  # killed before the first one was whole
        assert checkpoint_to_resume_from(tmp_path) is None
        write_checkpoint(tmp_path, accelerator, 2, best=1)
        with pytest.raises(ValueError, match=r"holds checkpoints \(checkpoint-2\), but a run can resume from none"):
            checkpoint_to_resume_from(tmp_path)

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

    @pytest.mark.parametrize(
        ("damage", "settings", "message"),
        [
            (lambda stage: None, {"trainer_train_dataset": 96}, "another catalogue"),
            (lambda stage: shutil.rmtree(stage / "checkpoint-6"), {}, "refers to checkpoint-6 as the best one"),
            (lambda stage: remove_optimizer(stage / "checkpoint-8"), {}, "has no optimizer"),
            (lambda stage: None, {"skip_stage1": True}, r"that these settings skip \(only stage-2 is run\)"),
        ],
        ids=["catalogue", "best", "optimizer", "stage"],
    )
    def test_a_named_checkpoint_that_is_refused_leaves_everything(
        self, tmp_path, undisturbed, damage, settings, message
    ):
        folder = tmp_path / "run"
        shutil.copytree(undisturbed, folder)
        damage(folder / "stage-1")
        if users := settings.get("trainer_train_dataset"):
            settings = {"trainer_train_dataset": load_demo_domain("kitchen", seed=1, num_users=users, num_items=60)}
        before = contents(folder)
        trainer = small_trainer(folder, **STEPS, **settings)
        with pytest.raises(ValueError, match=message):
            trainer.train(resume_from_checkpoint=str(folder / "stage-1/checkpoint-8"))
        assert contents(folder) == before

    def test_a_checkpoint_of_stage_2_needs_stage_1(self, tmp_path, undisturbed):
        folder = tmp_path / "run"
        shutil.copytree(undisturbed, folder)
        (folder / "stage-1/stage.json").unlink()
        before = contents(folder)
        with pytest.raises(ValueError, match="stage-1 is not finished"):
            small_trainer(folder, **STEPS).train(resume_from_checkpoint=str(folder / "stage-2/checkpoint-8"))
        assert contents(folder) == before

    def test_more_epochs_from_the_last_checkpoint(self, tmp_path, undisturbed):
        folder = tmp_path / "run"
        shutil.copytree(undisturbed, folder)
        trainer = small_trainer(folder, **STEPS, num_train_epochs=3, skip_stage2=True)
        trainer.train(resume_from_checkpoint=str(folder / "stage-1/checkpoint-12"))
        assert trainer.results[0].global_step == 18
        assert [step for step, _, _ in evaluations(trainer)] == [6, 12, 18]

    def test_where_training_was_done_no_optimizer_is_needed(self, tmp_path, undisturbed):
        folder = tmp_path / "run"
        shutil.copytree(undisturbed, folder)
        remove_optimizer(folder / "stage-1/checkpoint-12")
        trainer = small_trainer(folder, **STEPS)
        trainer.train(resume_from_checkpoint=str(folder / "stage-1/checkpoint-12"))
        assert weights_of(folder) == weights_of(undisturbed)

    def test_with_the_model_alone_nothing_goes_on(self, tmp_path):
        interrupted(tmp_path / "run", 1, 3, **STEPS, save_only_model=True)
        with pytest.raises(ValueError, match=r"checkpoint-2 has no optimizer and schedule \(save_only_model=True\)"):
            small_trainer(tmp_path / "run", **STEPS, save_only_model=True).train(resume_from_checkpoint=True)

    def test_a_finished_run_whose_stages_were_removed_is_not_trained_again(self, tmp_path, undisturbed):
        folder = tmp_path / "run"
        shutil.copytree(undisturbed, folder)
        for stage in ("stage-1", "stage-2"):
            shutil.rmtree(folder / stage)
        before = contents(folder)
        with pytest.raises(ValueError, match=r"is finished, and stage-1 and stage-2 removed.*result is in"):
            small_trainer(folder, **STEPS).train(resume_from_checkpoint=True)
        assert contents(folder) == before

    def test_where_no_checkpoint_is_whole_nothing_is_begun_anew(self, tmp_path):
        interrupted(tmp_path / "run", 1, 3, **STEPS)
        (tmp_path / "run/stage-1/checkpoint-2/model.safetensors").unlink()
        before = contents(tmp_path / "run")
        with pytest.raises(ValueError, match="a run can resume from none of them"):
            small_trainer(tmp_path / "run", **STEPS).train(resume_from_checkpoint=True)
        assert contents(tmp_path / "run") == before

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


class TestPretraining:
    SETTINGS = {
        "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "save_total_limit": None,
        "max_steps": 2, "eval_on_start": False,
    }  # fmt: skip

    @pytest.fixture(scope="class")
    def pretrained(self, tmp_path_factory) -> Path:
        folder = tmp_path_factory.mktemp("pretrained") / "run"
        pretraining_trainer(folder, **self.SETTINGS).train()
        return folder

    @pytest.mark.parametrize("refused", ["best", "optimizer"])
    def test_a_named_checkpoint_that_is_refused_leaves_everything(self, tmp_path, pretrained, refused):
        folder = tmp_path / "run"
        shutil.copytree(pretrained, folder)
        named = folder / "checkpoint-1"
        if refused == "best":
            named = folder / "checkpoint-2"
            state = json.loads((named / STATE_FILE).read_text()) | {"best_global_step": 1}
            (named / STATE_FILE).write_text(json.dumps(state))
            list_sizes(named)
            shutil.rmtree(folder / "checkpoint-1")
        else:
            remove_optimizer(named)
        before = contents(folder)
        with pytest.raises(ValueError, match={"best": "refers to checkpoint-1", "optimizer": "no optimizer"}[refused]):
            pretraining_trainer(folder, **self.SETTINGS).train(resume_from_checkpoint=str(named))
        assert contents(folder) == before

    def test_what_cannot_be_gone_on_from(self, tmp_path, pretrained):
        folder = tmp_path / "run"
        shutil.copytree(pretrained, folder)
        (folder / "run.json").unlink()
        shutil.rmtree(folder / "checkpoint-2")
        remove_optimizer(folder / "checkpoint-1")
        with pytest.raises(ValueError, match="has no optimizer"):
            pretraining_trainer(folder, **self.SETTINGS).train(resume_from_checkpoint=True)
        (folder / "checkpoint-1/model.safetensors").unlink()
        with pytest.raises(ValueError, match="a run can resume from none of them"):
            pretraining_trainer(folder, **self.SETTINGS).train(resume_from_checkpoint=True)

    def test_the_result_of_a_run_whose_checkpoints_were_removed(self, tmp_path, pretrained):
        folder = tmp_path / "run"
        shutil.copytree(pretrained, folder)
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
        before = contents(folder)
        trainer = pretraining_trainer(folder, pretraining_model(seed=1), **self.SETTINGS)
        assert trainer.train(resume_from_checkpoint=True).global_step == 2
        saved = type(trainer.model).from_pretrained(folder)
        assert same_state(state_of(saved), state_of(trainer.model))
        assert contents(folder) == before


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
        with pytest.raises(ValueError, match="its training sequences differ"):
            trainer.train(resume_from_checkpoint=True)

    @pytest.mark.parametrize(
        ("before", "after", "message"),
        [
            ({"max_batch_tokens": 256}, {"gradient_accumulation_steps": 2}, "tokens_of_a_step was 256, is 512"),
            ({"eval_strategy": "steps", "eval_steps": 2}, {"eval_steps": 3}, "eval_steps was 2, is 3"),
            ({}, {"greater_is_better": False}, "greater_is_better was True"),
            ({}, {"trainer_eval_dataset": small_dataset().test}, "its validation data differ"),
            ({}, {"temperature": 0.1}, "temperature was 0.05, is 0.1"),
            ({}, {"max_attr_num": 1}, "max_attr_num was 3, is 1"),
        ],
    )
    def test_what_else_decides_a_finetuning_run(self, tmp_path, before, after, message):
        def check(temperature: float = 0.05, max_attr_num: int = 3, **settings) -> None:
            trainer = small_trainer(tmp_path, small_model(temperature=temperature), **settings)
            trainer.processing_class = copy.copy(trainer.processing_class)
            trainer.processing_class.max_attr_num = max_attr_num
            check_run(trainer, trainer.args, True)

        check(**before)
        (tmp_path / "stage-1/checkpoint-1").mkdir(parents=True)
        check(**before)
        with pytest.raises(ValueError, match=message):
            check(**before | after)
        settings = json.loads((tmp_path / "run_settings.json").read_text())
        old = {name: value for name, value in settings.items() if name not in message}
        old.pop("validation", None)
        (tmp_path / "run_settings.json").write_text(json.dumps(old))
        check(**before | after)  # a run that did not note it

    @pytest.mark.parametrize(
        ("after", "message"),
        [
            ({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}, "batch_over_processes was 16, is 8"),
            ({"per_device_eval_batch_size": 4}, "per_device_eval_batch_size was 8, is 4"),
            ({"max_validation_sequences": 9}, "max_validation_sequences was None, is 9"),
            ({"trainer_eval_dataset": domain("kitchen", 20)}, "its validation data differ"),
        ],
    )
    def test_what_else_decides_pretraining(self, tmp_path, after, message):
        (tmp_path / "checkpoint-1").mkdir()
        trainer = pretraining_trainer(tmp_path)
        check_run(trainer, trainer.args, True)
        with pytest.raises(ValueError, match=message):
            check_run(trainer := pretraining_trainer(tmp_path, **after), trainer.args, True)

    def test_zero_shot_data_decide_where_they_choose(self, tmp_path):
        def check(users: int, **settings) -> None:
            targets = {"kitchen": domain("kitchen", users)}
            trainer = pretraining_trainer(tmp_path, trainer_zero_shot_datasets=targets, **settings)
            check_run(trainer, trainer.args, resume)

        resume: str | bool = True
        (tmp_path / "checkpoint-1").mkdir()
        check(20)
        check(30)
        resume = "checkpoint-1"
        check(20, metric_for_best_model="kitchen_ndcg@10")
        resume = True
        with pytest.raises(ValueError, match="its validation data differ"):
            check(30, metric_for_best_model="kitchen_ndcg@10")

    def test_a_run_below_is_another(self, tmp_path):
        trainer = small_trainer(tmp_path, num_train_epochs=1)
        check_run(trainer, trainer.args, True)
        (tmp_path / "pretrained/checkpoint-3").mkdir(parents=True)
        (tmp_path / "pretrained/checkpoint-3" / STATE_FILE).write_text("{}")
        trainer = small_trainer(tmp_path, num_train_epochs=2)
        check_run(trainer, trainer.args, True)
        assert json.loads((tmp_path / "run_settings.json").read_text())["num_train_epochs"] == 2

    def test_without_a_checkpoint_they_may_change(self, tmp_path):
        (tmp_path / "run").mkdir()
        trainer = small_trainer(tmp_path / "run")
        check_run(trainer, trainer.args, True)
        small_trainer(tmp_path / "run", num_train_epochs=1, seed=5).train(resume_from_checkpoint=True)
