"""baselines/shared/training.py: the one line that trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from recformer_hf.baselines import NEURAL, BaselineTrainingArguments, SASRec, default_arguments, train_baseline
from tests.baselines.shared.test_trainer import Pretrained
from tests.support.neural_baselines import COMMON, small_baseline, small_baseline_trainer
from tests.support.training import same_state, small_dataset, state_of
from tests.support.training_processes import run_code

SHORT = {"num_train_epochs": 1, "use_cpu": True, "disable_tqdm": True}


def test_fit_trains_and_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, second = small_baseline("sasrec"), small_baseline("sasrec")
    assert first.fit(small_dataset(), **SHORT) is first
    assert first.catalog == small_dataset().catalog
    assert not list(tmp_path.iterdir())
    assert not capsys.readouterr().out
    torch.manual_seed(5)
    assert same_state(state_of(second.fit(small_dataset(), **SHORT)), state_of(first))
    with pytest.raises(ValueError, match="has another catalogue"):
        first.fit(small_dataset(num_items=50))


def test_a_folder_keeps_the_run(tmp_path):
    model = small_baseline("sasrec").fit(small_dataset(), output_dir=tmp_path / "run", report_to="none", **SHORT)
    assert same_state(state_of(SASRec.from_pretrained(tmp_path / "run")), state_of(model))
    assert (tmp_path / "run/run.json").is_file()


def test_a_models_defaults_come_before_those_of_all_and_arguments_before_both(tmp_path, monkeypatch):
    monkeypatch.setattr(SASRec, "training_defaults", {"learning_rate": 0.5, "per_device_train_batch_size": 7})
    args = default_arguments(small_baseline("sasrec"), "run", learning_rate=0.25, **SHORT)
    assert (args.learning_rate, args.per_device_train_batch_size, args.patience) == (0.25, 7, 10)


class TestPretraining:
    SHOPS = (small_dataset(), small_dataset(num_items=50))
    SETTINGS = {"pretraining_arguments": {"num_train_epochs": 1, "learning_rate": 1e-2}}

    def model(self) -> Pretrained:
        return Pretrained(**COMMON, num_layers=1)

    def args(self, folder: Path, **settings: Any) -> BaselineTrainingArguments:
        return default_arguments(self.model(), folder, **{"report_to": "none", **SHORT, **settings})

    def test_comes_first_and_keeps_its_weights(self, tmp_path):
        model = self.model()
        args = self.args(tmp_path / "run", learning_rate=0.0, seed=7)
        trainer = train_baseline(model, small_dataset(), args, pretraining_datasets=self.SHOPS, **self.SETTINGS)
        assert trainer.model is model
        pretrained = Pretrained.from_pretrained(tmp_path / "run/pretraining")
        assert pretrained.config.num_items == 0
        assert torch.equal(model.position_embeddings.weight, pretrained.position_embeddings.weight)
        assert not torch.allclose(model.position_embeddings.weight, self.model().position_embeddings.weight)
        settings = json.loads((tmp_path / "run/pretraining/run_settings.json").read_text())
        assert (settings["seed"], settings["learning_rate"], len(settings["datasets"])) == (7, 1e-2, 2)
        # It is resumed, and not repeated.
        again = train_baseline(
            self.model(), small_dataset(), args, resume_from_checkpoint=True, pretraining_datasets=self.SHOPS,
            **self.SETTINGS,
        )  # fmt: skip
        assert same_state(state_of(again.model), state_of(model))

    def test_on_the_dataset_itself_if_the_model_says_so(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Pretrained, "pretrains_first", True)
        train_baseline(self.model(), small_dataset(), self.args(tmp_path / "run"), **self.SETTINGS)
        assert (tmp_path / "run/pretraining/run.json").is_file()

    def test_a_pretrained_model_is_not_pretrained_again(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Pretrained, "pretrains_first", True)
        train_baseline(self.model(), small_dataset(), self.args(tmp_path / "run"), **self.SETTINGS)
        pretrained = Pretrained.from_pretrained(tmp_path / "run/pretraining")
        before = pretrained.position_embeddings.weight.detach().clone()
        train_baseline(pretrained, small_dataset(), self.args(tmp_path / "next", learning_rate=0.0))
        assert torch.equal(pretrained.position_embeddings.weight, before)
        assert not (tmp_path / "next/pretraining").exists()


@pytest.mark.parametrize("name", ["s3rec", "recguru"])
def test_fit_trains_what_is_only_pretrained(name, tmp_path):
    small_baseline_trainer(
        name, tmp_path, trainer_pretraining=True, eval_strategy="no", metric_for_best_model=None, save_strategy="epoch"
    ).train()
    model = NEURAL[name].from_pretrained(tmp_path)
    assert model.config.only_pretrained
    before = state_of(model)
    assert model.fit(small_dataset(), **SHORT) is model
    assert not same_state(state_of(model), before)
    assert not model.config.only_pretrained
    before = state_of(model)
    assert same_state(state_of(model.fit(small_dataset(), **SHORT)), before)
    other = NEURAL[name].from_pretrained(tmp_path).fit(small_dataset(num_items=50), **SHORT)
    assert other.catalog == small_dataset(num_items=50).catalog


def test_two_processes_fit_in_one_folder(tmp_path):
    code = f"""
import torch
from tests.support.neural_baselines import small_baseline
from tests.support.training import small_dataset
model = small_baseline("sasrec").fit(
    small_dataset(), num_train_epochs=1, per_device_train_batch_size=8, use_cpu=True, disable_tqdm=True
)
torch.save(model.state_dict(), f"{tmp_path}/{{torch.distributed.get_rank()}}")
"""
    run_code(code, 2)
    first, second = (torch.load(tmp_path / str(rank)) for rank in range(2))
    assert same_state(first, second)
