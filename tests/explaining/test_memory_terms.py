"""Counts of a memory with and without each item, against the memory's own scores."""

from __future__ import annotations

import numpy as np
import pytest

from recformer_hf.explaining.memory_terms import memory_terms
from recformer_hf.memory.memory import Memory, MemoryPart
from recformer_hf.memory.sparse_rows import SparseRows
from tests.support.memories import some_memory

NUM_ITEMS = 9
HISTORIES = {
    "of known items": [4, 1, 7, 2],
    "with an item twice": [3, 5, 3, 0],
    "with items that are not in the catalogue": [-1, 6, -1, 2, 8, -1],
    "of one item": [5],
    "of none that is known": [-1, -1],
}


def scores(memory: Memory, history: list[int]) -> np.ndarray:
    return memory.scores([np.array([row for row in history if row >= 0], np.int64)])[0].double().numpy()


@pytest.mark.parametrize("name", HISTORIES)
@pytest.mark.parametrize(
    "settings", [{}, {"history_factor": 0.0}, {"history_factor": 1.0, "cold_factor": 1.0}], ids=str
)
def test_equals_the_memory_on_what_is_left(name, settings):
    memory, history = some_memory(NUM_ITEMS, seed=2, **settings), HISTORIES[name]
    found = memory_terms(memory, np.array(history), np.arange(NUM_ITEMS))
    np.testing.assert_allclose(found.whole, scores(memory, history), rtol=1e-5, atol=1e-6)
    for place in range(len(history)):
        left = history[:place] + history[place + 1 :]
        np.testing.assert_allclose(found.without[place], scores(memory, left), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.terms.sum((0, 1)), found.whole, rtol=1e-12)
    gain = memory.strength * np.log1p(scores(memory, history))
    np.testing.assert_allclose(found.gain(), gain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.shares().sum((0, 1)), found.gain(), rtol=1e-12)


def test_by_hand():
    """Item 2 follows items 0 and 1, once and three times."""
    rows = SparseRows.from_triples(np.array([0, 1]), np.array([2, 2]), np.array([1.0, 3.0]), 3, 3)
    memory = Memory((MemoryPart("directed", rows, np.log(2), 5.0),), strength=2.0, history_factor=1.0)
    found = memory_terms(memory, np.array([0, 1]), np.array([2, -1]))
    assert found.terms[0, :, 0] == pytest.approx([2.5, 15.0])  # the older item weighs half
    assert found.whole == pytest.approx([17.5, 0.0])  # nothing is known of a new item
    assert found.without[:, 0] == pytest.approx([15.0, 5.0])  # item 0 is the newest then
    assert found.gain()[0] == pytest.approx(2 * np.log(18.5))
    assert found.shares()[0, :, 0] == pytest.approx([2 * np.log(18.5) / 7, 2 * np.log(18.5) * 6 / 7])
    assert found.names == ("directed",)


def test_what_nothing_points_to_is_exactly_zero():
    """Differences of sums must not leave rounding errors, of which the logarithm would make a share."""
    memory = some_memory(NUM_ITEMS, seed=3)
    found = memory_terms(memory, np.array([4, 1, 7, 2, 2, 0, 8]), np.arange(NUM_ITEMS))
    alone = np.array([scores(memory, [row]) for row in (4, 1, 7, 2, 2, 0, 8)])
    for place in range(7):
        others = np.delete(alone, place, axis=0).sum(0)
        assert (found.without[place][others == 0] == 0).all()


def test_a_decay_that_leaves_only_the_newest_item():
    rows = SparseRows.from_triples(np.array([0, 1]), np.array([2, 2]), np.array([1.0, 3.0]), 3, 3)
    memory = Memory((MemoryPart("directed", rows, 1e4, 1.0),), history_factor=1.0)
    found = memory_terms(memory, np.array([0, 0, 1]), np.array([2]))
    assert found.whole == pytest.approx([3.0])
    assert found.without[:, 0] == pytest.approx([3.0, 3.0, 1.0])
