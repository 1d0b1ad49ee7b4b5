"""Pretraining: one process or two, resumed or not, what is logged, chosen, ranked and refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from recformer_hf.modeling_recformer import RecformerForPretraining, RecformerForSeqRec
from recformer_hf.training import LossNotFiniteError
from recformer_hf.training.checkpoints import STATE_FILE
from recformer_hf.training.pretraining.validation import DomainValidation
from tests.support.pretraining import (
    TwoProcesses,
    domain,
    entries,
    pretraining_model,
    pretraining_trainer,
    run_scenario,
    tokenizer,
)
from tests.support.training import contents, list_sizes, remove_optimizer, same_state, state_of, weights_of
from tests.support.training_processes import GradientRecorder


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Scenarios with a batch of 16 in this process and with batches of 8 on two: what both found, by name."""

    def run(names: list[str], fsdp: bool = False) -> dict[str, tuple[dict, dict]]:
        folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
        processes = TwoProcesses(folders[1], names, fsdp)
        one = {name: run_scenario(name, folders[0], 16) for name in names}
        two = processes.results()
        return {name: (one[name], two[name]) for name in names}

    return run


def assert_one_process_is_two(one: dict, two: dict) -> None:
    largest = max(gradient.abs().max() for gradient in one["gradients"].values())
    assert one["gradients"].keys() == two["gradients"].keys()
    for name, gradient in one["gradients"].items():
        assert (two["gradients"][name] - gradient).abs().max() <= 1e-6 * largest, name
    for name, weight in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, rtol=1e-6, atol=1e-8, msg=name)
    assert [entry.keys() for entry in one["log"]] == [entry.keys() for entry in two["log"]]
    for mine, theirs in zip(one["log"], two["log"], strict=True):
        for key in set(mine) - {"total_flos"}:
            assert theirs[key] == pytest.approx(mine[key], rel=1e-5, abs=1e-7), key


def without_zero_shot(found: dict) -> dict:
    """The plain scenario alone ranks a shop."""
    log = [{key: value for key, value in entry.items() if "kitchen" not in key} for entry in found["log"]]
    return {**found, "log": log}


class TestTwoProcesses:
    """The same gradients, weights after three steps of SGD, losses, accuracies and evaluations."""

    @pytest.fixture(scope="class")
    def runs(self, compared):
        return compared(["plain", "cached"])

    @pytest.fixture(scope="class")
    def checkpointed(self, tmp_path_factory):
        """On two processes."""
        return TwoProcesses(tmp_path_factory.mktemp("two"), ["checkpointed", "checkpointed chunks"]).results()

    @pytest.mark.parametrize("name", ["plain", "cached"])
    def test_two_processes_are_one_with_the_whole_batch(self, runs, name):
        assert_one_process_is_two(*runs[name])

    def test_chunks_change_nothing(self, runs):
        plain, cached = runs["plain"][0]["weights"], runs["cached"][1]["weights"]
        for name, weight in plain.items():
            torch.testing.assert_close(cached[name], weight, rtol=1e-6, atol=1e-8, msg=name)

    @pytest.mark.parametrize("name", ["checkpointed", "checkpointed chunks"])
    def test_gradient_checkpointing_changes_nothing(self, runs, checkpointed, name):
        assert_one_process_is_two(without_zero_shot(runs["plain"][0]), checkpointed[name])

    def test_zero_shot_rows_are_written_once(self, runs):
        assert [row["step"] for row in runs["plain"][0]["rows"]] == [0, 3]
        for mine, theirs in zip(*(run["rows"] for run in runs["plain"]), strict=True):
            assert theirs == pytest.approx(mine, abs=1e-6)

    @pytest.mark.slow
    def test_sharded_weights_too(self, compared):
        ((one, two),) = compared(["plain"], fsdp=True).values()
        assert two["sharded"]
        assert_one_process_is_two(one, two)

    @pytest.mark.slow
    def test_with_accumulation_and_without_masking_too(self, compared):
        for one, two in compared(["accumulated", "accumulated chunks", "contrastive alone"]).values():
            assert_one_process_is_two(one, two)


