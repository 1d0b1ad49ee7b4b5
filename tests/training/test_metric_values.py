"""training/metric_values.py: whatever computed a metric, it is a float; what is none is named."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from recformer_hf.training import metric_values
from recformer_hf.training.metric_values import plain_metrics
from tests.support.training import evaluations, small_trainer


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3.0), (np.float32(0.5), 0.5), (np.bool_(True), 1.0), (np.array(2.0), 2.0), (np.array([7]), 7.0),
        (torch.tensor(0.25), 0.25), (torch.tensor([4]), 4.0), (torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
        (True, 1.0), (5, 5.0), (Fraction(1, 4), 0.25),
    ],
)  # fmt: skip
def test_numbers_become_floats(value, expected):
    found = plain_metrics({"hits": value}, taken=["loss"])
    assert found == {"hits": expected}
    assert type(found["hits"]) is float


@pytest.mark.parametrize("value", [{"a": 1}, [1.0, 2.0], np.ones(2), torch.ones(2), None, "0.5", 1j, Decimal("0.5")])
def test_what_is_no_number_is_named(value):
    with pytest.raises(TypeError, match=r"must return numbers, got .* for 'hits'"):
        plain_metrics({"hits": value}, taken=[])


@pytest.mark.parametrize("found", [None, 0.5, [("hits", 1)]])
def test_what_is_no_dictionary(found):
    with pytest.raises(TypeError, match="must return a dictionary"):
        plain_metrics(found, taken=[])


def test_names():
    assert plain_metrics({"eval_hits": 1}, taken=[]) == {"hits": 1.0}
    for name in ("loss", "eval_loss", "ndcg@10", "runtime"):
        with pytest.raises(ValueError, match=f"returns '{name}', a name that is taken"):
            plain_metrics({name: 1.0}, taken=["loss", "ndcg@10"])
    with pytest.raises(TypeError, match="got the name 3"):
        plain_metrics({3: 1.0}, taken=[])


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), torch.tensor(float("-inf"))])
def test_what_is_not_finite_is_missing_and_named(value, monkeypatch):
    warned: list[str] = []
    monkeypatch.setattr(metric_values.logger, "warning_once", warned.append)
    assert plain_metrics({"hits": value, "misses": 2}, taken=[]) == {"misses": 2.0}
    assert ["'hits'" in warning for warning in warned] == [True]


class TestInARun:
    def test_numbers_of_numpy_and_torch_are_logged_and_saved(self, tmp_path):
        def compute_metrics(prediction):
            hits = prediction.predictions <= 10
            return {"hits": hits.sum(), "share": np.float32(hits.mean()), "count": torch.tensor(len(hits))}

        trainer = small_trainer(
            tmp_path / "run", skip_stage2=True, num_train_epochs=1, metric_for_best_model="share",
            trainer_compute_metrics=compute_metrics,
        )  # fmt: skip
        trainer.train()
        metrics = trainer.finish()["validation"]["metrics"]
        assert metrics["count"] == 48.0
        assert metrics["share"] == pytest.approx(metrics["recall@10"])
        assert trainer.predict(trainer.dataset.test).metrics["test_count"] == 48.0

    def test_a_metric_that_should_choose_must_have_a_value(self, tmp_path):
        for value, message in ((float("nan"), "no value"), (None, "must return numbers")):
            trainer = small_trainer(
                tmp_path / message, metric_for_best_model="mine", eval_strategy="steps", eval_steps=1,
                trainer_compute_metrics=lambda prediction, value=value: {"mine": value},
            )  # fmt: skip
            with pytest.raises((ValueError, TypeError), match=message):
                trainer.train()
            assert len(evaluations(trainer)) <= 1
