"""Co-occurrence recommends what stood near the items of the history."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recformer_hf.baselines import Cooccurrence
from tests.support.baselines import HISTORIES, ndcg_on_scientific, needs_scientific, shop


def test_scores_by_hand() -> None:
    """Row 0 is [0, 1, .5] divided by the fourth root of 1.5, row 1 [1, 0, 1] by that of 2."""
    fitted = Cooccurrence(window=2, decay=0.5, history_decay=math.log(4)).fit(shop([[0, 1, 2]]))
    scores = fitted.scores([np.array([0, 1]), np.array([3])])
    zero, one = np.array([0, 1, 0.5, 0, 0, 0]) / 1.5**0.25, np.array([1, 0, 1, 0, 0, 0]) / 2**0.25
    assert scores[0] == pytest.approx(zero / 4 + one, rel=1e-6)
    assert not scores[1].any()


def test_directed_looks_forward_only() -> None:
    fitted = Cooccurrence(directed=True, power=0).fit(shop([[0, 1, 2, 3, 4]]))
    assert fitted.scores([np.array([1])])[0].tolist() == [0, 0, 1, 0.5, 0.25, 0]
    assert (fitted.window, fitted.decay, fitted.history_decay) == (3, 0.5, 0.8)


def test_scores_need_a_fit() -> None:
    with pytest.raises(RuntimeError, match=r"call fit\(dataset\) first"):
        Cooccurrence().scores(HISTORIES)


@needs_scientific
def test_known_figure_on_scientific() -> None:
    assert ndcg_on_scientific(Cooccurrence()) == pytest.approx(0.0830, abs=0.0005)
    assert ndcg_on_scientific(Cooccurrence(), exclude_history=True) == pytest.approx(0.0925, abs=0.0005)
