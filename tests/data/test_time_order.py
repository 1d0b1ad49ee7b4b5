"""Interactions at the same time are ordered by a rule."""

from __future__ import annotations

import numpy as np
import pytest

from recformer_hf.data.time_order import tied_share
from tests.support.data_sources import DAY
from tests.support.prepared import keep_all, sequences_of


def test_ties_follow_their_rule():
    log = [("u", item, DAY) for item in ("c", "a", "d", "b")]
    assert [item for item, _ in sequences_of(keep_all(log, ties="file"))["u"]] == ["c", "a", "d", "b"]
    assert [item for item, _ in sequences_of(keep_all(log, ties="item_id"))["u"]] == ["a", "b", "c", "d"]


def test_random_ties_prefer_no_order_of_two_items_and_change_with_the_seed():
    users = [f"user {number}" for number in range(2000)]
    log = [(user, item, DAY) for user in users for item in ("a", "b")]
    firsts = [[rows[0][0] for rows in sequences_of(keep_all(log, seed=seed)).values()] for seed in (0, 1)]
    for first in firsts:
        assert 900 < first.count("a") < 1100  # binomial: 1,000 and a standard deviation of 22
    assert 900 < sum(one == other for one, other in zip(*firsts, strict=True)) < 1100


def test_the_share_of_tied_timestamps():
    users, times = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 2, 2, 3, 3])
    assert tied_share(users, times) == pytest.approx(2 / 6)
    assert tied_share(users[:0], times[:0]) == 0.0
    log = [("u", "a", 1), ("u", "b", 1), ("u", "c", 2), ("v", "a", 1)]
    assert keep_all(log).info["share_tied_timestamps"] == 0.5
