"""Co-occurrence against counting in plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from recformer_hf.memory import cooccurrence as module
from recformer_hf.memory.cooccurrence import cooccurrence
from tests.memory.test_sparse_rows import dense


def flat(sequences: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([np.zeros(0, int), *sequences]).astype(np.int32), np.cumsum([0, *map(len, sequences)])


def plainly(sequences: list[list[int]], size: int, window: int, decay: float, directed: bool) -> np.ndarray:
    counts = np.zeros((size, size))
    for sequence in sequences:
        for later in range(len(sequence)):
            for earlier in range(max(0, later - window), later):
                a, b, weight = sequence[earlier], sequence[later], decay ** (later - earlier - 1)
                if a != b:
                    counts[a, b] += weight
                    counts[b, a] += 0 if directed else weight
    return counts


def test_counts_by_hand() -> None:
    """0 and 2 stand two apart, so they count half; 0 with itself counts nothing; 3 and 0 are in other sequences."""
    counts = cooccurrence(*flat([[0, 1, 2], [0, 0], [3]]), 4, window=2, decay=0.5, power=0)
    assert dense(counts).tolist() == [[0, 1, 0.5, 0], [1, 0, 1, 0], [0.5, 1, 0, 0], [0, 0, 0, 0]]
    forward = cooccurrence(*flat([[0, 1, 2], [0, 0], [3]]), 4, window=2, decay=0.5, directed=True, power=0)
    assert dense(forward).tolist() == [[0, 1, 0.5, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_a_row_is_divided_by_a_power_of_its_sum() -> None:
    counts = cooccurrence(*flat([[0, 1, 2]]), 3, window=1, decay=1.0)
    assert dense(counts) == pytest.approx(np.array([[0, 1, 0], [2**-0.25, 0, 2**-0.25], [0, 1, 0]]))


@pytest.mark.parametrize("pairs_at_once", [1, 50, 1 << 24])
@pytest.mark.parametrize(("window", "decay", "directed"), [(1, 1.0, True), (3, 0.5, True), (10, 0.7, False)])
def test_counts_are_those_of_plain_loops(
    monkeypatch: pytest.MonkeyPatch, pairs_at_once: int, window: int, decay: float, directed: bool
) -> None:
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", pairs_at_once)
    draw = np.random.default_rng(0)
    sequences = [draw.integers(0, 15, draw.integers(1, 30)).tolist() for _ in range(20)]
    counts = cooccurrence(*flat(sequences), 17, window=window, decay=decay, directed=directed, power=0)
    assert dense(counts) == pytest.approx(plainly(sequences, 17, window, decay, directed), rel=1e-6)


def test_without_sequences_or_pairs_all_rows_are_empty() -> None:
    assert cooccurrence(*flat([]), 3).num_entries == 0
    assert cooccurrence(*flat([[0], [1], [1, 1]]), 3).num_entries == 0


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="window is 0; expected at least 1"):
        cooccurrence(*flat([[0, 1]]), 2, window=0)
    for decay in (0, 1.5):
        with pytest.raises(ValueError, match=r"expected more than 0 and at most 1"):
            cooccurrence(*flat([[0, 1]]), 2, decay=decay)
    with pytest.raises(ValueError, match="Items go from 0 to 2; expected 0 to 1"):
        cooccurrence(*flat([[0, 2]]), 2)


@pytest.mark.parametrize(
    ("items", "offsets", "error", "problem"),
    [
        ([0.0, 1.0], [0, 2], TypeError, r"items are float64 of shape \[2\]; expected integers"),
        ([[0, 1]], [0, 2], TypeError, r"items are int64 of shape \[1, 2\]"),
        ([0, 1], [0.0, 2.0], TypeError, "offsets are float64"),
        ([0, 1], [0, 1], ValueError, "Offsets must ascend from 0 to 2, the number of items; got 0 to 1"),
        ([0, 1], [1, 2], ValueError, "got 1 to 2"),
        ([0, 1], [0, 2, 1, 2], ValueError, "got 0 to 2"),
        ([0, 1], [], ValueError, "got none"),
    ],
)
def test_sequences_that_are_none_are_refused(items, offsets, error, problem: str) -> None:
    with pytest.raises(error, match=problem):
        cooccurrence(np.array(items), np.array(offsets), 2)


def test_lists_are_sequences_too() -> None:
    assert dense(cooccurrence([0, 1], [0, 2], 2)).tolist() == [[0, 1], [1, 0]]
