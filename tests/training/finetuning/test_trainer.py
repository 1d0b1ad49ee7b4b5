"""training/finetuning/trainer.py: the loss, the recipes, evaluation by ranking, and what a caller may do wrong."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import torch
from transformers import EarlyStoppingCallback, RobertaConfig, RobertaModel, TrainerCallback

from recformer_hf.conversion import from_text_encoder
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.data.tokenized_catalog import TokenizedCatalog
from recformer_hf.evaluation import RecformerScorer, rank_split
from recformer_hf.modeling_recformer import RecformerForSeqRec
from recformer_hf.training.finetuning.stages import load_stage
from recformer_hf.training.finetuning.trainer import StageTrainer
from tests.support.models import enliven
from tests.support.training import (
    EVERY_TWO_STEPS,
    Recorder,
    evaluations,
    small_arguments,
    small_dataset,
    small_model,
    small_tokenizer,
    small_trainer,
    weights_of,
    without_dropout,
)

NUM_ITEMS = len(small_dataset().catalog)
LAST_LAYER = "recformer.encoder.layer.1.attention.self."
UNREACHABLE = {
    f"recformer.encoder.layer.{layer}.attention.self.key_global.bias" for layer in (0, 1)
} | {f"{LAST_LAYER}{name}.{kind}" for name in ("query", "key", "value") for kind in ("weight", "bias")}  # fmt: skip


def gradients_of(tmp_path, **overrides) -> dict[str, torch.Tensor]:
    """Gradients of a run's first optimizer step, dropout off."""
    recorder = Recorder()
    small_trainer(
        tmp_path / f"run-{len(list(tmp_path.iterdir()))}", enliven(without_dropout(num_items=NUM_ITEMS)), max_steps=1,
        max_grad_norm=0.0, skip_stage2=True, eval_strategy="no", save_strategy="no", trainer_callbacks=[recorder],
        **overrides,
    ).train()  # fmt: skip
    return recorder.gradients


def direct_gradients(batches: int, **overrides) -> dict[str, torch.Tensor]:
    """Gradients of the mean loss over the users of an epoch's first batches, all in one."""
    trainer = small_trainer("unused", enliven(without_dropout(num_items=NUM_ITEMS)), **overrides)
    trainer.encode_items()
    index = np.concatenate([trainer.sampler.plan(0)[number] for number in range(batches)])
    trainer.model(**trainer.collator(trainer.train_dataset[index])).loss.backward()
    return {name: weight.grad for name, weight in trainer.model.named_parameters() if weight.grad is not None}


def assert_same_gradients(found, expected, tolerance=2e-5) -> None:
    assert found
    scale = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=float(tolerance * scale), msg=name)


class TestOneStage:
    """A stage by itself is an ordinary training in one folder."""

    def trainer(self, folder, **settings) -> StageTrainer:
        args = small_arguments(folder, **EVERY_TWO_STEPS, **settings)
        return StageTrainer(
            small_model(),
            args,
            stage=args.stages()[0],
            train_dataset=small_dataset(),
            processing_class=small_tokenizer(),
        )

    def test_is_the_first_stage_of_two(self, tmp_path, finished_run):
        trainer = self.trainer(tmp_path / "run")
        assert trainer.train().global_step == 12
        best = trainer.result_checkpoint()
        expected = load_stage(finished_run / "stage-1")
        assert best == tmp_path / "run" / expected.checkpoint
        assert trainer.state.best_metric == expected.best_metric
        assert weights_of(best) == weights_of(finished_run / "stage-1" / expected.checkpoint)
        assert weights_of(tmp_path / "run/checkpoint-12") == weights_of(finished_run / "stage-1/checkpoint-12")

    def test_resumes_from_its_last_checkpoint_or_a_named_one(self, tmp_path, finished_run):
        for name in ("last", "named"):
            shutil.copytree(finished_run / "stage-1", tmp_path / name)
            shutil.rmtree(tmp_path / name / "checkpoint-12")
        self.trainer(tmp_path / "last").train(resume_from_checkpoint=True)
        self.trainer(tmp_path / "named").train(resume_from_checkpoint=str(tmp_path / "named/checkpoint-8"))
        for name in ("last", "named"):
            assert weights_of(tmp_path / name / "checkpoint-12") == weights_of(finished_run / "stage-1/checkpoint-12")

    def test_begins_another_stage_with_a_metric_to_beat(self, tmp_path):
        trainer = self.trainer(tmp_path / "run", num_train_epochs=1)
        second = trainer.args.stages()[1]
        trainer.begin_stage(second, trainer.args.of_stage(second), has_item_matrix=True, to_beat=1.0)
        matrix = trainer.model.item_embeddings.detach().clone()
        trainer.train()
        assert torch.equal(trainer.model.item_embeddings, matrix)  # frozen, and not encoded again
        assert trainer.state.best_global_step is None  # NDCG never exceeds 1
        assert trainer.result_checkpoint() == tmp_path / "run/stage-2/checkpoint-6"


