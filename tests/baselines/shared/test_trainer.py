"""baselines/shared/trainer.py: what holds for the training of every neural baseline."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from recformer_hf.baselines import NEURAL, BaselineModel, BaselineTrainer, train_baseline
from recformer_hf.baselines.shared.training import PRETRAINING, default_arguments
from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.evaluation import Ranking, rank_split
from recformer_hf.training import LossNotFiniteError
from recformer_hf.training.checkpoints import checkpoints_in
from tests.support.neural_baselines import (
    small_baseline,
    small_baseline_arguments,
    small_baseline_trainer,
    with_items,
)
from tests.support.training import same_state, small_dataset, state_of, weights_of
from tests.support.training_processes import run_code

EVERY = pytest.mark.parametrize("name", sorted(NEURAL))
PRETRAINED = sorted(name for name, model in NEURAL.items() if "pretraining_loss" in vars(model))
LAST_WEIGHTS = {
    "trainer_pretraining": True,
    "eval_strategy": "no",
    "metric_for_best_model": None,
    "save_strategy": "epoch",
}
EVERY_TWO_STEPS = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": None}


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def without(*splits: str) -> SequentialDataset:
    found = small_dataset()
    kept = {name: None if name in splits else getattr(found, name) for name in ("validation", "test")}
    return SequentialDataset(found.catalog, found.train, kept["validation"], kept["test"], {"name": "kitchen"})


@EVERY
class TestRun:
    def test_the_best_epoch_is_the_result(self, name, tmp_path):
        trainer = small_baseline_trainer(name, tmp_path / "run", num_train_epochs=4, learning_rate=3e-3)
        output = trainer.train()
        found = [entry["eval_ndcg@10"] for entry in trainer.state.log_history if "eval_ndcg@10" in entry]
        assert len(found) == 4
        assert output.metrics["best_eval_ndcg@10"] == max(found)
        ranking = rank_split(trainer.model, small_dataset().validation)
        assert ranking.metrics()["ndcg@10"] == pytest.approx(max(found))
        saved = NEURAL[name].from_pretrained(tmp_path / "run")
        assert same_state(state_of(saved), state_of(trainer.model))
        assert saved.catalog == small_dataset().catalog

    def test_training_lowers_the_loss(self, name, tmp_path):
        trainer = small_baseline_trainer(
            name, tmp_path / "run", num_train_epochs=15, learning_rate=1e-2, eval_strategy="no"
        )
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert losses[-1] < 0.9 * losses[0]

    def test_the_seed_decides_whatever_was_drawn_before(self, name, tmp_path):
        for number, seed in enumerate((1, 1, 2)):
            torch.manual_seed(number)
            small_baseline_trainer(name, tmp_path / str(number), seed=seed, num_train_epochs=1).train()
        first, second, third = (weights_of(tmp_path / str(number)) for number in range(3))
        assert first == second != third

    def test_two_processes_are_as_one(self, name, tmp_path):
        run_code(f"{_RUN}\nrun({name!r}, {str(tmp_path / 'two')!r}, 4)", 2)
        found: dict[str, Any] = {}
        exec(_RUN, found)
        found["run"](name, str(tmp_path / "one"), 8)
        one, two = (NEURAL[name].from_pretrained(tmp_path / each) for each in ("one", "two"))
        for weight, (other, values) in zip(one.parameters(), two.named_parameters(), strict=True):
            torch.testing.assert_close(weight, values, atol=2e-5, rtol=1e-4, msg=other)

    def test_bfloat16(self, name, tmp_path):
        trainer = small_baseline_trainer(name, tmp_path / "run", bf16=True, num_train_epochs=1)
        trainer.train()
        assert all(weight.dtype == torch.float32 for weight in trainer.model.parameters())
        assert math.isfinite(trainer.state.log_history[0]["loss"])

    def test_a_loss_that_is_not_finite_stops_the_run(self, name, tmp_path):
        trainer = small_baseline_trainer(name, tmp_path / "run")
        whole = trainer.model.forward
        calls = []

        def forward(*args: Any, **kwargs: Any) -> Any:
            output = whole(*args, **kwargs)
            calls.append(1)
            if output.loss is not None and len(calls) == 3:
                output.loss = output.loss * math.nan
            return output

        trainer.model.forward = forward
        with pytest.raises(LossNotFiniteError, match=r"The loss of step 3 .* Its 8 users begin with"):
            trainer.train()

    def test_a_finished_run_has_metrics_rankings_and_a_card(self, name, tmp_path):
        trainer = small_baseline_trainer(name, tmp_path / "run", num_train_epochs=1)
        trainer.train()
        metrics = trainer.finish()
        assert Ranking.load(tmp_path / "run/test-kept.npz").metrics()["ndcg@10"] == pytest.approx(
            metrics["test"]["history_kept"]["overall"]["metrics"]["ndcg@10"]
        )
        card = (tmp_path / "run/README.md").read_text("utf-8")
        assert f"A {NEURAL[name].__name__} (" in card
        assert f"from recformer_hf.baselines import {NEURAL[name].__name__}" in card
        code = card.split("```python\n")[1].split("```")[0].replace('"run"', repr(str(tmp_path / "run")))
        found: dict[str, Any] = {}
        exec(code, found)
        assert len(found["recommended"]) == 10


def stops(names: list[str]) -> list[Any]:
    """Each model is stopped in the middle of an epoch and right after one, by turns in the default run."""
    return [
        pytest.param(name, step, marks=[] if number % 2 == turn else [pytest.mark.slow])
        for number, name in enumerate(names)
        for turn, step in enumerate([3, 7])
    ]


@pytest.mark.parametrize(("name", "step"), stops(sorted(NEURAL)))
def test_training_resumes_to_the_last_bit(name, tmp_path, step):
    settings: dict[str, Any] = {**EVERY_TWO_STEPS, "learning_rate": 3e-3}
    whole = small_baseline_trainer(name, tmp_path / "whole", **settings)
    whole.train()
    with pytest.raises(KeyboardInterrupt):
        small_baseline_trainer(name, tmp_path / "run", trainer_callbacks=[StopAt(step)], **settings).train()
    small_baseline_trainer(name, tmp_path / "run", **settings).train(resume_from_checkpoint=True)
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "whole")
    # A finished run is only loaded.
    again = small_baseline_trainer(name, tmp_path / "run", **settings)
    assert again.train(resume_from_checkpoint=True).global_step == 12
    assert same_state(state_of(again.model), state_of(whole.model))


@pytest.mark.parametrize(("name", "step"), stops(PRETRAINED))
def test_pretraining_resumes_to_the_last_bit(name, tmp_path, step):
    settings: dict[str, Any] = {**LAST_WEIGHTS, **EVERY_TWO_STEPS, "learning_rate": 3e-3}
    small_baseline_trainer(name, tmp_path / "whole", **settings).train()
    with pytest.raises(KeyboardInterrupt):
        small_baseline_trainer(name, tmp_path / "run", trainer_callbacks=[StopAt(step)], **settings).train()
    small_baseline_trainer(name, tmp_path / "run", **settings).train(resume_from_checkpoint=True)
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "whole")


OF_ITEMS = {
    "zesrec": ("text_vectors", "item_embeddings", "source_embeddings"),
    "unisrec": ("text_vectors",),
}


@pytest.mark.parametrize("name", PRETRAINED)
class TestPretrainingRun:
    """Every model that has pretraining, on one dataset."""

    def test_pretraining_lowers_the_loss_and_training_goes_on_from_it(self, name, tmp_path):
        trainer = small_baseline_trainer(
            name, tmp_path / "run", num_train_epochs=10, learning_rate=1e-2, **LAST_WEIGHTS
        )
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert losses[-1] < 0.9 * losses[0]
        saved = NEURAL[name].from_pretrained(tmp_path / "run")
        assert same_state(state_of(saved), state_of(trainer.model))
        small_baseline_trainer(saved, tmp_path / "next", num_train_epochs=1, learning_rate=0.0).train()
        # A model of texts has no items of its own in pretraining.
        before, after = state_of(trainer.model), state_of(saved)
        of_items = {weight for weight in {*before, *after} if weight.split(".")[0] in OF_ITEMS.get(name, ())}
        kept = [{key: state[key] for key in state if key not in of_items} for state in (before, after)]
        assert same_state(*kept)

    def test_two_processes_are_as_one(self, name, tmp_path):
        run_code(f"{_RUN}\npretrain({name!r}, {str(tmp_path / 'two')!r}, 4)", 2)
        found: dict[str, Any] = {}
        exec(_RUN, found)
        found["pretrain"](name, str(tmp_path / "one"), 8)
        one, two = (NEURAL[name].from_pretrained(tmp_path / each) for each in ("one", "two"))
        for weight, (other, values) in zip(one.parameters(), two.named_parameters(), strict=True):
            torch.testing.assert_close(weight, values, atol=2e-5, rtol=1e-4, msg=other)

    def test_bfloat16(self, name, tmp_path):
        trainer = small_baseline_trainer(name, tmp_path / "run", bf16=True, num_train_epochs=1, **LAST_WEIGHTS)
        trainer.train()
        assert all(weight.dtype == torch.float32 for weight in trainer.model.parameters())
        assert math.isfinite(trainer.state.log_history[0]["loss"])

    def test_one_call_pretrains_and_trains(self, name, tmp_path):
        settings: dict[str, Any] = {"num_train_epochs": 1, "use_cpu": True, "report_to": "none", "disable_tqdm": True}
        model = small_baseline(name)
        trainer = train_baseline(
            model, small_dataset(), default_arguments(model, tmp_path, **settings),
            pretraining_datasets=[small_dataset()], pretraining_arguments={"num_train_epochs": 1},
        )  # fmt: skip
        assert (tmp_path / PRETRAINING / "run.json").is_file()
        assert same_state(state_of(NEURAL[name].from_pretrained(tmp_path)), state_of(trainer.model))


# Not AdamW, which makes a step of full size of a gradient that is only rounding, such as that of a key's bias.
_RUN = """
from tests.support.neural_baselines import small_baseline, small_baseline_trainer