class TestLog:
    def test_a_line_has_losses_accuracy_and_speed(self, finished):
        line = entries(finished, "loss")[0]
        names = {"contrastive_loss", "mlm_loss", "mlm_context_loss", "mlm_item_loss", "accuracy", "tokens_per_second"}
        assert names <= line.keys()
        total = line["contrastive_loss"] + 0.1 * (line["mlm_context_loss"] + line["mlm_item_loss"])
        assert line["loss"] == pytest.approx(total, rel=1e-5)
        assert 0 <= line["accuracy"] <= 1

    def test_untrained_losses_are_those_of_guessing(self, tmp_path):
        trainer = pretraining_trainer(tmp_path / "run", pretraining_model(initializer_range=1e-4), max_steps=1)
        trainer.train()
        line = entries(trainer, "loss")[0]
        assert line["mlm_loss"] == pytest.approx(math.log(len(tokenizer())), rel=0.01)

    def test_the_model_learns(self, finished):
        first, *_, last = entries(finished, "loss")
        assert last["contrastive_loss"] < first["contrastive_loss"]
        assert last["mlm_loss"] < first["mlm_loss"]

    def test_without_masking_there_is_no_mlm(self, tmp_path):
        gradients = GradientRecorder()
        model = pretraining_model(tie_word_embeddings=False)
        head = state_of(model.lm_head)
        trainer = pretraining_trainer(
            tmp_path / "run", model, max_steps=1, mlm_probability=0.0, trainer_callbacks=[gradients]
        )
        trainer.train()
        assert not [name for entry in trainer.state.log_history for name in entry if "mlm" in name]
        assert not [name for name in gradients.gradients if name.startswith("lm_head")]
        assert same_state(state_of(model.lm_head), head)
        assert all(weight.requires_grad for weight in model.parameters())  # as trainable as before


class TestDatasets:
    def test_an_epoch_goes_through_each_as_often_as_its_weight_says(self, tmp_path):
        trainer = pretraining_trainer(tmp_path, trainer_dataset_weights=[2.0, 0.5])
        seen = np.concatenate([trainer.sampler.plan(0)[step] for step in range(trainer.steps_per_epoch)])
        assert np.bincount(seen["dataset"]).tolist() == [80, 20]

    def test_frozen_word_embeddings_stay(self, tmp_path):
        model = pretraining_model()
        words = model.recformer.embeddings.word_embeddings.weight.detach().clone()
        dense = model.lm_head.dense.weight.detach().clone()
        pretraining_trainer(tmp_path / "run", model, max_steps=2, freeze_word_embeddings=True).train()
        assert torch.equal(model.recformer.embeddings.word_embeddings.weight, words)
        assert not torch.equal(model.lm_head.dense.weight, dense)


class TestBestWeights:
    class Scripted(TrainerCallback):
        """Keeps the weights of every step."""

        def __init__(self) -> None:
            self.weights: dict[int, dict] = {}

        def on_step_end(self, args, state, control, model=None, **kwargs):
            self.weights[state.global_step] = state_of(model)

    @pytest.fixture
    def scripted(self, monkeypatch):
        """Validation that says what it is told, step after step, the start not counted."""

        def script(*values: float) -> None:
            told = iter([0.0, *values])
            monkeypatch.setattr(DomainValidation, "measure", lambda *_: ({"accuracy": next(told), "loss": 1.0}, 20))

        return script

    def test_the_best_are_restored_and_patience_counts_evaluations(self, tmp_path, scripted):
        scripted(0.1, 0.3, 0.2, 0.3, 0.25, 0.9)
        keeper = self.Scripted()
        trainer = pretraining_trainer(
            tmp_path / "run", num_train_epochs=9, patience=3, eval_strategy="steps", eval_steps=2,
            trainer_callbacks=[keeper],
        )  # fmt: skip
        output = trainer.train()
        assert trainer.state.global_step == output.global_step == 10  # the best at step 4, then three more
        assert same_state(state_of(trainer.model), keeper.weights[4])
        saved = RecformerForPretraining.from_pretrained(tmp_path / "run")
        assert same_state(state_of(saved), keeper.weights[4])
        assert output.metrics["best_eval_accuracy"] == 0.3
        assert json.loads((tmp_path / "run" / "run.json").read_text())["best_checkpoint"] == "checkpoint-4"
        assert (tmp_path / "run" / "checkpoint-4").is_dir()

    def test_a_zero_shot_metric_can_choose(self, tmp_path):
        trainer = pretraining_trainer(
            tmp_path / "run", metric_for_best_model="kitchen_mrr", trainer_eval_dataset=None,
            trainer_zero_shot_datasets={"kitchen": domain("kitchen", 20)},
        )  # fmt: skip
        trainer.train()
        values = {entry["step"]: entry["eval_kitchen_mrr"] for entry in entries(trainer, "eval_kitchen_mrr")}
        del values[0]  # of the start, which is nobody's result
        assert trainer.state.best_metric == max(values.values())
        assert values[trainer.state.best_global_step] == trainer.state.best_metric

    def test_without_evaluation_the_last_are_the_result(self, tmp_path):
        trainer = pretraining_trainer(
            tmp_path / "run", max_steps=3, eval_strategy="no", save_strategy="no", trainer_eval_dataset=None
        )
        trainer.train()
        assert entries(trainer, "eval_loss") == []
        saved = RecformerForPretraining.from_pretrained(tmp_path / "run" / "checkpoint-3")
        assert same_state(state_of(saved), state_of(trainer.model))


