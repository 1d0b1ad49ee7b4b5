"""Text neighbours recommend what has a similar text to the items of the history."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.baselines import TextNeighbours
from recformer_hf.memory.text_index import TextIndex
from recformer_hf.memory.text_neighbours import whitened
from tests.support.baselines import HISTORIES, TEXTS, ndcg_on_scientific, needs_scientific, shop


def test_scores_of_words_by_hand() -> None:
    """Of item 0, item 4 has the same words, items 1 and 2 share some, and the other two none."""
    cosines = TextIndex.build(TEXTS).cosines(0)
    weights = np.exp((cosines[1:] - 1) / 0.1)
    expected = np.where(cosines[1:] > 0, weights / weights.sum(), 0)
    scores = TextNeighbours().fit(shop([[0]])).scores(HISTORIES)
    older = TextNeighbours().fit(shop([[0]])).scores([np.array([3]), np.array([0])])
    assert scores[0][1:] == pytest.approx(expected, abs=1e-6)
    assert scores[0][0] == 0
    assert scores[0] == pytest.approx(np.exp(-0.8) * older[0] + older[1], abs=1e-6)
    assert not scores[2].any()


def test_scores_of_vectors_are_whitened() -> None:
    vectors = np.random.default_rng(0).standard_normal((6, 4))
    white = whitened(vectors, 0.25)
    found = TextNeighbours(torch.from_numpy(vectors)).fit(shop([[0]])).scores(HISTORIES)
    assert np.array_equal(found, TextNeighbours(white, whitening=None).fit(shop([[0]])).scores(HISTORIES))
    plain = TextNeighbours(vectors, whitening=None).fit(shop([[0]])).scores(HISTORIES)
    assert not np.allclose(found, plain)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    weights = np.exp((np.delete(units @ units[1], 1) - 1) / 0.1)
    assert np.delete(plain[1], 1) == pytest.approx(weights / weights.sum(), abs=1e-5)


def test_one_vector_an_item() -> None:
    with pytest.raises(ValueError, match="3 vectors for 6 items"):
        TextNeighbours(np.eye(3)).fit(shop([[0]]))
    with pytest.raises(ValueError, match="finite"):
        TextNeighbours(np.full((6, 2), np.nan))


def test_scores_need_a_fit() -> None:
    with pytest.raises(RuntimeError, match=r"call fit\(dataset\) first"):
        TextNeighbours().scores(HISTORIES)


@needs_scientific
def test_known_figure_on_scientific() -> None:
    assert ndcg_on_scientific(TextNeighbours()) == pytest.approx(0.0752, abs=0.0005)
