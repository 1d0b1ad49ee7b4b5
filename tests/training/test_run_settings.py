"""training/run_settings.py: a run is resumed with the settings and data that it began with."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.training.checkpoints import STATE_FILE
from recformer_hf.training.run_settings import check_run
from tests.support.pretraining import domain, pretraining_trainer
from tests.support.training import small_dataset, small_model, small_trainer


class TestSettings:
    def test_a_run_is_resumed_with_the_settings_that_it_began_with(self, tmp_path):
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
