"""training/finetuning/two_stages.py: Algorithm 1, the fallback to stage 1, and resuming over both stages."""

from __future__ import annotations

import logging as python_logging
import shutil
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.data.sequences import Sequences
from recformer_hf.heads.scoring_head import START_SCALE, whitening
from recformer_hf.modeling_recformer import RecformerForSeqRec
from recformer_hf.training.checkpoints import complete_checkpoints
from tests.support.training import (
    EVERY_TWO_STEPS,
    Recorder,
    contents,
    evaluations,
    interrupted,
    remove_optimizer,
    same_state,
    small_dataset,
    small_model,
    small_tokenizer,
    small_trainer,
    state_of,
    weights_of,
)

NUM_ITEMS = len(small_dataset().catalog)


def scripted(*metrics: float):
    """`compute_metrics` that says what it is told, evaluation after evaluation."""
    values = iter(metrics)
    return lambda prediction: {"told": next(values)}


def told(tmp_path: Path, metrics: list[float], **overrides):
    """A run of one step an epoch, whose validation metric is scripted."""
    return small_trainer(
        tmp_path / "run", metric_for_best_model="told", trainer_compute_metrics=scripted(*metrics),
        per_device_train_batch_size=48, num_train_epochs=9, **overrides,
    )  # fmt: skip


class TestAlgorithm1:
    def test_stage_1_encodes_the_items_anew_every_epoch_and_stage_2_keeps_the_best_matrix(self, tmp_path):
        recorder = Recorder()
        trainer = small_trainer(tmp_path / "run", trainer_callbacks=[recorder])
        trainer.train()
        first, second = recorder.epochs
        assert len(first) == len(second) == 2
        assert not torch.equal(first[0]["item_embeddings"], first[1]["item_embeddings"])
        model = small_model(num_items=NUM_ITEMS)
        for at_start in first:
            model.load_state_dict(at_start)
            expected = model.encode_items(small_dataset().catalog, small_tokenizer())
            torch.testing.assert_close(at_start["item_embeddings"], expected, rtol=0, atol=1e-5)
        for epoch in (slice(0, 6), slice(6, 12)):  # and never between
            assert len({matrix.sum().item() for matrix in recorder.matrices[0][epoch]}) == 1
        best = RecformerForSeqRec.from_pretrained(tmp_path / "run/stage-1" / trainer.results[0].checkpoint)
        assert same_state(second[0], state_of(best))
        assert all(torch.equal(matrix, best.item_embeddings) for matrix in recorder.matrices[1])

    def test_each_stage_stops_by_its_own_patience_and_stage_2_has_stage_1_to_beat(self, tmp_path):
        first, second = [0.1, 0.3, 0.2, 0.25], [0.29, 0.31, 0.3, 0.31, 0.1]
        trainer = told(tmp_path, first + second, stage1_patience=2, stage2_patience=3)
        output = trainer.train()
        assert [(each.global_step, each.checkpoint, each.best_metric) for each in trainer.results] == [
            (4, "checkpoint-2", 0.3), (5, "checkpoint-2", 0.31)
        ]  # fmt: skip
        assert output.global_step == 9
        assert output.metrics["best_stage"] == 2
        assert output.metrics["best_eval_told"] == 0.31
        assert weights_of(tmp_path / "run") == weights_of(tmp_path / "run/stage-2/checkpoint-2")

    def test_a_stage_2_that_never_improves_gives_exactly_stage_1(self, tmp_path):
        trainer = told(tmp_path, [0.1, 0.3, 0.2, 0.2] + [0.3] * 3, stage1_patience=2)
        output = trainer.train()
        assert [each.improved for each in trainer.results] == [True, False]
        assert output.metrics["best_stage"] == 1
        assert weights_of(tmp_path / "run") == weights_of(tmp_path / "run/stage-1/checkpoint-2")

    def test_a_stage_2_that_destroys_the_model_gives_exactly_stage_1(self, tmp_path):
        recorder = Recorder()
        trainer = small_trainer(tmp_path / "run", stage2_learning_rate=30.0, trainer_callbacks=[recorder])
        trainer.train()
        best = RecformerForSeqRec.from_pretrained(tmp_path / "run/stage-1" / trainer.results[0].checkpoint)
        weight = "recformer.encoder.layer.0.intermediate.dense.weight"
        assert (recorder.stage_ends[1][weight] - best.state_dict()[weight]).abs().max() > 10
        assert same_state(state_of(trainer.model), state_of(best))
        assert weights_of(tmp_path / "run") == weights_of(tmp_path / "run/stage-1" / trainer.results[0].checkpoint)


