"""LastItemText is a cosine of texts or of given vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.baselines import LastItemText
from recformer_hf.data.dataset import Sequences, SequentialDataset
from recformer_hf.items.catalog import ItemCatalog
from tests.support.baselines import HISTORIES, TEXTS, ndcg_on_scientific, needs_scientific, shop


def test_text_is_tf_idf_cosine() -> None:
    """The definition once more, dense: sublinear tf, smoothed idf, words of two letters or more."""
    words = sorted({"red", "iron", "pan", "blue", "silk", "scarf", "wool", "hat"})
    lists = [["red", "iron", "pan"], ["blue", "iron", "pan"], ["red", "silk", "scarf"], ["wool", "hat", "hat"],
             ["red", "iron", "pan"], []]  # fmt: skip
    tf = np.array([[words_of.count(word) for word in words] for words_of in lists], float)
    idf = 1 + np.log((1 + 6) / (1 + (tf > 0).sum(0)))
    vectors = np.where(tf > 0, 1 + np.log(np.maximum(tf, 1)), 0) * idf
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    texts = [*TEXTS[:3], "wool hat HAT", *TEXTS[4:]]
    scores = LastItemText().fit(shop([[0]], texts)).scores(HISTORIES)
    assert scores == pytest.approx((vectors @ vectors.T)[[0, 1, 5]], abs=1e-6)
    assert scores.dtype == np.float32


def test_items_of_equal_text_tie() -> None:
    scores = LastItemText().fit(shop([[0]])).scores([np.array([1]), np.array([2]), np.array([0])])
    assert np.array_equal(scores[:, 0], scores[:, 4])


def test_all_attributes_count_and_their_names_do_not() -> None:
    catalog = ItemCatalog.from_items(
        {"a": {"title": "pan", "brand": "title"}, "b": {"brand": "title"}, "c": {"title": "hat"}}
    )
    dataset = SequentialDataset(catalog, Sequences.from_lists(["u"], [[0]]), None, None, {})
    scores = LastItemText().fit(dataset).scores([np.array([1])])[0]
    assert scores[0] > 0.5
    assert scores[2] == 0


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_vectors_in_place_of_words(kind) -> None:
    vectors = kind([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [0.0, 0.0], [-1.0, 0.0], [5.0, 0.0]])
    scores = LastItemText(vectors).fit(shop([[0]])).scores([np.array([1, 0]), np.array([3])])
    assert scores == pytest.approx(np.array([[1, 0, 2**-0.5, 0, -1, 1], [0] * 6]), abs=1e-6)


def test_says_what_is_wrong() -> None:
    dataset = shop([[0]])
    with pytest.raises(ValueError, match="2 vectors for 6 items"):
        LastItemText(np.ones((2, 3))).fit(dataset)
    with pytest.raises(ValueError, match=r"finite, got the shape \[3\]"):
        LastItemText(np.ones(3))
    with pytest.raises(ValueError, match="and finite"):
        LastItemText(np.full((6, 2), np.nan))
    with pytest.raises(ValueError, match="History 1 is empty"):
        LastItemText().fit(dataset).scores([np.array([0]), np.array([], int)])


def test_scores_need_a_fit() -> None:
    with pytest.raises(RuntimeError, match=r"call fit\(dataset\) first"):
        LastItemText().scores(HISTORIES)


@needs_scientific
@pytest.mark.parametrize(
    ("exclude_history", "expected"),
    [
        (False, 0.0510),
        (True, 0.0691),  # a target in its own history is a miss; as a candidate it would make .0718
    ],
)
def test_known_figures_on_scientific(exclude_history: bool, expected: float) -> None:
    assert ndcg_on_scientific(LastItemText(), exclude_history) == pytest.approx(expected, abs=0.0002)