class TestLoss:
    """Sum over users / number of users of the whole optimizer step."""

    @pytest.mark.parametrize("settings", [{}, {"num_negatives": 5}, {"targets_per_user": 3}])
    def test_four_batches_of_4_are_one_of_16(self, tmp_path, settings, monkeypatch):
        monkeypatch.chdir(tmp_path)
        expected = direct_gradients(1, per_device_train_batch_size=16, **settings)
        one = gradients_of(tmp_path, per_device_train_batch_size=16, **settings)
        assert_same_gradients(one, expected)
        four = gradients_of(tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=4, **settings)
        assert_same_gradients(four, expected)

    def test_batches_of_other_sizes_count_by_their_users(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        settings = {"max_batch_tokens": 200, "gradient_accumulation_steps": 3}
        trainer = small_trainer("sizes", **settings)
        sizes = [len(trainer.sampler.plan(0)[number]) for number in range(3)]
        assert len(set(sizes)) > 1
        assert_same_gradients(gradients_of(tmp_path, **settings), direct_gradients(3, **settings))

    def test_a_last_step_with_fewer_batches(self, tmp_path, monkeypatch):
        """5 batches, 2 a step: the third step has one."""
        monkeypatch.chdir(tmp_path)
        recorder = Recorder()
        settings = {"per_device_train_batch_size": 10, "gradient_accumulation_steps": 2, "learning_rate": 0.0}
        trainer = small_trainer(
            "run", without_dropout(), skip_stage2=True, num_train_epochs=1, logging_steps=1, **settings
        )
        trainer.add_callback(recorder)
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        model, plan = trainer.model, trainer.sampler.plan(0)
        steps = [np.concatenate([plan[0], plan[1]]), np.concatenate([plan[2], plan[3]]), plan[4]]
        for loss, index in zip(losses, steps, strict=True):
            with torch.no_grad():
                expected = float(model(**trainer.collator(trainer.train_dataset[index])).loss)
            assert loss == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize(("num_negatives", "expected"), [(0, math.log(NUM_ITEMS)), (5, math.log(6))])
    def test_uniform_scores_give_the_logarithm_of_the_number_of_items(self, tmp_path, num_negatives, expected):
        trainer = small_trainer(tmp_path / "run", num_negatives=num_negatives)
        trainer.model.item_embeddings.data.fill_(1.0)
        batch = trainer.collator(trainer.train_dataset[trainer.sampler.plan(0)[0]])
        assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected, rel=1e-6)
        metrics = trainer.evaluate()  # everybody ties: every rank is the middle one
        assert metrics["eval_loss"] == pytest.approx(math.log(NUM_ITEMS), rel=1e-6)
        assert metrics["eval_mrr"] == pytest.approx(2 / (NUM_ITEMS + 1))
        assert metrics["eval_auc"] == pytest.approx((NUM_ITEMS + 1) / 2 / NUM_ITEMS)
        assert metrics["eval_ndcg@10"] == 0