class Stops(TrainerCallback):
    """A run that is killed after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


class TestResume:
    SETTINGS = {
        "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2, "save_total_limit": None,
    }  # fmt: skip

    def trainer(self, folder: Path, **overrides):
        return pretraining_trainer(
            folder, pretraining_model(dropout=0.1), **self.SETTINGS, **overrides,
            trainer_zero_shot_datasets={"kitchen": domain("kitchen", 20)},
        )  # fmt: skip

    @pytest.mark.parametrize("killed_at", [7, pytest.param(3, marks=pytest.mark.slow)])
    def test_a_killed_run_ends_as_if_nothing_had_happened(self, tmp_path, finished, killed_at):
        with pytest.raises(KeyboardInterrupt):
            self.trainer(tmp_path / "run", trainer_callbacks=[Stops(killed_at)]).train()
        resumed = self.trainer(tmp_path / "run")
        resumed.train(resume_from_checkpoint="true")
        whole = Path(finished.args.output_dir)
        assert weights_of(tmp_path / "run") == weights_of(whole)
        assert (tmp_path / "run" / "zero_shot.jsonl").read_bytes() == (whole / "zero_shot.jsonl").read_bytes()
        assert (tmp_path / "run" / "run.json").is_file()
        losses = [[(line["step"], line["loss"]) for line in entries(each, "loss")] for each in (resumed, finished)]
        assert losses[0] == losses[1]
        steps = [entry["step"] for entry in entries(resumed, "eval_accuracy")]
        assert steps == [0, 2, 4, 6, 8, 10]  # the start is not evaluated again

    def test_a_named_checkpoint_is_gone_back_to(self, tmp_path, finished):
        shutil.copytree(finished.args.output_dir, tmp_path / "run")
        resumed = self.trainer(tmp_path / "run", max_steps=6)
        resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))
        assert resumed.state.global_step == 6
        assert not (tmp_path / "run" / "checkpoint-8").exists()
        assert [row["step"] for row in resumed.zero_shot_log.rows] == [0, 2, 4, 6]

    def test_a_finished_run_only_gives_its_result(self, tmp_path, finished):
        shutil.copytree(finished.args.output_dir, tmp_path / "run")
        again = self.trainer(tmp_path / "run")
        output = again.train(resume_from_checkpoint=True)
        assert same_state(state_of(again.model), state_of(finished.model))
        assert output.metrics["best_eval_accuracy"] == finished.output.metrics["best_eval_accuracy"]
        assert output.training_loss == finished.output.training_loss
        assert again.state.log_history == finished.log_of_training

    def test_a_run_is_never_written_over(self, finished):
        folder = Path(finished.args.output_dir)
        with pytest.raises(FileExistsError, match=r"a finished run .*resume_from_checkpoint"):
            self.trainer(folder).train()

    def test_with_nothing_there_it_begins(self, tmp_path):
        trainer = pretraining_trainer(tmp_path / "run", max_steps=1)
        assert trainer.train(resume_from_checkpoint=True).global_step == 1

    def test_a_renamed_checkpoint_is_refused_before_anything_is_removed(self, finished, tmp_path):
        """The run would not find it again, and begin elsewhere."""
        folder = tmp_path / "run"
        shutil.copytree(finished.args.output_dir, folder)
        named = sorted(folder.glob("checkpoint-*"))[0]
        named.rename(folder / "good")
        before = sorted(path.name for path in folder.iterdir())
        with pytest.raises(ValueError, match="is not a complete checkpoint of this run"):
            pretraining_trainer(folder).train(resume_from_checkpoint=str(folder / "good"))
        assert sorted(path.name for path in folder.iterdir()) == before

    def test_a_folder_that_is_no_checkpoint_of_the_run(self, tmp_path, finished):
        elsewhere = str(Path(finished.args.output_dir, "checkpoint-4"))
        with pytest.raises(ValueError, match="is not a complete checkpoint of this run"):
            pretraining_trainer(tmp_path / "run").train(resume_from_checkpoint=elsewhere)


class TestRefusedCheckpoints:
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

    def test_what_cannot_be_resumed_from(self, tmp_path, pretrained):
        folder = tmp_path / "run"
        shutil.copytree(pretrained, folder)
        (folder / "run.json").unlink()
        shutil.rmtree(folder / "checkpoint-2")
        remove_optimizer(folder / "checkpoint-1")
        with pytest.raises(ValueError, match="has no optimizer"):
            pretraining_trainer(folder, **self.SETTINGS).train(resume_from_checkpoint=True)
        (folder / "checkpoint-1/model.safetensors").unlink()
        with pytest.raises(ValueError, match="a run cannot resume from any of them"):
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


class TestPrecisionAndMemory:
    def gradients(self, folder: Path, model=None, **overrides) -> dict[str, torch.Tensor]:
        gradients = GradientRecorder()
        pretraining_trainer(
            folder, model, max_steps=1, eval_strategy="no", trainer_callbacks=[gradients], **overrides
        ).train()
        return gradients.gradients

    def test_gradient_checkpointing_changes_nothing(self, tmp_path):
        plain = self.gradients(tmp_path / "plain", pretraining_model(dropout=0.1))
        for name, settings in {"at once": {}, "in chunks": {"contrastive_chunk_size": 100}}.items():
            model = pretraining_model(dropout=0.1)
            found = self.gradients(tmp_path / name, model, gradient_checkpointing=True, **settings)
            assert found.keys() == plain.keys()
            for weight, gradient in plain.items():
                torch.testing.assert_close(found[weight], gradient, rtol=1e-4, atol=1e-6, msg=weight)

    @pytest.mark.parametrize("chunk_size", [None, 6])
    def test_bfloat16_autocast_is_near_float32(self, tmp_path, chunk_size):
        exact = self.gradients(tmp_path / "exact", max_grad_norm=0.0)
        found = self.gradients(tmp_path / "bf16", bf16=True, max_grad_norm=0.0, contrastive_chunk_size=chunk_size)
        assert found.keys() == exact.keys()
        joined = [torch.cat([each[name].flatten() for name in exact]) for each in (found, exact)]
        assert torch.nn.functional.cosine_similarity(*joined, dim=0) > 0.99

    @pytest.mark.slow
    @pytest.mark.parametrize("chunk_size", [None, 6])
    def test_torch_compile(self, tmp_path, chunk_size):
        """Batches of any length: the second step compiles once more, for shapes that vary."""
        settings = {"max_steps": 3, "eval_strategy": "no", "contrastive_chunk_size": chunk_size}
        lines = []
        for compiled in (False, True):
            trainer = pretraining_trainer(tmp_path / str(compiled), torch_compile=compiled, **settings)
            trainer.train()
            names = ("loss", "contrastive_loss", "mlm_loss", "accuracy")
            lines.append([entry[name] for entry in entries(trainer, "loss") for name in names])
        assert lines[1] == pytest.approx(lines[0], rel=1e-4)

    def test_a_loss_that_is_not_finite_stops_the_run_and_names_users(self, tmp_path):
        model = pretraining_model()
        model.recformer.embeddings.position_embeddings.weight.data[8] = math.nan
        trainer = pretraining_trainer(tmp_path / "run", model, eval_strategy="no")
        with pytest.raises(LossNotFiniteError, match=r"step 1 .*(garden|music)-shopper"):
            trainer.train()
        assert list(Path(tmp_path, "run").glob("checkpoint-*")) == []


class TestErrors:
    def test_another_model(self, tmp_path):
        model = RecformerForSeqRec(pretraining_model().config)
        with pytest.raises(TypeError, match="RecformerForPretraining"):
            pretraining_trainer(tmp_path, model)

    def test_another_dataset(self, tmp_path):
        with pytest.raises(TypeError, match="Each of train_datasets must be a SequentialDataset, got Sequences"):
            pretraining_trainer(tmp_path, trainer_train_datasets=[domain("garden").train])

    def test_a_function_that_would_never_be_called(self, tmp_path):
        with pytest.raises(ValueError, match="hands no predictions to compute_metrics"):
            pretraining_trainer(tmp_path, trainer_compute_metrics=lambda prediction: {})
