"""baselines/shared/training.py: the one line that trains."""

from __future__ import annotations

import pytest
import torch

from recformer_hf.baselines import SASRec, train_baseline
from tests.baselines.shared.test_trainer import Pretrained
from tests.support.neural_baselines import COMMON, small_baseline
from tests.support.training import same_state, small_dataset, state_of

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
    trainer = train_baseline(small_baseline("sasrec"), small_dataset(), learning_rate=0.25, **SHORT)
    args = trainer.args
    assert (args.learning_rate, args.per_device_train_batch_size, args.patience) == (0.25, 7, 10)


class TestPretraining:
    OPTIONS = {"pretraining_arguments": {**SHORT, "learning_rate": 1e-2}, "report_to": "none", **SHORT}

    def model(self) -> Pretrained:
        return Pretrained(**COMMON, num_layers=1)

    def test_comes_first_and_keeps_its_weights(self, tmp_path):
        model = self.model()
        trainer = train_baseline(
            model, small_dataset(), output_dir=tmp_path / "run", learning_rate=0.0,
            pretraining_datasets=[small_dataset(), small_dataset(num_items=50)], **self.OPTIONS,
        )  # fmt: skip
        assert trainer.model is model
        pretrained = Pretrained.from_pretrained(tmp_path / "run/pretraining")
        assert pretrained.config.num_items == 0
        assert torch.equal(model.position_embeddings.weight, pretrained.position_embeddings.weight)
        assert not torch.allclose(model.position_embeddings.weight, self.model().position_embeddings.weight)
        # It is resumed, and not repeated.
        again = train_baseline(
            self.model(), small_dataset(), output_dir=tmp_path / "run", learning_rate=0.0, resume_from_checkpoint=True,
            pretraining_datasets=[small_dataset(), small_dataset(num_items=50)], **self.OPTIONS,
        )  # fmt: skip
        assert same_state(state_of(again.model), state_of(model))

    def test_on_the_dataset_itself_if_the_model_says_so(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Pretrained, "pretrains_first", True)
        train_baseline(self.model(), small_dataset(), output_dir=tmp_path / "run", **self.OPTIONS)
        assert (tmp_path / "run/pretraining/run.json").is_file()

    def test_a_pretrained_model_is_not_pretrained_again(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Pretrained, "pretrains_first", True)
        train_baseline(self.model(), small_dataset(), output_dir=tmp_path / "run", **self.OPTIONS)
        pretrained = Pretrained.from_pretrained(tmp_path / "run/pretraining")
        before = pretrained.position_embeddings.weight.detach().clone()
        pretrained.fit(small_dataset(), output_dir=tmp_path / "next", report_to="none", learning_rate=0.0, **SHORT)
        assert torch.equal(pretrained.position_embeddings.weight, before)
        assert not (tmp_path / "next/pretraining").exists()
