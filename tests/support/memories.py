"""Memories of small shops."""

from __future__ import annotations

import numpy as np

from recformer_hf.memory.memory import Memory


def some_memory(num_items: int, seed: int = 0, **settings: float) -> Memory:
    """Of random sequences and vectors, with a history factor that matters."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 9, 12)
    items = random.integers(0, num_items, int(lengths.sum())).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    vectors = random.normal(size=(num_items, 8)).astype(np.float32)
    return Memory.fit(items, offsets, num_items, vectors=vectors, **{"history_factor": 0.5, **settings})


def assert_same(found: Memory | None, expected: Memory | None) -> None:
    """Every number is the same."""
    assert found is not None
    assert expected is not None
    histories = [np.arange(min(4, found.num_items)), np.array([found.num_items - 1]), np.array([], np.int64)]
    assert np.array_equal(found.scores(histories), expected.scores(histories))
    assert len(found.parts) == len(expected.parts)
    for mine, theirs in zip(found.parts, expected.parts, strict=True):
        assert (mine.name, mine.decay, mine.weight) == (theirs.name, theirs.decay, theirs.weight)
        for name in ("offsets", "columns", "values"):
            assert np.array_equal(getattr(mine.rows, name), getattr(theirs.rows, name))