class TestResume:
    def test_in_the_middle_of_an_epoch_with_the_matrix_of_the_checkpoint(self, tmp_path, finished_run):
        """Encoding anew there would give items that the first half of the epoch did not train against."""
        interrupted(tmp_path / "run", 1, 9, **EVERY_TWO_STEPS)
        matrices: list[tuple[int, torch.Tensor]] = []

        class Watch(TrainerCallback):
            def on_step_begin(self, args, state, control, model=None, **kwargs):
                matrices.append((state.global_step, model.item_embeddings.detach().clone()))

        trainer = small_trainer(tmp_path / "run", trainer_callbacks=[Watch()], **EVERY_TWO_STEPS)
        saved = type(trainer.model).from_pretrained(tmp_path / "run/stage-1/checkpoint-8")
        trainer.train(resume_from_checkpoint=True)
        step, matrix = matrices[0]
        assert step == 8
        assert torch.equal(matrix, saved.item_embeddings)
        assert weights_of(tmp_path / "run") == weights_of(finished_run)

    def test_between_the_stages(self, tmp_path, finished_run):
        interrupted(tmp_path / "run", 2, 0, **EVERY_TWO_STEPS)
        assert (tmp_path / "run/stage-1/stage.json").exists()
        trainer = small_trainer(tmp_path / "run", **EVERY_TWO_STEPS)
        trainer.train(resume_from_checkpoint="true")  # as a command line gives it
        assert weights_of(tmp_path / "run") == weights_of(finished_run)

    def test_from_the_start_where_there_is_no_checkpoint_yet(self, tmp_path, finished_run):
        interrupted(tmp_path / "run", 1, 1, **EVERY_TWO_STEPS)
        small_trainer(tmp_path / "run", **EVERY_TWO_STEPS).train(resume_from_checkpoint=True)
        assert weights_of(tmp_path / "run") == weights_of(finished_run)

    def test_a_run_that_was_begun_is_not_overwritten(self, tmp_path):
        interrupted(tmp_path / "run", 1, 3, **EVERY_TWO_STEPS)
        with pytest.raises(FileExistsError, match=r"a run that was begun .*--resume_from_checkpoint true"):
            small_trainer(tmp_path / "run", **EVERY_TWO_STEPS).train()

    def test_past_a_checkpoint_that_was_truncated(self, tmp_path, finished_run, caplog):
        interrupted(tmp_path / "run", 1, 9, **EVERY_TWO_STEPS)
        with open(tmp_path / "run/stage-1/checkpoint-8/optimizer.pt", "r+b") as file:
            file.truncate(1000)
        with caplog.at_level(python_logging.WARNING, logger="recformer_hf"):
            small_trainer(tmp_path / "run", **EVERY_TWO_STEPS).train(resume_from_checkpoint=True)
        assert "checkpoint-8 is not complete" in caplog.text
        assert weights_of(tmp_path / "run") == weights_of(finished_run)

    def test_past_a_checkpoint_whose_best_one_was_truncated(self, tmp_path, finished_run):
        interrupted(tmp_path / "run", 1, 9, **EVERY_TWO_STEPS)
        (tmp_path / "run/stage-1/checkpoint-6/model.safetensors").unlink()  # the best of the first epoch
        small_trainer(tmp_path / "run", **EVERY_TWO_STEPS).train(resume_from_checkpoint=True)
        assert weights_of(tmp_path / "run") == weights_of(finished_run)

    def test_back_to_a_checkpoint_of_stage_1(self, tmp_path, finished_run):
        folder = tmp_path / "run"
        shutil.copytree(finished_run, folder)
        trainer = small_trainer(folder, **{**EVERY_TWO_STEPS, "stage2_learning_rate": 1e-2})
        trainer.train(resume_from_checkpoint=str(folder / "stage-1/checkpoint-8"))
        assert weights_of(folder / "stage-1/checkpoint-12") == weights_of(finished_run / "stage-1/checkpoint-12")
        assert weights_of(folder / "stage-2/checkpoint-12") != weights_of(finished_run / "stage-2/checkpoint-12")

    def test_a_path_that_is_no_checkpoint_of_the_run(self, tmp_path, finished_run):
        trainer = small_trainer(tmp_path / "run", **EVERY_TWO_STEPS)
        with pytest.raises(ValueError, match="is not a complete checkpoint of this run"):
            trainer.train(resume_from_checkpoint=str(finished_run / "stage-1/checkpoint-8"))

    @pytest.mark.parametrize(
        ("damage", "settings", "message"),
        [
            (lambda stage: None, {"trainer_train_dataset": 96}, "another catalogue"),
            (lambda stage: shutil.rmtree(stage / "checkpoint-6"), {}, "refers to checkpoint-6 as the best one"),
            (lambda stage: remove_optimizer(stage / "checkpoint-8"), {}, "has no optimizer"),
            (lambda stage: None, {"skip_stage1": True}, r"that these settings skip \(only stage-2 is run\)"),
            (
                lambda stage: None,
                {"item_residuals": True, "history_bias": True},
                "another head: item_residuals was False, is True; history_bias was False, is True",
            ),
        ],
        ids=["catalogue", "best", "optimizer", "stage", "head"],
    )
    def test_a_named_checkpoint_that_is_refused_leaves_everything(
        self, tmp_path, finished_run, damage, settings, message
    ):
        folder = tmp_path / "run"
        shutil.copytree(finished_run, folder)
        damage(folder / "stage-1")
        if users := settings.get("trainer_train_dataset"):
            settings = {"trainer_train_dataset": load_demo_domain("kitchen", seed=1, num_users=users, num_items=60)}
        before = contents(folder)
        trainer = small_trainer(folder, **EVERY_TWO_STEPS, **settings)
        with pytest.raises(ValueError, match=message):
            trainer.train(resume_from_checkpoint=str(folder / "stage-1/checkpoint-8"))
        assert contents(folder) == before

    def test_a_checkpoint_of_stage_2_needs_stage_1(self, tmp_path, finished_run):
        folder = tmp_path / "run"
        shutil.copytree(finished_run, folder)
        (folder / "stage-1/stage.json").unlink()
        before = contents(folder)
        with pytest.raises(ValueError, match="stage-1 is not finished"):
            small_trainer(folder, **EVERY_TWO_STEPS).train(resume_from_checkpoint=str(folder / "stage-2/checkpoint-8"))
        assert contents(folder) == before

    def test_more_epochs_from_the_last_checkpoint(self, tmp_path, finished_run):
        folder = tmp_path / "run"
        shutil.copytree(finished_run, folder)
        trainer = small_trainer(folder, **EVERY_TWO_STEPS, num_train_epochs=3, skip_stage2=True)
        trainer.train(resume_from_checkpoint=str(folder / "stage-1/checkpoint-12"))
        assert trainer.results[0].global_step == 18
        assert [step for step, _, _ in evaluations(trainer)] == [6, 12, 18]

    def test_where_training_was_done_no_optimizer_is_needed(self, tmp_path, finished_run):
        folder = tmp_path / "run"
        shutil.copytree(finished_run, folder)
        remove_optimizer(folder / "stage-1/checkpoint-12")
        trainer = small_trainer(folder, **EVERY_TWO_STEPS)
        trainer.train(resume_from_checkpoint=str(folder / "stage-1/checkpoint-12"))
        assert weights_of(folder) == weights_of(finished_run)

    def test_with_the_model_alone_nothing_resumes(self, tmp_path):
        interrupted(tmp_path / "run", 1, 3, **EVERY_TWO_STEPS, save_only_model=True)
        with pytest.raises(ValueError, match=r"checkpoint-2 has no optimizer and schedule \(save_only_model=True\)"):
            small_trainer(tmp_path / "run", **EVERY_TWO_STEPS, save_only_model=True).train(resume_from_checkpoint=True)

    def test_a_finished_run_whose_stages_were_removed_is_not_trained_again(self, tmp_path, finished_run):
        folder = tmp_path / "run"
        shutil.copytree(finished_run, folder)
        for stage in ("stage-1", "stage-2"):
            shutil.rmtree(folder / stage)
        before = contents(folder)
        with pytest.raises(ValueError, match=r"is finished, but it has no stage-1 or stage-2 left.*result is in"):
            small_trainer(folder, **EVERY_TWO_STEPS).train(resume_from_checkpoint=True)
        assert contents(folder) == before

    def test_where_no_checkpoint_is_whole_nothing_is_begun_anew(self, tmp_path):
        interrupted(tmp_path / "run", 1, 3, **EVERY_TWO_STEPS)
        (tmp_path / "run/stage-1/checkpoint-2/model.safetensors").unlink()
        before = contents(tmp_path / "run")
        with pytest.raises(ValueError, match="a run cannot resume from any of them"):
            small_trainer(tmp_path / "run", **EVERY_TWO_STEPS).train(resume_from_checkpoint=True)
        assert contents(tmp_path / "run") == before

    def test_the_catalogue_of_a_checkpoint_must_be_the_dataset_s(self, tmp_path):
        interrupted(tmp_path / "run", 1, 5, **EVERY_TWO_STEPS)
        other = load_demo_domain("kitchen", seed=1, num_users=96, num_items=60)
        trainer = small_trainer(tmp_path / "run", trainer_train_dataset=other, **EVERY_TWO_STEPS)
        with pytest.raises(ValueError, match="another catalogue"):
            trainer.train(resume_from_checkpoint=True)

    def test_the_catalogue_of_a_finished_run_must_be_the_dataset_s(self, tmp_path, finished_run):
        folder = tmp_path / "run"
        shutil.copytree(finished_run, folder)
        other = load_demo_domain("kitchen", seed=1, num_users=96, num_items=len(small_dataset().catalog))
        with pytest.raises(ValueError, match="another catalogue"):
            small_trainer(folder, trainer_train_dataset=other, **EVERY_TWO_STEPS).train(resume_from_checkpoint=True)
        assert (folder / "item_catalog.arrow").read_bytes() == (finished_run / "item_catalog.arrow").read_bytes()

    def test_an_evaluation_at_the_start_is_not_repeated(self, tmp_path):
        settings = {**EVERY_TWO_STEPS, "eval_on_start": True, "num_train_epochs": 1}
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


