"""training/pretraining/evaluation.py: what is evaluated, and what may choose the best weights."""

from __future__ import annotations

import pytest

from recformer_hf.training.pretraining.evaluation import with_metric
from tests.support.pretraining import domain, pretraining_arguments, pretraining_trainer


def test_nothing_to_evaluate(tmp_path):
    with pytest.raises(ValueError, match="nothing to evaluate"):
        pretraining_trainer(tmp_path, trainer_eval_dataset=None)


@pytest.mark.parametrize("metric", ["ndcg@10", "eval_kitchn_ndcg@10"])
def test_a_metric_that_is_not_evaluated(tmp_path, metric):
    with pytest.raises(ValueError, match=r"not evaluated. It can be accuracy, .*kitchen_ndcg@10"):
        pretraining_trainer(
            tmp_path, metric_for_best_model=metric, trainer_zero_shot_datasets={"kitchen": domain("kitchen", 20)}
        )


@pytest.mark.parametrize(
    ("settings", "metric"),
    [
        ({}, "kitchen_ndcg@20"),
        ({}, "kitchen_nonsense"),
        ({}, "kitchen_test_ndcg@10"),
        ({"zero_shot_splits": ["test"]}, "kitchen_ndcg@10"),
        ({"mlm_probability": 0.0}, "mlm_loss"),
        ({"trainer_eval_dataset": None}, "accuracy"),
    ],
)
def test_a_metric_that_these_settings_do_not_evaluate(tmp_path, settings, metric):
    targets = {"kitchen": domain("kitchen", 20)}
    with pytest.raises(ValueError, match=rf"'{metric}' is not evaluated\. It can be .*kitchen_(test_)?auc\."):
        pretraining_trainer(tmp_path, metric_for_best_model=metric, trainer_zero_shot_datasets=targets, **settings)


@pytest.mark.parametrize("settings", [{}, {"mlm_probability": 0.0}])
def test_every_metric_that_is_evaluated_can_choose(tmp_path, settings):
    settings = {**settings, "zero_shot_splits": ["validation", "test"], "ranking_ks": [5, 10]}
    settings["trainer_zero_shot_datasets"] = {"kitchen": domain("kitchen", 20)}
    trainer = pretraining_trainer(tmp_path, **settings)
    evaluated = {
        name.removeprefix("eval_")
        for name in trainer.evaluate()
        if not name.endswith(("_runtime", "_per_second", "epoch"))
    }
    with pytest.raises(ValueError, match="It can be") as error:
        pretraining_trainer(tmp_path, metric_for_best_model="none", **settings)
    assert set(str(error.value).rpartition("can be ")[2].rstrip(".").split(", ")) == evaluated


@pytest.mark.parametrize(
    ("validates", "targets", "metric", "greater"),
    [(True, [], "accuracy", True), (True, ["kitchen"], "accuracy", True), (False, ["kitchen"], None, None)],
)
def test_accuracy_on_the_domain_chooses_by_default(tmp_path, validates, targets, metric, greater):
    args = pretraining_arguments(tmp_path)
    found = with_metric(args, validates, targets)
    assert (found.metric_for_best_model, found.greater_is_better) == (metric, greater)
    assert args.metric_for_best_model is None  # the caller's arguments stay as they are


def test_without_evaluation_nothing_chooses(tmp_path):
    args = pretraining_arguments(tmp_path, eval_strategy="no", metric_for_best_model="accuracy")
    assert with_metric(args, True, []).metric_for_best_model is None


def test_only_the_ranked_splits_that_choose_are_part_of_the_fingerprint(tmp_path):
    targets = {"kitchen": domain("kitchen", 20), "music": domain("music", 20)}
    evaluation = pretraining_trainer(tmp_path, trainer_zero_shot_datasets=targets).eval_dataset
    chosen = {metric: evaluation.fingerprint(metric) for metric in ("accuracy", "kitchen_ndcg@10")}
    assert chosen["accuracy"]["ranked"] == {}
    assert chosen["kitchen_ndcg@10"]["ranked"].keys() == {"kitchen"}
    assert chosen["accuracy"]["domain"] == chosen["kitchen_ndcg@10"]["domain"]
