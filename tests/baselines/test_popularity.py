"""Popularity counts training items."""

from __future__ import annotations

import pytest

from recformer_hf.baselines import Popularity
from tests.support.baselines import HISTORIES, ndcg_on_scientific, needs_scientific, shop


def test_popularity_counts_training_items() -> None:
    scores = Popularity().fit(shop([[0, 1, 0], [1, 3], [1]])).scores(HISTORIES)
    assert scores.tolist() == [[2, 3, 0, 1, 0, 0]] * 3


def test_scores_need_a_fit() -> None:
    with pytest.raises(RuntimeError, match=r"call fit\(dataset\) first"):
        Popularity().scores(HISTORIES)


@needs_scientific
def test_known_figure_on_scientific() -> None:
    assert ndcg_on_scientific(Popularity()) == pytest.approx(0.0171, abs=0.0002)
