"""Markov counts transitions, and popularity decides between equal counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.baselines import Markov
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.evaluation import rank_split, rank_targets
from tests.support.baselines import HISTORIES, ndcg_on_scientific, needs_scientific, shop


def test_markov_counts_what_followed() -> None:
    scores = Markov().fit(shop([[0, 1, 0, 1], [0, 2], [3, 0], [1, 1]])).scores([*HISTORIES, np.zeros(0, int)])
    popularity = np.array([4, 4, 1, 1, 0, 0]) / 5
    after_0, after_1 = np.array([0, 2, 1, 0, 0, 0]), np.array([1, 1, 0, 0, 0, 0])
    assert scores == pytest.approx(np.stack([after_0, after_1, 0 * after_0, 0 * after_0]) + popularity)


def test_markov_lets_popularity_decide_between_equal_counts_only() -> None:
    """2 followed 0 twice, 1 once: the popularity of 1 does not lift it."""
    train = [[0, 2], [0, 2], [0, 1], *([[1]] * 50)]
    assert np.argsort(-Markov().fit(shop(train)).scores([np.array([0])])[0])[:2].tolist() == [2, 1]


def test_markov_of_sequences_of_one_item() -> None:
    assert Markov().fit(shop([[0], [0], [1]])).scores([np.array([0])])[0].tolist() == pytest.approx(
        [2 / 3, 1 / 3, *[0] * 4]
    )


def test_markov_ranks_as_a_whole_matrix_of_transitions_does() -> None:
    dataset = load_demo_domain("kitchen", num_users=300)
    train, num_items = dataset.train, len(dataset.catalog)
    transitions = np.tile(1e-6 * np.bincount(train.items, minlength=num_items), (num_items, 1))
    for row in range(len(train)):
        np.add.at(transitions, (train.history(row)[:-1], train.history(row)[1:]), 1)
    newest = torch.from_numpy(dataset.test.items[dataset.test.offsets[1:] - 1].astype(np.int64))
    expected = rank_targets(torch.from_numpy(transitions)[newest], torch.from_numpy(dataset.test.targets))
    found = rank_split(Markov().fit(dataset), dataset.test)
    assert np.array_equal(found.ranks, expected[0].numpy())
    assert np.array_equal(found.recommended, expected[2].numpy())


def test_scores_need_a_fit() -> None:
    with pytest.raises(RuntimeError, match=r"call fit\(dataset\) first"):
        Markov().scores(HISTORIES)


@needs_scientific
def test_known_figure_on_scientific() -> None:
    assert ndcg_on_scientific(Markov()) == pytest.approx(0.0564, abs=0.0002)
