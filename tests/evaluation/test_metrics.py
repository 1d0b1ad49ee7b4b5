"""Metrics of ranks by hand, and the public replication's numbers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recformer_hf.evaluation import metrics as functions
from recformer_hf.evaluation.ranking import Ranking, rank_targets
from tests.support.models import GOLDEN

REFERENCE = json.loads((GOLDEN / "metrics.json").read_text())
NAMES = {"NDCG": "ndcg", "Recall": "recall", "MRR": "mrr", "AUC": "auc"}


def ranking_of(scores: torch.Tensor, targets: list[int], **options) -> Ranking:
    ranked = rank_targets(scores, torch.tensor(targets), **options)
    return Ranking.from_parts([(np.arange(len(targets)), *ranked, targets)])


def test_metrics_of_ranks_by_hand() -> None:
    ranks = np.array([1.0, 2.0, 3.0, 10.0, 11.0, math.inf])
    assert functions.ndcg(ranks, 10) == pytest.approx([1, 1 / math.log2(3), 0.5, 1 / math.log2(11), 0, 0])
    assert functions.recall(ranks, 10).tolist() == [1, 1, 1, 1, 0, 0]
    assert functions.recall(ranks, 1).tolist() == [1, 0, 0, 0, 0, 0]
    assert functions.reciprocal_rank(ranks) == pytest.approx([1, 1 / 2, 1 / 3, 1 / 10, 1 / 11, 0])
    assert functions.reciprocal_rank(ranks, 10) == pytest.approx([1, 1 / 2, 1 / 3, 1 / 10, 0, 0])
    assert functions.auc(ranks, np.full(6, 20)) == pytest.approx([1, 0.95, 0.9, 0.55, 0.5, 0])


def test_a_fractional_rank_is_taken_as_it_is() -> None:
    assert functions.ndcg(np.array([2.5]), 3)[0] == pytest.approx(1 / math.log2(3.5))
    assert functions.recall(np.array([10.5]), 10)[0] == 0


def test_names_of_metrics_in_order() -> None:
    assert functions.metric_names([10, 50]) == [
        "ndcg@10", "recall@10", "mrr@10", "ndcg@50", "recall@50", "mrr@50", "mrr", "auc",
    ]  # fmt: skip


@pytest.mark.parametrize("ks", [[0], [10, 10], [2.5], [True], [-1]])
def test_refuses_wrong_ks(ks: list) -> None:
    with pytest.raises(ValueError, match="expected different whole numbers of at least 1"):
        functions.metric_names(ks)


@pytest.mark.parametrize("name", ["ndcg", "ndcg@0", "ndcg@x", "recall@", "MRR", "precision@10", ""])
def test_refuses_unknown_metrics(name: str) -> None:
    with pytest.raises(ValueError, match="No metric"):
        functions.metric_values(name, np.ones(1), np.ones(1))


def test_no_users_have_no_mean() -> None:
    with pytest.raises(ValueError, match="no users"):
        functions.mean(np.zeros(0))


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=50), st.randoms())
def test_the_order_of_users_does_not_change_a_mean_by_a_bit(ranks: list[float], random) -> None:
    values = functions.reciprocal_rank(np.array(ranks))
    shuffled = values.tolist()
    random.shuffle(shuffled)
    assert functions.mean(np.array(shuffled)) == functions.mean(values)


@given(st.integers(1, 200), st.integers(1, 20))
def test_metrics_lie_between_0_and_1_and_fall_with_the_rank(num_candidates: int, k: int) -> None:
    ranks = np.arange(1, num_candidates + 1)
    for name in functions.metric_names([k]):
        values = functions.metric_values(name, ranks, np.full(num_candidates, num_candidates))
        assert values[0] == 1
        assert values.min() >= 0
        assert (np.diff(values) <= 0).all()


@pytest.mark.parametrize("case", sorted(REFERENCE["cases"]))
def test_the_replications_metrics(case: str) -> None:
    reference = REFERENCE["cases"][case]
    scores = torch.tensor(reference["scores"])
    masked_out = (scores <= -1e4).nonzero().unbind(1)  # how the replication leaves items out
    found = ranking_of(scores, reference["labels"], ties="optimistic", excluded=masked_out).metrics(REFERENCE["ks"])
    for name, expected in reference["metrics"].items():
        metric, _, k = name.partition("@")
        assert found[f"{NAMES[metric]}@{k}" if k else NAMES[metric]] == pytest.approx(expected, abs=1e-6), name


def test_the_replications_mean_over_users() -> None:
    """Three batches of 4, 4 and 1 users: the mean over users, not over batches."""
    reference = REFERENCE["averaging"]
    scores, targets = torch.tensor(reference["scores"]), torch.tensor(reference["labels"])
    parts = [
        (users, *rank_targets(scores[users], targets[users], ties="optimistic"), targets[users])
        for users in torch.arange(9).split(4)
    ]
    found = Ranking.from_parts(parts).metrics([5, 10])
    for name, expected in reference["metrics"].items():
        metric, _, k = name.partition("@")
        assert found[f"{NAMES[metric]}@{k}" if k else NAMES[metric]] == pytest.approx(expected, abs=1e-6), name
