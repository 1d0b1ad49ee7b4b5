"""Two-stage finetuning on one process: Algorithm 1, its loss, its settings, and what a person may do wrong."""

from __future__ import annotations

import json
import logging as python_logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import HfArgumentParser, RobertaConfig, RobertaModel, TrainerCallback
from transformers.utils import is_torch_bf16_gpu_available

from recformer_hf.conversion import from_text_encoder
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.data.tokenized_catalog import TokenizedCatalog
from recformer_hf.evaluation import RecformerScorer, rank_split
from recformer_hf.modeling_recformer import RecformerForSeqRec
from recformer_hf.training import LossNotFiniteError, RecformerFinetuningArguments
from recformer_hf.training.finetuning.stages import load_stage
from tests.support.models import enliven
from tests.support.training import (
    checkpoints_of,
    evaluations,
    same_state,
    small_arguments,
    small_dataset,
    small_model,
    small_tokenizer,
    small_trainer,
    state_of,
    weights_of,
    without_dropout,
)

NUM_ITEMS = len(small_dataset().catalog)
LAST_LAYER = "recformer.encoder.layer.1.attention.self."
UNREACHABLE = {
    f"recformer.encoder.layer.{layer}.attention.self.key_global.bias" for layer in (0, 1)
} | {f"{LAST_LAYER}{name}.{kind}" for name in ("query", "key", "value") for kind in ("weight", "bias")}  # fmt: skip


class Recorder(TrainerCallback):
    """Keeps the model's state at the first step of every epoch, at the end of every stage, and the first gradients."""

    def __init__(self) -> None:
        self.epochs: list[list[dict]] = []
        self.stage_ends: list[dict] = []
        self.matrices: list[list[torch.Tensor]] = []
        self.gradients: dict[str, torch.Tensor] = {}
        self.decay: list[dict[str, float]] = []

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.epochs.append([])
        self.matrices.append([])
        decay_of = {id(weight): group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]}
        self.decay.append(
            {name: decay_of[id(weight)] for name, weight in model.named_parameters() if id(weight) in decay_of}
        )

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step in (0, round(state.epoch or 0) * 6):
            self.epochs[-1].append(state_of(model))
        self.matrices[-1].append(model.item_embeddings.detach().clone())

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if not self.gradients:
            self.gradients = {
                name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
            }

    def on_train_end(self, args, state, control, model=None, **kwargs):
        self.stage_ends.append(state_of(model))


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

    def test_a_run_is_repeated_to_the_bit_and_another_seed_gives_another(self, tmp_path):
        runs = {
            "a": {},
            "b": {},
            "seed": {"seed": 7},
            "data": {"data_seed": 7},
            "seed with data": {"seed": 7, "data_seed": 42},
        }
        found = {}
        for name, settings in runs.items():
            small_trainer(tmp_path / name, skip_stage2=True, max_steps=2, **settings).train()
            found[name] = weights_of(tmp_path / name)
        assert found["a"] == found["b"]
        assert len(set(found.values())) == 4

    def test_loader_workers_change_nothing(self, tmp_path):
        settings = {"skip_stage2": True, "num_train_epochs": 1, "max_steps": 4, "num_negatives": 5}
        small_trainer(tmp_path / "none", **settings).train()
        small_trainer(tmp_path / "some", **settings, dataloader_num_workers=2).train()
        assert weights_of(tmp_path / "none") == weights_of(tmp_path / "some")


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


class TestLoss:
    """Sum over users / number of users of the whole optimizer step."""

    @pytest.mark.parametrize("num_negatives", [0, 5])
    def test_four_batches_of_4_are_one_of_16(self, tmp_path, num_negatives, monkeypatch):
        monkeypatch.chdir(tmp_path)
        settings = {"num_negatives": num_negatives}
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

    def test_each_is_a_setting_of_the_same_arguments(self):
        table = {}
        for recipe in ("paper", "lecture", "ablation-1", "ablation-2", "ablation-3", "ablation-4"):
            stages = small_arguments("unused", recipe=recipe).stages()
            table[recipe] = [(each.number, each.item_matrix, each.freeze) for each in stages]
        assert table == {
            "paper": [(1, "reencode", "none"), (2, "frozen", "none")],
            "lecture": [(1, "reencode", "embeddings"), (2, "reencode", "none")],
            "ablation-1": [(2, "frozen", "none")],
            "ablation-2": [(2, "frozen", "word_embeddings")],
            "ablation-3": [(2, "trainable", "none")],
            "ablation-4": [(2, "trainable", "word_embeddings")],
        }

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


