"""training/saving.py: what checkpoints hold, which weights are the result, and disks that are full."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.modeling_recformer import RecformerForSeqRec
from recformer_hf.storage.atomic_shared import SIZES_FILE
from recformer_hf.training.checkpoints import STATE_FILE
from tests.support.faults import full_disk
from tests.support.training import (
    EVERY_TWO_STEPS,
    checkpoints_of,
    evaluations,
    interrupted,
    same_state,
    small_dataset,
    small_model,
    small_trainer,
    state_of,
    weights_of,
)


class TestBestWeights:
    def test_the_model_holds_the_best_weights_with_their_matrix_and_so_does_the_folder(self, tmp_path):
        trainer = small_trainer(tmp_path / "run", skip_stage2=True, num_train_epochs=4, learning_rate=3e-3)
        output = trainer.train()
        saved = RecformerForSeqRec.from_pretrained(tmp_path / "run")
        assert same_state(state_of(trainer.model), state_of(saved))
        scores = {step: ndcg for step, _, ndcg in evaluations(trainer)}
        assert output.metrics["best_eval_ndcg@10"] == max(scores.values())
        assert trainer.evaluate()["eval_ndcg@10"] == max(scores.values())
        assert checkpoints_of(tmp_path / "run/stage-1") == [trainer.results[0].checkpoint]

    def test_of_a_loss_the_lowest_is_the_best(self, tmp_path):
        trainer = small_trainer(tmp_path / "run", skip_stage2=True, metric_for_best_model="loss")
        output = trainer.train()
        assert output.metrics["best_eval_loss"] == min(loss for _, loss, _ in evaluations(trainer))

    def test_without_a_metric_that_chooses_the_last_weights_are_the_result(self, tmp_path):
        trainer = small_trainer(tmp_path / "run", metric_for_best_model=None, num_train_epochs=1)
        trainer.train()
        assert weights_of(tmp_path / "run") == weights_of(tmp_path / "run/stage-2/checkpoint-6")
        assert trainer.best_result.stage == 2

    def test_without_evaluation_the_last_weights_are_the_result(self, tmp_path):
        dataset = SequentialDataset(small_dataset().catalog, small_dataset().train, None, None, {})
        trainer = small_trainer(
            tmp_path / "run", trainer_train_dataset=dataset, eval_strategy="no", save_strategy="no", num_train_epochs=1
        )
        trainer.train()
        assert [each.checkpoint for each in trainer.results] == ["checkpoint-6", "checkpoint-6"]
        assert weights_of(tmp_path / "run") == weights_of(tmp_path / "run/stage-2/checkpoint-6")
        assert weights_of(tmp_path / "run") != weights_of(tmp_path / "run/stage-1/checkpoint-6")


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
    def test_gives_a_clear_error_and_the_run_resumes_later(self, tmp_path, finished_run, file):
        """The system refuses to let the file grow to its size; all smaller ones are written. (Older torch does
        not notice that a file's very last byte is missing.)"""
        interrupted(tmp_path / "run", 1, 5, **EVERY_TWO_STEPS)
        before = checkpoints_of(tmp_path / "run/stage-1")
        after = self.sizes(finished_run / "stage-1/checkpoint-6")[file] - 100
        trainer = small_trainer(tmp_path / "run", **EVERY_TWO_STEPS)
        with (
            full_disk(after),
            pytest.raises(OSError, match=r"The checkpoint of step 6 .*could not be written.*make room"),
        ):
            trainer.train(resume_from_checkpoint=True)
        assert checkpoints_of(tmp_path / "run/stage-1") == before
        small_trainer(tmp_path / "run", **EVERY_TWO_STEPS).train(resume_from_checkpoint=True)
        assert weights_of(tmp_path / "run") == weights_of(finished_run)

    def test_no_space_left(self, tmp_path, monkeypatch):
        def refuse(*args, **kwargs):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        trainer = small_trainer(tmp_path / "run", **EVERY_TWO_STEPS)
        monkeypatch.setattr(trainer, "_save_rng_state", refuse)
        with pytest.raises(OSError, match=r"No space left on device.*What was written before is whole") as caught:
            trainer.train()
        assert caught.value.errno == errno.ENOSPC
        assert checkpoints_of(tmp_path / "run/stage-1") == []

    def test_while_the_result_is_written(self, tmp_path, finished_run):
        folder = tmp_path / "run"
        shutil.copytree(finished_run, folder)
        (folder / "run.json").unlink()
        (folder / "model.safetensors").unlink()
        trainer = small_trainer(folder, **EVERY_TWO_STEPS)
        with full_disk(20_000), pytest.raises(OSError, match=r"The result .*could not be written.*make room"):
            trainer.train(resume_from_checkpoint=True)
        assert not (folder / "run.json").exists()
        small_trainer(folder, **EVERY_TWO_STEPS).train(resume_from_checkpoint=True)
        assert weights_of(folder) == weights_of(finished_run)


def test_save_only_model_leaves_out_what_resuming_needs(tmp_path):
    trainer = small_trainer(tmp_path / "run", small_model(), save_only_model=True, max_steps=1, skip_stage2=True)
    trainer.train()
    names = {path.name for path in (tmp_path / "run/stage-1/checkpoint-1").iterdir()}
    assert "optimizer.pt" not in names
    assert {"model.safetensors", "item_catalog.arrow", "tokenizer.json", STATE_FILE, SIZES_FILE} <= names
    assert len(trainer.model.item_embeddings) == len(small_dataset().catalog)


def test_the_save_of_an_epoch_s_last_step_has_its_evaluation(tmp_path):
    """Saved before, it would leave a run that goes on from it without that evaluation for good."""
    settings = {**EVERY_TWO_STEPS, "save_steps": 3, "skip_stage2": True}
    small_trainer(tmp_path / "run", **settings).train()
    for step, evaluated in ((3, []), (6, [6]), (9, [6]), (12, [6, 12])):
        assert [each for each, _, _ in evaluations(tmp_path / f"run/stage-1/checkpoint-{step}")] == evaluated
