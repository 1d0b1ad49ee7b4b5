"""Results on the card: tables of metrics, and what is said about the protocol."""

from __future__ import annotations

from recformer_hf.training.publishing.card_results import (
    eval_results,
    metrics_table,
    validation_results,
    zero_shot_results,
)


def test_groups_without_users_have_no_column():
    group = {"users": 2, "metrics": {"mrr": 0.5}, "intervals": {"mrr": [0.25, 0.75]}}
    text = metrics_table({"overall": group, "in_set": group, "cold": {"users": 0, "misses": 0}})
    assert text.splitlines()[0] == "|  | all (2 users) | in-set (2 users) |"
    assert text.splitlines()[2] == "| MRR | 0.5000 [0.2500, 0.7500] | 0.5000 [0.2500, 0.7500] |"


def test_zero_shot_shows_the_beginning_and_the_result():
    rows = [{"step": step, "epoch": step / 4, "kitchen_mrr": step / 10} for step in (0, 4, 8)]
    (text,) = zero_shot_results({"zero_shot": rows, "validation": {"step": 4}})
    assert text.splitlines()[-3:] == ["|  | step 0 | step 4 |", "| --- | --- | --- |",
                                      "| kitchen\\_mrr | 0.0000 | 0.4000 |"]  # fmt: skip
    assert zero_shot_results({}) == []


def test_zero_shot_tells_of_its_protocol():
    metrics = {"zero_shot": [{"step": 0, "epoch": 0.0, "kitchen_mrr": 0.1}]}
    (text,) = zero_shot_results(metrics)  # of an older run
    assert "history" not in text
    (text,) = zero_shot_results({**metrics, "zero_shot_protocol": {"exclude_history": True, "ties": "optimistic"}})
    assert "nothing finetuned, history excluded, at the first evaluation" in text
    assert "takes the best of their places." in text


def test_the_hub_gets_the_metrics_over_all_users_of_each_protocol():
    reports = {name: {"overall": {"metrics": {"mrr": value}}} for name, value in (("history_kept", 0.1234567),)}
    (result,) = eval_results({"test": reports}, "A Shop", None)
    assert (result.metric_type, result.metric_name, result.metric_value) == ("mrr", "MRR (history kept)", 0.123457)
    assert (result.dataset_name, result.dataset_type, result.dataset_split) == ("A Shop", "a-shop", "test")
    (result,) = eval_results({"test": reports}, "A Shop", "someone/shop")
    assert result.dataset_type == "someone/shop"
    assert eval_results({}, "A Shop", None) == []


def test_validation_names_the_weights_and_leaves_zero_shot_metrics_to_their_table():
    validation = {"dataset": "a_shop", "step": 1200, "chosen_by": "eval_accuracy",
                  "metrics": {"accuracy": 0.5, "kitchen_mrr": 0.1}}  # fmt: skip
    metrics = {"validation": validation, "zero_shot": [{"step": 1200, "epoch": 1.0, "kitchen_mrr": 0.1}]}
    (text,) = validation_results(metrics)
    assert text.startswith("Validation on a\\_shop")
    assert "step 1,200, the best Accuracy" in text
    assert text.endswith(": Accuracy 0.5000.")
    assert validation_results({}) == []
