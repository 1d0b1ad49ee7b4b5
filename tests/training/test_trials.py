"""training/trials.py: every run has a new model of `model_init`, and a trial of a search is a run."""

from __future__ import annotations

import json

import pytest

from recformer_hf.training import RecformerFinetuningArguments
from tests.support.pretraining import pretraining_model, pretraining_trainer
from tests.support.training import small_model, small_trainer, weights_of

SHORT = {"skip_stage2": True, "num_train_epochs": 1}


def new_model():
    return small_model()


def new_pretraining_model():
    return pretraining_model()


def rates(trial):
    return {"learning_rate": trial.suggest_categorical("learning_rate", [1e-3, 1e-2])}


class TestModelInit:
    def test_gives_the_run_that_the_model_gives(self, tmp_path):
        small_trainer(tmp_path / "model", max_steps=2).train()
        trainer = small_trainer(tmp_path / "init", trainer_model_init=new_model, max_steps=2)
        trainer.train()  # both stages on one model
        assert weights_of(tmp_path / "init") == weights_of(tmp_path / "model")

    def test_every_run_begins_anew(self, tmp_path):
        trainer = small_trainer(tmp_path / "first", trainer_model_init=new_model, max_steps=2, **SHORT)
        trainer.train()
        trainer.run_args.output_dir = str(tmp_path / "second")
        trainer.train()
        assert weights_of(tmp_path / "first") == weights_of(tmp_path / "second")

    def test_freezes_the_new_model_in_pretraining(self, tmp_path):
        before = pretraining_model().recformer.get_input_embeddings().weight
        trainer = pretraining_trainer(
            tmp_path, trainer_model_init=new_pretraining_model, max_steps=1, freeze_word_embeddings=True
        )
        trainer.train()
        assert trainer.model.recformer.get_input_embeddings().weight.equal(before)

    def test_another_model(self, tmp_path):
        with pytest.raises(ValueError, match="either a `model` or `model_init`"):
            small_trainer(tmp_path, small_model(), trainer_model_init=new_model)
        with pytest.raises(TypeError, match="The model is None"):
            small_trainer(tmp_path, trainer_model_init=None)
        with pytest.raises(TypeError, match="must be a RecformerForSeqRec, got RecformerForPretraining"):
            small_trainer(tmp_path, trainer_model_init=new_pretraining_model)


class TestSearch:
    @pytest.fixture(scope="class")
    def searched(self, tmp_path_factory):
        optuna = pytest.importorskip("optuna")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        folder = tmp_path_factory.mktemp("searched")
        trainer = small_trainer(folder / "search", trainer_model_init=new_model, **SHORT)
        space = {"learning_rate": [1e-3, 1e-2]}
        found = trainer.hyperparameter_search(
            hp_space=rates, direction="maximize", n_trials=2, sampler=optuna.samplers.GridSampler(space, seed=0),
            compute_objective=lambda metrics: metrics["eval_ndcg@10"],
        )  # fmt: skip
        return trainer, found, folder

    def test_each_trial_is_a_run_from_the_beginning(self, searched):
        trainer, found, folder = searched
        settings = {}
        for number in (0, 1):
            run = folder / f"search/run-{number}"
            settings[number] = json.loads((run / "run_settings.json").read_text())["learning_rate"]
            small_trainer(folder / f"alone-{number}", learning_rate=settings[number], **SHORT).train()
            assert weights_of(run) == weights_of(folder / f"alone-{number}")
        assert sorted(settings.values()) == [1e-3, 1e-2]
        assert found.hyperparameters["learning_rate"] == settings[int(found.run_id)]
        assert trainer.run_args.learning_rate == 1e-3  # of the search
        assert trainer.args.output_dir == str(folder / "search")

    def test_its_objective_is_that_of_the_best_model(self, searched):
        _, found, folder = searched
        log = json.loads((folder / f"search/run-{found.run_id}/stage-1/stage.json").read_text())
        assert found.objective == pytest.approx(log["best_metric"])

    def test_leaves_a_trainer_that_can_train_again(self, searched, tmp_path):
        trainer, *_ = searched
        with pytest.raises(RuntimeError, match=r"leaves no model: call train\(\)"):
            trainer.evaluate()
        trainer.run_args.output_dir = str(tmp_path / "again")
        trainer.train()
        assert trainer.evaluate()["eval_ndcg@10"] > 0

    def test_in_pretraining(self, tmp_path):
        optuna = pytest.importorskip("optuna")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        trainer = pretraining_trainer(
            tmp_path / "search", trainer_model_init=new_pretraining_model, max_steps=1, seed=3
        )
        trainer.hyperparameter_search(
            hp_space=lambda trial: {
                "per_device_train_batch_size": trial.suggest_int("per_device_train_batch_size", 8, 8),
                "seed": trial.suggest_int("seed", 4, 4),
            },
            direction="maximize",
            n_trials=1,
        )
        pretraining_trainer(tmp_path / "alone", max_steps=1, per_device_train_batch_size=8, seed=4).train()
        assert weights_of(tmp_path / "search/run-0") == weights_of(tmp_path / "alone")
        assert trainer.args.seed == 3
        again = pretraining_trainer(tmp_path / "again", seed=3)
        assert trainer.sampler.plan(0)[0].tolist() == again.sampler.plan(0)[0].tolist()


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"backend": "ray"}, "works with backend='optuna', got 'ray'"),
            ({"n_jobs": 2}, "n_jobs=1"),
            ({"pruner": object()}, "Trials are not pruned"),
        ],
    )
    def test_what_a_search_cannot_do(self, tmp_path, given, message):
        with pytest.raises(ValueError, match=message):
            small_trainer(tmp_path, trainer_model_init=new_model).hyperparameter_search(**given)

    def test_without_a_new_model_for_every_trial(self, tmp_path):
        with pytest.raises(RuntimeError, match="model_init="):
            small_trainer(tmp_path).hyperparameter_search()

    def test_what_trials_cannot_differ_in(self, tmp_path):
        args = RecformerFinetuningArguments(output_dir=str(tmp_path), use_cpu=True)
        with pytest.raises(ValueError, match=r"bf16 cannot differ between trials\. These can: learning_rate, "):
            args.with_settings({"bf16": True})
        with pytest.raises(ValueError, match="stage1_freeze must be one of"):
            args.with_settings({"stage1_freeze": "words"})
        changed = args.with_settings({"num_train_epochs": 3, "per_device_train_batch_size": 4.0, "optim": "sgd"})
        assert (changed.num_train_epochs, changed.per_device_train_batch_size) == (3.0, 4)
        assert changed.optim.value == "sgd" != args.optim.value