class TestRecipes:
    @pytest.mark.parametrize("recipe", ["paper", "lecture", "ablation-1", "ablation-2", "ablation-3", "ablation-4"])
    def test_what_is_frozen_stays_and_what_trains_moves(self, tmp_path, recipe):
        frozen = {
            "none": (),
            "word_embeddings": ("recformer.embeddings.word_embeddings",),
            "embeddings": ("recformer.embeddings",),
        }
        recorder = Recorder()
        trainer = small_trainer(
            tmp_path / "run", recipe=recipe, max_steps=1, warmup_steps=0, weight_decay=0.1, trainer_callbacks=[recorder]
        )
        requires_grad = {name: weight.requires_grad for name, weight in trainer.model.named_parameters()}
        trainer.train()
        stages = trainer.run_args.stages()
        assert len(recorder.epochs) == len(stages) == (1 if recipe.startswith("ablation") else 2)
        for stage, before, after, decay in zip(
            stages, recorder.epochs, recorder.stage_ends, recorder.decay, strict=True
        ):
            moved = {name for name in after if not torch.equal(before[0][name], after[name])}
            still = {name for name in after if name.startswith(frozen[stage.freeze])} if frozen[stage.freeze] else set()
            still |= UNREACHABLE if stage.item_matrix == "trainable" else UNREACHABLE | {"item_embeddings"}
            assert moved == after.keys() - still
            assert decay.keys() == moved
            assert decay.get("item_embeddings", 0.0) == 0.0
            assert decay["recformer.encoder.layer.0.intermediate.dense.weight"] == 0.1
        assert {name: weight.requires_grad for name, weight in trainer.model.named_parameters()} == requires_grad

    def test_ablation_5_starts_from_a_text_encoder(self, tmp_path):
        source = tmp_path / "source"
        config = RobertaConfig(
            vocab_size=len(small_tokenizer()), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=66,
        )  # fmt: skip
        RobertaModel(config).save_pretrained(source)
        small_tokenizer().save_pretrained(source)
        model, tokenizer = from_text_encoder(
            source, model_class=RecformerForSeqRec, attention_window=8, max_token_num=64, max_attr_length=8,
            max_item_embeddings=9,
        )  # fmt: skip
        trainer = small_trainer(tmp_path / "run", model, trainer_processing_class=tokenizer, max_steps=1)
        assert np.isfinite(trainer.train().training_loss)

    def test_ablation_6_has_neither_item_positions_nor_token_types(self, tmp_path):
        model = small_model(use_token_type_embeddings=False, use_item_position_embeddings=False)
        assert np.isfinite(small_trainer(tmp_path / "run", model, max_steps=1).train().training_loss)

    @pytest.mark.parametrize("matrix", ["reencode", "frozen", "trainable"])
    def test_item_matrix_over_two_epochs(self, tmp_path, matrix):
        recorder = Recorder()
        small_trainer(
            tmp_path / "run", stage1_item_matrix=matrix, skip_stage2=True, trainer_callbacks=[recorder]
        ).train()
        matrices = recorder.matrices[0]
        changes = [step for step in range(1, 12) if not torch.equal(matrices[step - 1], matrices[step])]
        assert changes == {"reencode": [6], "frozen": [], "trainable": list(range(1, 12))}[matrix]
        assert matrices[0].abs().max() > 0  # made at the start, whatever becomes of it

    def test_pooling_by_average_reaches_all_weights(self, tmp_path):
        recorder = Recorder()
        small_trainer(
            tmp_path / "run",
            small_model(pooler_type="avg"),
            skip_stage2=True,
            max_steps=1,
            trainer_callbacks=[recorder],
        ).train()
        before, after = recorder.epochs[0][0], recorder.stage_ends[0]
        still = {name for name in after if torch.equal(before[name], after[name])}
        assert still == {"item_embeddings", *(name for name in UNREACHABLE if name.endswith("key_global.bias"))}


class TestRefused:
    def test_no_validation_split(self, tmp_path):
        dataset = SequentialDataset(small_dataset().catalog, small_dataset().train, None, None, {})
        with pytest.raises(ValueError, match="no validation split"):
            small_trainer(tmp_path / "run", trainer_train_dataset=dataset)

    def test_a_metric_that_nobody_computes_is_noticed_before_training(self, tmp_path):
        with pytest.raises(ValueError, match=r"'ndcg@7'.*ndcg@10"):
            small_trainer(tmp_path / "run", metric_for_best_model="ndcg@7")

    def test_an_optimizer_that_is_made_already(self, tmp_path):
        model = small_model()
        with pytest.raises(ValueError, match="optimizer_cls_and_kwargs"):
            small_trainer(
                tmp_path / "run", model, trainer_optimizers=(torch.optim.SGD(model.parameters(), lr=1.0), None)
            )

    def test_the_tokenized_catalogue_of_other_items(self, tmp_path):
        other = TokenizedCatalog.build(small_dataset(num_items=55).catalog, small_tokenizer())
        with pytest.raises(ValueError, match="55 items"):
            small_trainer(tmp_path / "run", trainer_tokenized_catalog=other)

    def test_a_plain_list_is_no_dataset(self, tmp_path):
        with pytest.raises(TypeError, match="SequentialDataset, got list"):
            small_trainer(tmp_path / "run", trainer_train_dataset=[])