class TestArguments:
    OPTIONS = {
        "output_dir": "run", "recipe": "lecture", "stage2_item_matrix": "trainable", "stage2_freeze": "none",
        "skip_stage1": True, "ranking_ks": [5, 20], "ranking_ties": "optimistic", "max_batch_tokens": 4096,
        "stage2_learning_rate": 1e-5, "report_to": "none",
    }  # fmt: skip

    def check(self, args: RecformerFinetuningArguments) -> None:
        (stage,) = args.stages()
        assert (stage.number, stage.item_matrix, stage.freeze, stage.learning_rate) == (2, "trainable", "none", 1e-5)
        assert (args.ranking_ks, args.ranking_ties, args.max_batch_tokens) == ([5, 20], "optimistic", 4096)
        assert args.report_to == []

    def test_from_the_command_line(self):
        words = []
        for name, value in self.OPTIONS.items():
            words += [f"--{name}", *(str(each) for each in (value if isinstance(value, list) else [value]))]
        self.check(HfArgumentParser(RecformerFinetuningArguments).parse_args_into_dataclasses(words)[0])

    def test_from_yaml_and_json(self, tmp_path):
        text = json.dumps(self.OPTIONS)  # which is YAML too
        for name in ("settings.json", "settings.yaml"):
            (tmp_path / name).write_text(text)
        parser = HfArgumentParser(RecformerFinetuningArguments)
        self.check(parser.parse_json_file(tmp_path / "settings.json")[0])
        self.check(parser.parse_yaml_file(tmp_path / "settings.yaml")[0])

    def test_every_option_has_help(self):
        fields = RecformerFinetuningArguments.__dataclass_fields__
        assert [name for name in fields if not fields[name].metadata.get("help")] == []

    def test_what_was_set_can_be_listed(self):
        settings = small_arguments("run", recipe="ablation-3", weight_decay=0.1).settings()
        assert settings["recipe"] == "ablation-3"
        assert settings["weight_decay"] == 0.1
        assert settings["stage2_item_matrix"] == "trainable"
        assert "adam_beta1" not in settings
        assert "greater_is_better" not in settings
        json.dumps(settings)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"recipe": "papper"}, "ablation-4, got 'papper'"),
            ({"skip_stage1": True, "skip_stage2": True}, "nothing to train"),
            ({"stage2_patience": 0}, "stage1_patience and stage2_patience must be at least 1"),
            ({"max_validation_users": 0}, "max_validation_users must be at least 1 or None, got 0"),
            ({"ranking_ks": [0]}, "at least 1"),
            ({"max_batch_tokens": 0}, "max_batch_tokens must be at least 1"),
            ({"save_total_limit": 0}, "save_total_limit must be at least 1, or None to keep all checkpoints, got 0"),
            ({"bf16_full_eval": True}, "bf16_full_eval has no effect here: .* Set bf16 instead"),
            ({"fp16_full_eval": True}, "fp16_full_eval has no effect here: .* Set fp16 instead"),
            ({"label_smoothing_factor": 0.1}, "label_smoothing_factor has no effect here"),
            ({"stage1_freeze": "words"}, "freeze must be one of none, word_embeddings, embeddings, got 'words'"),
            ({"stage1_item_matrix": "fixed"}, "must be one of reencode, frozen, trainable, got 'fixed'"),
        ],
    )
    def test_what_cannot_be_is_refused(self, wrong, message):
        with pytest.raises(ValueError, match=message):
            small_arguments("run", **wrong)

    def test_a_folder_must_be_named(self):
        with pytest.raises(ValueError, match="--output_dir"):
            RecformerFinetuningArguments()


