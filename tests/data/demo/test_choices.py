"""The choices of the demo shop: drawn from the documented probabilities, user by user."""

from __future__ import annotations

import numpy as np

from recformer_hf.data.demo import DemoOracle
from recformer_hf.data.demo.choices import RECENCY_WEIGHTS, choice_weights
from recformer_hf.data.demo.shop import build_shop
from tests.support.demo_shop import histories_of, load


def test_more_users_leave_items_and_first_users_as_they_are() -> None:
    few, many = load("outdoor", num_users=30), load("outdoor", num_users=2000)
    assert few.catalog == many.catalog
    for split in ("train", "validation", "test"):
        assert few.splits[split] == many.splits[split].select(range(30))


def test_the_next_choice_is_drawn_from_the_oracles_scores() -> None:
    """What the choices' probabilities come to is what they should: the mean of -log p is the mean entropy."""
    dataset, oracle = load("music"), DemoOracle("music")
    for split, released in (("validation", "warm"), ("test", "all")):
        scores = oracle.scores(histories_of(dataset, split), released=released)
        assert np.allclose(scores.sum(1), 1)
        assert (scores[:, oracle.is_cold] > 0).all() == (released == "all")
        surprise = -np.log(scores[np.arange(len(scores)), dataset.splits[split].targets])
        logs = np.log(np.where(scores > 0, scores, 1))
        entropy = -(scores * logs).sum(1)
        variance = (scores * logs**2).sum(1) - entropy**2
        assert abs((surprise - entropy).sum()) < 4 * np.sqrt(variance.sum())
        wrong = oracle.scores(histories_of(dataset, split)[::-1], released=released)  # other users' histories
        surprise = -np.log(wrong[np.arange(len(wrong)), dataset.splits[split].targets])
        assert (surprise - entropy).sum() > 40 * np.sqrt(variance.sum())


def test_weights_follow_the_points_of_the_docs() -> None:
    """An item owned and a strange one, by hand: 100 * exp(points / 33), rounded."""
    shop = build_shop("kitchen", 0, 50)
    newest = np.full((2, len(RECENCY_WEIGHTS)), -1)
    newest[1, :2] = 7, 3
    none, two = choice_weights(shop, newest)
    assert np.array_equal(none, np.rint(100 * np.exp(shop.appeal / 33.0)))
    taste = 100 * (6 * shop.shared[7] + 5 * shop.shared[3]) // (24 + 6 + 5)
    points = np.maximum(taste + shop.appeal - 40 * np.isin(np.arange(50), [7, 3]), 0)
    assert np.array_equal(two, np.rint(100 * np.exp(points / 33.0)))