class TestBeforeTraining:
    """Nothing is ranked or saved with vectors that were never encoded."""

    def test_an_evaluation_encodes_the_items_first(self, tmp_path):
        trainer = small_trainer(tmp_path)
        found = trainer.evaluate()["eval_ndcg@10"]
        assert found > 0
        trainer.encode_items()
        assert trainer.evaluate()["eval_ndcg@10"] == found
        for call in ("rank", "rank_protocols"):
            other = small_trainer(tmp_path)
            getattr(other, call)(small_dataset().test)
            assert torch.equal(other.model.item_embeddings, trainer.model.item_embeddings)
        assert small_trainer(tmp_path).predict(small_dataset().test).metrics["test_ndcg@10"] > 0

    def test_vectors_of_the_caller_stay(self, tmp_path):
        trainer = small_trainer(tmp_path)
        given = torch.randn_like(trainer.model.item_embeddings)
        trainer.model.set_item_embeddings(given, trainer.catalog)
        trainer.evaluate()
        assert torch.equal(trainer.model.item_embeddings, given)

    def test_vectors_of_other_items_do_not(self, tmp_path):
        turned = small_dataset().catalog.select(np.arange(NUM_ITEMS)[::-1])
        model = small_model().with_catalog(turned, small_tokenizer())
        trainer = small_trainer(tmp_path, model)
        expected = small_trainer(tmp_path).evaluate()["eval_ndcg@10"]
        assert trainer.evaluate()["eval_ndcg@10"] == expected

    def test_a_run_of_no_epochs_saves_encoded_items(self, tmp_path):
        trainer = small_trainer(tmp_path / "run", num_train_epochs=0)
        trainer.train()
        expected = small_trainer(tmp_path / "other")
        expected.encode_items()
        saved = RecformerForSeqRec.from_pretrained(tmp_path / "run")
        assert torch.equal(saved.item_embeddings, expected.model.item_embeddings)
        assert trainer.finish()["test"]["history_kept"]["overall"]["metrics"]["ndcg@10"] > 0


