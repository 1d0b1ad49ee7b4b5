"""Pictures of a run: which numbers are drawn, and that a run without matplotlib goes on without them."""

from __future__ import annotations

import builtins
import math

import pytest

from recformer_hf.training.publishing import curves
from recformer_hf.training.publishing.curves import loss_curves, metric_curves, save_curves, stage_starts

STAGES = [
    {"stage": 1, "step": 5, "loss": 3.0, "learning_rate": 1e-3, "grad_norm": 2.0, "tokens_per_second": 9.0},
    {"stage": 1, "step": 10, "eval_loss": 2.5, "eval_ndcg@10": 0.1, "eval_auc": 0.9, "eval_mrr@10": 0.1,
     "eval_mrr": 0.2, "eval_runtime": 1.0, "eval_samples_per_second": 5.0},
    {"stage": 1, "step": 10, "train_loss": 2.9, "train_runtime": 1.0},
    {"stage": 2, "step": 5, "loss": 2.0},
    {"stage": 2, "step": 8, "eval_loss": 1.5, "eval_ndcg@10": 0.3},
]  # fmt: skip
PRETRAINING = [
    {"step": 0, "eval_loss": 9.0, "eval_contrastive_loss": 6.0, "eval_mlm_loss": 3.0, "eval_mlm_item_loss": 1.0,
     "eval_accuracy": 0.1, "eval_kitchen_ndcg@10": 0.2, "eval_kitchen_test_auc": 0.5, "eval_kitchen_mrr": 0.5},
    {"step": 4, "loss": 8.0, "contrastive_loss": 5.0, "mlm_loss": 3.0, "mlm_context_loss": 2.0},
]  # fmt: skip


def test_steps_of_a_later_stage_count_from_the_end_of_the_one_before():
    assert stage_starts(STAGES) == {1: 0, 2: 10}
    assert stage_starts(PRETRAINING) == {1: 0}
    assert stage_starts([]) == {1: 0}


def test_losses_break_where_a_stage_begins_from_weights_of_its_own():
    losses = loss_curves(STAGES)
    assert set(losses) == {"training", "validation"}
    steps, values = losses["training"]
    assert steps == [5, 10, 15]
    assert values[0] == 3.0
    assert math.isnan(values[1])
    assert values[2] == 2.0


def test_losses_of_pretraining_are_drawn_with_their_terms():
    names = {f"{kind}{term}" for kind in ("training", "validation") for term in ("", ", contrastive", ", mlm")}
    assert set(loss_curves(PRETRAINING)) == names


def test_metrics_leave_out_what_would_flatten_them_or_is_drawn_elsewhere():
    assert set(metric_curves(STAGES)) == {"ndcg@10", "mrr"}
    assert metric_curves(STAGES)["ndcg@10"][0] == [10, 10, 18]
    assert set(metric_curves(PRETRAINING)) == {"accuracy"}


def test_the_same_log_gives_the_same_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("first", "second"):
        assert save_curves(STAGES, tmp_path / name, best=(2, 8), metric="ndcg@10") == ["loss.png", "metrics.png"]
    for picture in ("loss.png", "metrics.png"):
        content = (tmp_path / "first" / picture).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert content == (tmp_path / "second" / picture).read_bytes()


def test_nothing_logged_nothing_drawn(tmp_path):
    assert save_curves([], tmp_path) == []
    assert save_curves([{"step": 3, "train_runtime": 1.0}], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_a_log_line_says_what_to_install(tmp_path, monkeypatch):
    original, messages = builtins.__import__, []

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.setattr(curves.logger, "warning", messages.append)
    assert save_curves(STAGES, tmp_path) == []
    assert "pip install recformer-hf[train]" in messages[0]
    assert list(tmp_path.iterdir()) == []