class TestWhatAPersonMeets:
    def test_several_gpus_without_a_launcher(self, tmp_path, monkeypatch):
        args = small_arguments(tmp_path / "run")
        monkeypatch.setattr(type(args), "n_gpu", property(lambda self: 4))
        with pytest.raises(ValueError, match="accelerate launch --num_processes 4 --multi_gpu"):
            small_trainer(tmp_path / "run")

    def test_settings_that_would_cut_packed_batches(self, tmp_path):
        with pytest.raises(ValueError, match="split_batches"):
            small_trainer(tmp_path / "run", accelerator_config={"split_batches": True})

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

    @pytest.mark.parametrize("as_on_an_accelerator", [False, True])
    def test_a_loss_that_turns_nan_stops_the_run_and_names_the_users(self, tmp_path, as_on_an_accelerator):
        """On an accelerator the host does not look at every loss; an evaluation comes before the next look."""

        class Poison(TrainerCallback):
            def on_step_begin(self, args, state, control, model=None, **kwargs):
                if state.global_step == 8 and "stage-1" in args.output_dir:
                    model.recformer.embeddings.word_embeddings.weight.data.fill_(math.nan)

        trainer = small_trainer(
            tmp_path / "run", trainer_callbacks=[Poison()], gradient_accumulation_steps=2, per_device_train_batch_size=4
        )
        trainer.loss_watch.reads_every_batch = not as_on_an_accelerator
        users = trainer.sampler.plan(1)[4]["user"]
        first = [str(small_dataset().train.user_ids[int(user)].as_py()) for user in users[:5]]
        with pytest.raises(LossNotFiniteError) as caught:
            trainer.train()
        assert all(name in str(caught.value) for name in first)
        assert "step 9 (epoch 1, batch 1 of the step)" in str(caught.value)
        assert checkpoints_of(tmp_path / "run/stage-1") == ["checkpoint-6"]
        good = RecformerForSeqRec.from_pretrained(tmp_path / "run/stage-1/checkpoint-6")
        assert all(bool(torch.isfinite(weight).all()) for weight in good.parameters())

    def test_a_gradient_that_is_not_finite_spoils_no_weights(self, tmp_path):
        class Spoiled(TrainerCallback):
            done = False

            def on_step_begin(self, args, state, control, model=None, **kwargs):
                if state.global_step == 3 and not self.done:
                    self.done = True
                    weight = next(w for w in model.parameters() if w.requires_grad)
                    handle = weight.register_hook(lambda gradient: handle.remove() or gradient * float("nan"))

        trainer = small_trainer(
            tmp_path / "run", trainer_callbacks=[Spoiled()], save_strategy="steps", save_steps=1, save_total_limit=1
        )
        with pytest.raises(LossNotFiniteError, match=r"step 4 .* or its gradient, is not finite.*checkpoint-3"):
            trainer.train()
        good = RecformerForSeqRec.from_pretrained(tmp_path / "run/stage-1/checkpoint-3")
        assert all(bool(torch.isfinite(weight).all()) for weight in good.parameters())
        output = trainer.train(resume_from_checkpoint=True)  # the same trainer goes on
        assert output.global_step > 3

    def test_a_folder_that_holds_a_finished_run(self, tmp_path):
        small_trainer(tmp_path / "run", max_steps=1).train()
        with pytest.raises(FileExistsError, match="a finished run"):
            small_trainer(tmp_path / "run", max_steps=1).train()
        again = small_trainer(tmp_path / "run", max_steps=1)
        before = weights_of(tmp_path / "run")
        output = again.train(resume_from_checkpoint=True)  # straight to the result
        assert output.global_step == 2
        assert weights_of(tmp_path / "run") == before
        assert same_state(state_of(again.model), state_of(RecformerForSeqRec.from_pretrained(tmp_path / "run")))

    def test_a_model_with_nothing_left_to_train(self, tmp_path):
        trainer = small_trainer(tmp_path / "run")
        trainer.model.requires_grad_(False)
        with pytest.raises(ValueError, match="Nothing is left to train"):
            trainer.train()


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

    def test_bfloat16_without_an_accelerator_is_that_of_the_cpu(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
        args = RecformerFinetuningArguments(output_dir=str(tmp_path), bf16=True)
        assert args.use_cpu
        assert args.device.type == "cpu"
        assert not RecformerFinetuningArguments(output_dir=str(tmp_path)).use_cpu  # where nothing asks for it

    @pytest.mark.skipif(is_torch_bf16_gpu_available(), reason="the accelerator has bfloat16")
    def test_an_accelerator_without_bfloat16_is_not_passed_over(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        with pytest.raises(ValueError, match="doesn't support bf16"):
            RecformerFinetuningArguments(output_dir=str(tmp_path), bf16=True)

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


class TestLogs:
    def test_both_stages_leave_a_log_of_their_own(self, tmp_path):
        pytest.importorskip("tensorboard")
        small_trainer(tmp_path / "run", max_steps=1, report_to="tensorboard").train()
        for stage in (1, 2):
            assert list((tmp_path / f"run/stage-{stage}").rglob("events.out.tfevents.*"))

    def test_the_record_of_a_stage_survives(self, tmp_path):
        trainer = small_trainer(tmp_path / "run", max_steps=2, logging_steps=1)
        trainer.train()
        assert load_stage(tmp_path / "run/stage-2") == trainer.results[1]
        lines = [entry for entry in trainer.state.log_history if "loss" in entry]
        assert [(entry["stage"], entry["step"]) for entry in lines] == [(1, 1), (1, 2), (2, 1), (2, 2)]
        assert all(entry["tokens_per_second"] > 0 and entry["data_wait"] >= 0 for entry in lines)

    def test_nothing_is_warned_about(self, tmp_path, caplog):
        with caplog.at_level(python_logging.WARNING):
            small_trainer(tmp_path / "run", max_steps=1).train()
        assert [record.message for record in caplog.records if record.name.startswith("recformer_hf")] == []