def test_a_folder_that_holds_a_finished_run(tmp_path):
    small_trainer(tmp_path / "run", max_steps=1).train()
    with pytest.raises(FileExistsError, match="a finished run"):
        small_trainer(tmp_path / "run", max_steps=1).train()
    again = small_trainer(tmp_path / "run", max_steps=1)
    before = weights_of(tmp_path / "run")
    output = again.train(resume_from_checkpoint=True)  # straight to the result
    assert output.global_step == 2
    assert weights_of(tmp_path / "run") == before
    assert same_state(state_of(again.model), state_of(RecformerForSeqRec.from_pretrained(tmp_path / "run")))


def test_both_stages_leave_a_log_of_their_own(tmp_path):
    pytest.importorskip("tensorboard")
    small_trainer(tmp_path / "run", max_steps=1, report_to="tensorboard").train()
    for stage in (1, 2):
        assert list((tmp_path / f"run/stage-{stage}").rglob("events.out.tfevents.*"))


def test_nothing_is_warned_about(tmp_path, caplog):
    with caplog.at_level(python_logging.WARNING):
        small_trainer(tmp_path / "run", max_steps=1).train()
    assert [record.message for record in caplog.records if record.name.startswith("recformer_hf")] == []


class TestHybrid:
    """The recipe `hybrid`: a two-level head, which the run gives the model, over frozen item vectors."""

    SETTINGS = {"recipe": "hybrid", "save_strategy": "steps", "save_steps": 2, "save_total_limit": None}

    @pytest.fixture(scope="class")
    def finished(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("hybrid") / "run"
        trainer = small_trainer(folder, num_train_epochs=2, **self.SETTINGS)
        trainer.train()
        return trainer, folder

    def test_the_text_encoder_stays_and_every_part_of_the_head_learns(self, finished):
        trainer, folder = finished
        before, after = small_model(), RecformerForSeqRec.from_pretrained(folder)
        for name, weight in before.recformer.state_dict().items():
            assert torch.equal(after.recformer.state_dict()[name], weight), name
        encoded = before.with_catalog(small_dataset().catalog, small_tokenizer()).item_embeddings
        torch.testing.assert_close(after.item_embeddings, encoded, rtol=0, atol=1e-5)
        seen = torch.zeros(NUM_ITEMS, dtype=torch.bool)
        seen[torch.from_numpy(small_dataset().train.items).long()] = True
        assert after.item_residuals[seen].any(1).float().mean() > 0.8  # of those that no step has dropped
        assert after.scoring_head.history_bias.any()
        assert float(after.scoring_head.temperature.detach()) != pytest.approx(0.05)
        assert not after.scoring_head.projection_is_new
        assert trainer.results[0].stage == 2

    def test_the_projection_starts_from_the_whitening_of_the_items(self, tmp_path):
        trainer = small_trainer(tmp_path / "run", recipe="hybrid", num_train_epochs=1, learning_rate=0.0)
        trainer.train()
        weight, bias = whitening(trainer.model.item_embeddings, 32)
        torch.testing.assert_close(trainer.model.scoring_head.projection.weight.detach(), START_SCALE * weight)
        torch.testing.assert_close(trainer.model.scoring_head.projection.bias.detach(), START_SCALE * bias)

    def test_a_head_that_the_model_has_stays_and_is_trained_on(self, finished, tmp_path):
        model = RecformerForSeqRec.from_pretrained(finished[1])
        before = state_of(model)
        other = small_dataset(num_items=55)
        trainer = small_trainer(
            tmp_path / "run", model, recipe="hybrid", num_train_epochs=1, learning_rate=0.0,
            trainer_train_dataset=other,
        )  # fmt: skip
        trainer.train()
        after = state_of(model)
        kept = [name for name in before if name.startswith("scoring_head.")]
        assert all(torch.equal(after[name], before[name]) for name in kept)
        assert after["item_residuals"].shape == (55, 32)
        assert not after["item_residuals"].any()  # what was learned about the items of another shop

    @pytest.mark.parametrize("step", [1, 5])
    def test_resumes_to_the_last_bit(self, finished, tmp_path, step):
        interrupted(tmp_path / "run", 2, step, num_train_epochs=2, **self.SETTINGS)
        torch.manual_seed(99)  # whatever another process has drawn before
        small_trainer(tmp_path / "run", num_train_epochs=2, **self.SETTINGS).train(resume_from_checkpoint=True)
        assert weights_of(tmp_path / "run") == weights_of(finished[1])

    def test_a_finished_run_is_only_loaded(self, finished, tmp_path):
        shutil.copytree(finished[1], tmp_path / "run")
        trainer = small_trainer(tmp_path / "run", num_train_epochs=2, **self.SETTINGS)
        trainer.train(resume_from_checkpoint=True)
        assert same_state(state_of(trainer.model), state_of(RecformerForSeqRec.from_pretrained(finished[1])))
        assert trainer.rank(small_dataset().test) == finished[0].rank(small_dataset().test)

    def test_a_run_does_not_resume_with_another_head(self, finished, tmp_path):
        shutil.copytree(finished[1], tmp_path / "run")
        other = small_trainer(tmp_path / "run", num_train_epochs=2, history_bias=False, **self.SETTINGS)
        with pytest.raises(ValueError, match="history_bias was True, is False"):
            other.train(resume_from_checkpoint=True)

    def test_items_that_would_keep_the_vectors_of_old_weights(self, tmp_path):
        trainer = small_trainer(tmp_path / "run", recipe="hybrid", stage2_freeze="none")
        with pytest.raises(ValueError, match="stage-2 would train the text encoder under a two-level head"):
            trainer.train()
        assert trainer.model.config.sequence_head == "flat"  # the model keeps its head

    PAIRS = {
        "recipe": "hybrid-text", "stage1_freeze": "none", "stage1_max_steps": 4, "memory": False, "save_steps": 2,
        "save_strategy": "steps",
    }  # fmt: skip

    def test_pairs_of_items_train_the_text_encoder_alone(self, tmp_path):
        model = small_model()
        model.set_head(sequence_head="two_level", item_projection=True, item_residuals=True, history_bias=True)
        before = state_of(model)
        trainer = small_trainer(tmp_path / "run", model, skip_stage2=True, learned_temperature=False, **self.PAIRS)
        trainer.train()
        assert trainer.results[0].global_step == 4
        assert evaluations(trainer) == []  # the head knows nothing yet
        after = state_of(trainer.model)
        changed = {name for name in after if not torch.equal(after[name], before.get(name, torch.zeros(0)))}
        assert "recformer.embeddings.word_embeddings.weight" in changed
        assert {name for name in changed if not name.startswith("recformer.")} == {"item_embeddings", "item_residuals"}
        assert not after["item_residuals"].any()  # those of the items that the model has taken
        vectors = model.encode_items(small_dataset().catalog, small_tokenizer())
        torch.testing.assert_close(torch.as_tensor(vectors), after["item_embeddings"], atol=1e-5, rtol=1e-5)

    def test_after_pairs_of_items_the_head_starts_from_their_vectors(self, tmp_path):
        trainer = small_trainer(tmp_path / "run", stage2_num_train_epochs=1, stage2_learning_rate=0.0, **self.PAIRS)
        trainer.train()
        assert [result.stage for result in trainer.results] == [1, 2]
        vectors = trainer.model.encode_items(small_dataset().catalog, small_tokenizer())
        weight, _ = whitening(torch.as_tensor(vectors), 32)
        torch.testing.assert_close(
            trainer.model.scoring_head.projection.weight.detach(), START_SCALE * weight, atol=1e-4, rtol=1e-4
        )

    def test_pairs_of_items_resume_to_the_last_bit(self, tmp_path):
        settings = {**self.PAIRS, "stage2_num_train_epochs": 1}
        small_trainer(tmp_path / "whole", **settings).train()
        interrupted(tmp_path / "run", 1, 3, **settings)
        torch.manual_seed(99)
        small_trainer(tmp_path / "run", **settings).train(resume_from_checkpoint=True)
        assert weights_of(tmp_path / "run") == weights_of(tmp_path / "whole")

    def test_pairs_of_items_need_a_text_encoder_that_trains(self, tmp_path):
        trainer = small_trainer(tmp_path / "run", **{**self.PAIRS, "stage1_freeze": "encoder"})
        with pytest.raises(ValueError, match="stage1_item_pairs trains the text encoder in stage 1, but stage1_freeze"):
            trainer.train()

    TEXTS = {"recipe": "hybrid", "skip_stage1": False, "stage1_freeze": "none", "min_steps": 0, "memory": False}

    def test_a_text_encoder_trains_with_the_items_of_the_batches(self, tmp_path):
        """Then the head alone, on vectors that are those of the encoder that the first stage ended with."""
        model, settings = small_model(), {**self.TEXTS, "stage2_num_train_epochs": 1}
        before = state_of(model)
        trainer = small_trainer(tmp_path / "run", model, num_train_epochs=2, **settings)
        trainer.train()
        assert [result.stage for result in trainer.results] == [1, 2]
        after = state_of(model)
        for name in ("embeddings.word_embeddings.weight", "encoder.layer.0.intermediate.dense.weight"):
            assert not torch.equal(after[f"recformer.{name}"], before[f"recformer.{name}"])
        vectors = model.encode_items(small_dataset().catalog, small_tokenizer())
        torch.testing.assert_close(torch.as_tensor(vectors), after["item_embeddings"], atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("step", [1, 4])
    def test_training_a_text_encoder_resumes_to_the_last_bit(self, tmp_path, step):
        settings = {**self.TEXTS, "skip_stage2": True, "num_train_epochs": 2}
        small_trainer(tmp_path / "whole", **settings).train()
        interrupted(tmp_path / "run", 1, step, **settings)
        torch.manual_seed(99)
        small_trainer(tmp_path / "run", **settings).train(resume_from_checkpoint=True)
        assert weights_of(tmp_path / "run") == weights_of(tmp_path / "whole")

    def test_as_many_epochs_as_the_least_number_of_steps_needs(self, tmp_path):
        trainer = small_trainer(tmp_path / "run", recipe="hybrid", num_train_epochs=1, min_steps=13)
        trainer.train()
        assert trainer.results[0].global_step == 18  # of 6 steps each
        assert [step for step, _, _ in evaluations(trainer)] == [2, 4, 6, 8, 10, 12, 14, 16, 18]
        trainer = small_trainer(tmp_path / "run", recipe="hybrid", num_train_epochs=1, min_steps=13)
        trainer.train(resume_from_checkpoint=str(sorted((tmp_path / "run/stage-2").glob("checkpoint-*"))[0]))
        assert trainer.results[0].global_step == 18

    @pytest.mark.parametrize(("hidden", "given", "expected"), [(32, None, 32), (160, None, 128), (160, 64, 64)])
    def test_the_width_of_a_new_head(self, tmp_path, hidden, given, expected):
        model = small_model(hidden_size=hidden)
        small_trainer(tmp_path / "run", model, recipe="hybrid", head_size=given, max_steps=1).train()
        assert model.config.vector_size == expected
        assert model.item_vectors.shape == (NUM_ITEMS, expected)
        small_trainer(tmp_path / "again", model, recipe="hybrid", max_steps=1).train()
        assert model.config.vector_size == expected  # a head that is there keeps its width

    def test_fsdp_is_refused(self, tmp_path):
        trainer = small_trainer(tmp_path / "run", recipe="hybrid")
        trainer.is_fsdp_enabled = True
        with pytest.raises(ValueError, match="FSDP does not work with a head that learns"):
            trainer.train()
        assert trainer.model.scoring_head.history_transformer is None  # the model keeps its head

    @pytest.mark.parametrize("num_negatives", [0, 5])
    def test_learns_an_order_that_only_the_sequences_show(self, tmp_path, num_negatives):
        """Item k is always followed by item k + 7; the texts say nothing about it."""
        dataset = circle(NUM_ITEMS, step=7)
        model = small_model(head_dropout=0.0, residual_dropout=0.0)
        trainer = small_trainer(
            tmp_path / "run", model, recipe="hybrid", num_train_epochs=15, per_device_train_batch_size=4,
            learning_rate=1e-2, eval_strategy="no", num_negatives=num_negatives, trainer_train_dataset=dataset,
        )  # fmt: skip
        trainer.train()
        assert trainer.rank(dataset.test).metrics([10])["ndcg@10"] > 0.9

    def test_an_item_that_training_has_not_seen_keeps_no_residual_and_is_no_negative(self, tmp_path):
        for recipe in ("hybrid", "hybrid-flat"):
            trainer = small_trainer(tmp_path / recipe, recipe=recipe, num_train_epochs=2)
            trainer.train()
            seen = torch.zeros(NUM_ITEMS, dtype=torch.bool)
            seen[torch.from_numpy(small_dataset().train.items).long()] = True
            assert not seen.all()
            assert not trainer.model.item_residuals[~seen].any()
            assert trainer.model.item_residuals[seen].any(1).float().mean() > 0.5


class TestHybridFlat:
    def test_encoder_and_head_learn_and_a_run_resumes_to_the_last_bit(self, tmp_path):
        settings = {"recipe": "hybrid-flat", "num_train_epochs": 2, "head_learning_rate": 1e-2, **EVERY_TWO_STEPS}
        trainer = small_trainer(tmp_path / "whole", **settings)
        trainer.train()
        rates = {group["initial_lr"] for group in trainer.optimizer.param_groups if group["params"]}
        assert rates == {1e-3, 1e-2, 1e-1}  # text encoder, head, history bias
        before, after = small_model().state_dict(), RecformerForSeqRec.from_pretrained(tmp_path / "whole").state_dict()
        assert (after["item_residuals"] != 0).any()
        name = "recformer.encoder.layer.0.intermediate.dense.weight"
        assert not torch.equal(after[name], before[name])
        interrupted(tmp_path / "run", 1, 9, **settings)
        small_trainer(tmp_path / "run", **settings).train(resume_from_checkpoint=True)
        assert weights_of(tmp_path / "run") == weights_of(tmp_path / "whole")


def circle(num_items: int, step: int) -> SequentialDataset:
    """48 users who walk through the shop's items in equal steps."""
    walks = [[(start + step * i) % num_items for i in range(7)] for start in range(48)]
    users, shop = [f"u{user}" for user in range(48)], small_dataset()
    return SequentialDataset(
        shop.catalog,
        Sequences.from_lists(users, [walk[:5] for walk in walks]),
        Sequences.from_lists(users, [walk[:5] for walk in walks], [walk[5] for walk in walks]),
        Sequences.from_lists(users, [walk[:6] for walk in walks], [walk[6] for walk in walks]),
        dict(shop.info),
    )
