"""The k-core: a fixed point, and the largest one."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.k_core import k_core


def naive_k_core(pairs: list[tuple[int, int]], min_user: int, min_item: int) -> list[tuple[int, int]]:
    """The definition, one removal at a time."""
    pairs = list(pairs)
    while True:
        users, items = Counter(user for user, _ in pairs), Counter(item for _, item in pairs)
        for pair in pairs:
            if users[pair[0]] < min_user or items[pair[1]] < min_item:
                pairs.remove(pair)
                break
        else:
            return pairs


@settings(max_examples=80, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=50),
    min_user=st.integers(1, 4),
    min_item=st.integers(1, 4),
)
def test_the_k_core_is_a_fixed_point_and_the_largest_one(pairs, min_user, min_item):
    users = np.array([user for user, _ in pairs], dtype=np.int32)
    items = np.array([item for _, item in pairs], dtype=np.int32)
    kept, rounds = k_core(users, items, min_user, min_item)
    core = [pairs[position] for position in kept]
    assert all(count >= min_user for count in Counter(user for user, _ in core).values())
    assert all(count >= min_item for count in Counter(item for _, item in core).values())
    assert core == naive_k_core(pairs, min_user, min_item)
    assert rounds[0][0] == len(pairs)
    assert rounds[-1] == (len(core), len({user for user, _ in core}), len({item for _, item in core}))


def test_a_chain_of_removals_takes_a_round_a_link():
    # Item 3 is too rare; without it user 2 is too short; without user 2 item 2 is too rare ...
    users, items = np.array([0, 0, 1, 1, 2, 2, 3, 3]), np.array([0, 1, 1, 2, 2, 3, 0, 0])
    kept, rounds = k_core(users, items, 2, 2)
    assert [interactions for interactions, _, _ in rounds] == [8, 7, 6, 5, 4, 3, 2]
    assert kept.tolist() == [6, 7]


def test_rounds_of_the_k_core_are_logged(caplog):
    logger = logging.getLogger("recformer_hf.data.k_core")
    caplog.set_level(logging.INFO, logger=logger.name)
    logger.addHandler(caplog.handler)
    try:
        k_core(np.array([0, 0]), np.array([0, 1]), 1, 1)
    finally:
        logger.removeHandler(caplog.handler)
    assert "2 interactions, 1 users, 2 items" in caplog.text