def run(name, folder, size, **settings):
    model = small_baseline(name, dropout=0.0)
    settings = {"learning_rate": 0.1, **settings}
    small_baseline_trainer(
        model, folder, seed=3, per_device_train_batch_size=size, optim="sgd", **settings
    ).train()

def pretrain(name, folder, size, **settings):
    last_weights = {
        "trainer_pretraining": True, "eval_strategy": "no", "metric_for_best_model": None, "save_strategy": "epoch"
    }
    run(name, folder, size, **last_weights, **settings)
"""


class TestChoices:
    """What the trainer alone decides, with the smallest model."""

    def test_without_validation_the_last_weights_are_the_result(self, tmp_path):
        trainer = small_baseline_trainer(
            "sasrec", tmp_path, trainer_train_datasets=[without("validation")], eval_strategy="no"
        )
        trainer.train()
        assert weights_of(tmp_path) == weights_of(checkpoints_in(tmp_path)[-1])
        assert checkpoints_in(tmp_path)[-1].name == "checkpoint-12"

    def test_without_validation_evaluations_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match="The dataset has no validation split"):
            small_baseline_trainer("sasrec", tmp_path, trainer_train_datasets=[without("validation")])

    def test_a_split_to_validate_on_can_be_given(self, tmp_path):
        trainer = small_baseline_trainer("sasrec", tmp_path, trainer_eval_dataset=small_dataset().test)
        assert trainer.eval_dataset is small_dataset().test
        sampled = small_baseline_trainer("sasrec", tmp_path, max_validation_users=5)
        assert len(sampled.eval_dataset) == 5

    def test_patience_ends_the_run(self, tmp_path):
        trainer = small_baseline_trainer("sasrec", tmp_path, learning_rate=0.0, num_train_epochs=20, patience=2)
        trainer.train()
        assert trainer.state.global_step == 3 * 6

    def test_a_trained_model_goes_on_from_its_weights(self, tmp_path):
        model = with_items("sasrec")
        before = state_of(model)
        trainer = small_baseline_trainer(model, tmp_path, learning_rate=0.0, num_train_epochs=1)
        trainer.train()
        assert same_state(state_of(trainer.model), before)

    def test_a_run_with_other_settings_or_other_items_is_not_resumed(self, tmp_path):
        small_baseline_trainer("sasrec", tmp_path / "run", **EVERY_TWO_STEPS).train()
        for model, match in (
            (small_baseline("sasrec", dropout=0.4), "dropout was 0.2, is 0.4"),
            (small_baseline("sasrec", loss="bce"), "loss was 'ce', is 'bce'"),
        ):
            with pytest.raises(ValueError, match=match):
                small_baseline_trainer(model, tmp_path / "run").train(resume_from_checkpoint=True)
        other = small_baseline_trainer("sasrec", tmp_path / "run", trainer_train_datasets=[small_dataset(num_items=50)])
        with pytest.raises(ValueError, match="it has another catalogue"):
            other.train(resume_from_checkpoint=True)
        with pytest.raises(ValueError, match=r"was trained on another catalogue \(60 items\)"):
            other.train(resume_from_checkpoint=str(tmp_path / "run/checkpoint-2"))

    def test_a_search_tries_other_settings_and_other_models(self, tmp_path):
        pytest.importorskip("optuna")

        def model_init(trial: Any = None) -> BaselineModel:
            return small_baseline("sasrec", loss="ce" if trial is None or trial.number else "bce")

        trainer = small_baseline_trainer(None, tmp_path, trainer_model_init=model_init, num_train_epochs=1)
        best = trainer.hyperparameter_search(
            hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-3, 1e-2)},
            n_trials=2, direction="maximize",
        )  # fmt: skip
        assert best.objective > 0
        losses = {NEURAL["sasrec"].from_pretrained(tmp_path / f"run-{number}").config.loss for number in range(2)}
        assert losses == {"bce", "ce"}

    @pytest.mark.parametrize(
        ("given", "error", "message"),
        [
            ({"train_datasets": small_dataset()}, TypeError, "train_datasets must be a list of SequentialDatasets"),
            ({"train_datasets": ["shop"]}, TypeError, "Each of train_datasets must be a SequentialDataset, got str"),
            ({"train_dataset": small_dataset()}, ValueError, "train_dataset is not supported"),
            ({"data_collator": print}, ValueError, "data_collator is not supported"),
        ],
    )
    def test_arguments_of_another_kind_are_refused(self, tmp_path, given, error, message):
        with pytest.raises(error, match=message):
            BaselineTrainer(
                small_baseline("sasrec"),
                small_baseline_arguments(tmp_path),
                **{"train_datasets": [small_dataset()], **given},
            )

    def test_a_model_or_arguments_of_another_kind_are_refused(self, tmp_path):
        with pytest.raises(TypeError, match="The model must be a BaselineModel, got Linear"):
            small_baseline_trainer(torch.nn.Linear(2, 2), tmp_path)
        with pytest.raises(TypeError, match="args must be BaselineTrainingArguments, got NoneType"):
            BaselineTrainer(small_baseline("sasrec"), None, train_datasets=[small_dataset()])
        with pytest.raises(ValueError, match=r"metric_for_best_model is 'ndcg@7', but evaluation gives"):
            small_baseline_trainer("sasrec", tmp_path, metric_for_best_model="ndcg@7")


class Pretrained(NEURAL["sasrec"]):  # type: ignore[misc]
    """Pretrains on several shops: a model without items whose loss is on its histories alone."""

    def take_datasets(self, datasets, pretraining):
        if not pretraining:
            super().take_datasets(datasets, pretraining)

    def pretraining_collator(self, datasets, seed):
        from recformer_hf.baselines.shared.collators import WindowCollator, packed_rows

        class Collator(WindowCollator):
            def __call__(self, batch):
                return packed_rows(batch.items, *self.windows(batch)) | {"pretraining": True}

        return Collator(self.config.max_length, seed)

    def pretraining_loss(self, histories):
        return (self.position_embeddings(histories.positions) - 1).square().mean()

    def zero_shot(self, dataset):
        model = with_items("sasrec")
        model.position_embeddings = self.position_embeddings
        return model


class TestPretraining:
    def trainer(self, folder: Path, **settings: Any) -> BaselineTrainer:
        model = Pretrained(num_layers=1, hidden_size=16, max_length=6)
        return BaselineTrainer(
            model, small_baseline_arguments(folder, learning_rate=1e-2, **settings), pretraining=True,
            train_datasets=[small_dataset(), small_dataset(num_items=50)],
            eval_dataset=small_dataset() if settings.get("eval_strategy") != "no" else None,
        )  # fmt: skip

    def test_several_datasets_train_a_model_without_items(self, tmp_path):
        trainer = self.trainer(tmp_path, eval_strategy="no", num_train_epochs=3)
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert losses[-1] < losses[0]
        assert trainer.catalog is None
        assert not (tmp_path / "item_catalog.arrow").is_file()
        assert not trainer.model.is_new
        trainer.finish()  # there is nothing to test
        assert "pretrained on" in (tmp_path / "README.md").read_text("utf-8")

    def test_another_catalogue_is_ranked_zero_shot(self, tmp_path):
        trainer = self.trainer(tmp_path)
        trainer.train()
        assert [entry["step"] for entry in trainer.state.log_history if "eval_ndcg@10" in entry] == [12, 24]