class TestCallbacks:
    def test_early_stopping_is_not_warned_of_what_is_done(self, tmp_path, monkeypatch):
        warned: list[str] = []
        monkeypatch.setattr("transformers.trainer_callback.logger.warning", warned.append)
        trainer = small_trainer(
            tmp_path, num_train_epochs=1, load_best_model_at_end=True, trainer_callbacks=[EarlyStoppingCallback(1)]
        )
        trainer.train()
        assert warned == []
        assert not trainer.args.load_best_model_at_end  # the arguments of the caller are as they were

    def test_early_stopping_counts_in_each_stage_anew(self, tmp_path):
        """With an unreachable threshold each stage ends at its second evaluation without an improvement."""
        stopping = EarlyStoppingCallback(2, early_stopping_threshold=1.0)
        trainer = small_trainer(
            tmp_path, max_steps=6, eval_strategy="steps", eval_steps=1, stage1_patience=9, stage2_patience=9,
            trainer_callbacks=[stopping],
        )  # fmt: skip
        trainer.train()
        # The first evaluation of stage 1 has nothing to be compared with; those of stage 2 have the best of stage 1.
        assert [result.global_step for result in trainer.results] == [3, 2]

    def test_one_that_stops_ends_its_stage_alone(self, tmp_path):
        class Stops(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                control.should_training_stop = True

        trainer = small_trainer(tmp_path, trainer_callbacks=[Stops()])
        trainer.train()
        assert [result.global_step for result in trainer.results] == [1, 1]
        for result in trainer.results:
            assert "eval_ndcg@10" in str(result.log_history)

    @pytest.mark.parametrize("stage", [1, 2])
    def test_one_that_raises_leaves_a_run_that_resumes(self, tmp_path, stage):
        class Breaks(TrainerCallback):
            def on_evaluate(self, args, state, control, metrics, **kwargs):
                assert metrics["eval_ndcg@10"] >= 0
                if args.output_dir.endswith(f"stage-{stage}"):
                    raise RuntimeError("a bug of the caller")

        trainer = small_trainer(tmp_path / "run", num_train_epochs=1, trainer_callbacks=[Breaks()])
        with pytest.raises(RuntimeError, match="a bug of the caller"):
            trainer.train()
        small_trainer(tmp_path / "run", num_train_epochs=1).train(resume_from_checkpoint=True)
        small_trainer(tmp_path / "whole", num_train_epochs=1).train()
        assert weights_of(tmp_path / "run") == weights_of(tmp_path / "whole")


class TestEvaluation:
    @pytest.fixture(scope="class")
    def finished(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("finished") / "run"
        trainer = small_trainer(folder, ranking_ks=[5, 10], learning_rate=3e-3, num_train_epochs=3)
        trainer.train()
        return trainer, folder

    def test_is_that_of_the_saved_folder(self, finished):
        trainer, folder = finished
        model = RecformerForSeqRec.from_pretrained(folder)
        scorer = RecformerScorer(model, small_tokenizer(), small_dataset().catalog).fit(small_dataset())
        for split in (small_dataset().validation, small_dataset().test):
            for exclude in (False, True):
                expected = rank_split(scorer, split, exclude_history=exclude)
                assert trainer.rank(split, exclude_history=exclude) == expected
        expected = rank_split(scorer, small_dataset().validation).metrics([5, 10])
        stage, step = trainer.best_result.stage, int(trainer.best_result.checkpoint.removeprefix("checkpoint-"))
        (during,) = [
            entry for entry in trainer.state.log_history
            if entry["stage"] == stage and entry["step"] == step and "eval_loss" in entry
        ]  # fmt: skip
        for name, value in expected.items():
            assert during[f"eval_{name}"] == pytest.approx(value, rel=1e-12)

    def test_a_dataset_stands_for_its_own_splits_and_its_own_items(self, finished):
        trainer, dataset = finished[0], small_dataset()
        assert trainer.predict(dataset).metrics["test_ndcg@10"] == trainer.predict(dataset.test).metrics["test_ndcg@10"]
        with pytest.raises(ValueError, match="another catalogue"):
            trainer.evaluate(load_demo_domain("garden", num_users=100))

    def test_predict_ranks_the_test_split(self, finished):
        trainer, _ = finished
        ranks, targets, metrics = trainer.predict(small_dataset().test)
        np.testing.assert_array_equal(targets, small_dataset().test.targets)
        assert metrics["test_mrr"] == pytest.approx(np.mean(1 / ranks))
        assert metrics["test_recall@5"] == pytest.approx(np.mean(ranks <= 5))
        assert metrics["test_ndcg@10"] == pytest.approx(np.mean(np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0)))

    def test_compute_metrics_gets_ranks_and_targets(self, tmp_path):
        def compute(prediction):
            assert prediction.label_ids.shape == prediction.predictions.shape == (len(small_dataset().validation),)
            return {"median_rank": float(np.median(prediction.predictions))}

        trainer = small_trainer(tmp_path / "run", trainer_compute_metrics=compute)
        metrics = trainer.evaluate()
        assert 1 <= metrics["eval_median_rank"] <= NUM_ITEMS

    def test_a_sample_of_users_is_the_seeds_and_the_same_every_time(self, finished, tmp_path):
        whole, folder = small_dataset().validation, finished[1]
        model = RecformerForSeqRec.from_pretrained(folder)
        trainers = [
            small_trainer(tmp_path, model, max_validation_users=10, seed=seed, trainer_eval_dataset=split)
            for seed, split in ((3, None), (3, whole.select(np.arange(len(whole))[::-1])), (4, None))
        ]
        ids = [trainer.eval_dataset.user_ids.to_pylist() for trainer in trainers]
        assert len(ids[0]) == 10
        assert ids[0] == sorted(ids[0], key=whole.user_ids.to_pylist().index)
        assert set(ids[1]) == set(ids[0]) != set(ids[2])
        rows = [whole.user_ids.to_pylist().index(user) for user in ids[0]]
        expected = trainers[0].rank(whole).select(rows).metrics([10])
        for metrics in (trainers[0].evaluate(), trainers[0].evaluate()):
            assert metrics["eval_ndcg@10"] == pytest.approx(expected["ndcg@10"], rel=1e-12)
        assert trainers[0].evaluate(whole)["eval_ndcg@10"] == finished[0].evaluate(whole)["eval_ndcg@10"]
        assert len(trainers[0].predict(small_dataset().test).predictions) == len(small_dataset().test)
        assert small_trainer(tmp_path, max_validation_users=48).eval_dataset is whole

    def test_eval_on_start_ranks_with_the_items_of_the_model_that_starts(self, tmp_path):
        trainer = small_trainer(tmp_path / "run", eval_on_start=True, max_steps=1, skip_stage2=True)
        trainer.train()
        model = small_model()
        model.set_item_embeddings(model.encode_items(small_dataset().catalog, small_tokenizer()))
        scorer = RecformerScorer(model, small_tokenizer(), small_dataset().catalog)
        expected = rank_split(scorer, small_dataset().validation).metrics([10])["ndcg@10"]
        step, _, ndcg = evaluations(trainer)[0]
        assert step == 0
        assert ndcg == pytest.approx(expected)

    @pytest.mark.parametrize("tokens", [64, 300])
    def test_does_not_depend_on_how_batches_are_cut(self, finished, tokens):
        trainer, folder = finished
        other = small_trainer(
            folder.with_name("other"), RecformerForSeqRec.from_pretrained(folder), eval_batch_tokens=tokens
        )
        np.testing.assert_allclose(other.rank(small_dataset().test).ranks, trainer.rank(small_dataset().test).ranks)
        other.encode_items()
        before = other.model.item_embeddings.clone()
        trainer_model = RecformerForSeqRec.from_pretrained(folder)
        expected = trainer_model.encode_items(small_dataset().catalog, small_tokenizer())
        torch.testing.assert_close(before.detach(), expected, rtol=0, atol=1e-5)


class TestPrecisionAndMemory:
    def test_gradient_checkpointing_gives_the_same_gradients(self, tmp_path):
        settings = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}
        plain = gradients_of(tmp_path, **settings)
        recomputed = gradients_of(tmp_path, **settings, gradient_checkpointing=True)
        assert_same_gradients(recomputed, plain, tolerance=1e-6)

    def test_gradient_checkpointing_repeats_the_dropout(self, tmp_path):
        for name, setting in (("plain", False), ("recomputed", True)):
            small_trainer(
                tmp_path / name, skip_stage2=True, max_steps=3, learning_rate=1e-3, gradient_checkpointing=setting
            ).train()
        plain, recomputed = (RecformerForSeqRec.from_pretrained(tmp_path / name) for name in ("plain", "recomputed"))
        for name, weight in recomputed.state_dict().items():
            torch.testing.assert_close(weight, plain.state_dict()[name], rtol=0, atol=1e-4, msg=name)

    @pytest.mark.parametrize("checkpointing", [False, True])
    def test_bfloat16_autocast_trains_both_stages(self, tmp_path, checkpointing):
        trainer = small_trainer(tmp_path / "run", bf16=True, num_train_epochs=1, gradient_checkpointing=checkpointing)
        output = trainer.train()
        exact = small_trainer(tmp_path / "exact", num_train_epochs=1).train()
        assert output.training_loss == pytest.approx(exact.training_loss, rel=0.05)
        assert all(weight.dtype == torch.float32 for weight in trainer.model.parameters())

    def test_float16_on_a_cpu_is_float32(self, tmp_path):
        """accelerate has no float16 autocast there; that of a GPU is tested on one."""
        settings = {"max_steps": 2, "skip_stage2": True}
        small_trainer(tmp_path / "half", fp16=True, **settings).train()
        small_trainer(tmp_path / "single", **settings).train()
        assert weights_of(tmp_path / "half") == weights_of(tmp_path / "single")

    @pytest.mark.slow
    def test_torch_compile(self, tmp_path):
        """Batches of any length: the second step compiles once more, for shapes that vary."""
        settings = {"max_steps": 2, "skip_stage2": True, "logging_steps": 1, "eval_strategy": "no"}
        losses = []
        for compiled in (False, True):
            trainer = small_trainer(tmp_path / str(compiled), without_dropout(), torch_compile=compiled, **settings)
            trainer.train()
            losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)
