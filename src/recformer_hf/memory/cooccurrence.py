"""Co-occurrence: how often two items stand near each other in the sequences of users."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .sparse_rows import SparseRows, firsts_of_equal

PAIRS_AT_ONCE = 1 << 24
"""Pairs of positions that are sorted together, 8 bytes each."""


def cooccurrence(
    items: np.ndarray,
    offsets: np.ndarray,
    num_items: int,
    *,
    window: int = 10,
    decay: float = 0.7,
    directed: bool = False,
    power: float = 0.25,
) -> SparseRows:
    """Counts of pairs of items within a window of the same sequence, near pairs counting more.

    Two positions of a sequence that are `gap` apart add `decay ** (gap - 1)` to the row of the one item and the column
    of the other, and to the row of the other and the column of the one; pairs of an item with itself add nothing. Then
    every row is divided by its sum to `power`, so that the neighbours of a popular item do not drown all others.

    Args:
        items: int `[total]`, the items of all sequences end to end, oldest first, each in [0, num_items).
        offsets: int64 `[num_sequences + 1]`: sequence i has `items[offsets[i] : offsets[i + 1]]`.
        num_items: how many items the catalogue has.
        window: the largest gap, at least 1.
        decay: in (0, 1].
        directed: whether a pair is counted only in the row of the earlier item and the column of the later one.
        power: 0 leaves the counts as they are, 1 makes every row sum to 1.

    Returns:
        `[num_items, num_items]`.

    Raises:
        ValueError: for a window below 1, a decay outside (0, 1], items outside the catalogue, or offsets that do not
            cut the items into sequences.
        TypeError: if items or offsets are not integers.
    """
    if window < 1:
        raise ValueError(f"window is {window}; expected at least 1.")
    if not 0 < decay <= 1:
        raise ValueError(f"decay is {decay}; expected more than 0 and at most 1.")
    items, offsets = _integers("items", items), _integers("offsets", offsets)
    if len(items) and (items.min() < 0 or items.max() >= num_items):
        raise ValueError(f"Items go from {items.min()} to {items.max()}; expected 0 to {num_items - 1}.")
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(items) or (np.diff(offsets) < 0).any():
        raise ValueError(
            f"Offsets must ascend from 0 to {len(items):,}, the number of items; got "
            f"{f'{offsets[0]} to {offsets[-1]}' if len(offsets) else 'none'}. Sequence i has items[offsets[i] : "
            "offsets[i + 1]]."
        )
    blocks = _counted(items, offsets, num_items, window, decay, directed)
    return SparseRows.joined(blocks, num_items).scaled_by_sums(-power)


def _integers(name: str, numbers: np.ndarray) -> np.ndarray:
    array = np.asarray(numbers)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and len(array)):
        raise TypeError(f"{name} are {array.dtype} of shape {list(array.shape)}; expected integers in one dimension.")
    return array.astype(np.int64)


def _counted(
    items: np.ndarray, offsets: np.ndarray, num_items: int, window: int, decay: float, directed: bool
) -> Iterator[SparseRows]:
    """The counts of some rows after the other, so that only the pairs of a block are in memory at once."""
    sequences = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    positions = np.argsort(items, kind="stable")  # the positions of item 0, of item 1, ...
    begins = np.searchsorted(items[positions], np.arange(num_items + 1))
    gaps = [gap for near in range(1, window + 1) for gap in ((near,) if directed else (near, -near))]
    first = 0
    while first < num_items:
        most = begins[first] + PAIRS_AT_ONCE // len(gaps)
        last = max(first + 1, int(np.searchsorted(begins, most, side="right")) - 1)
        mine = positions[begins[first] : begins[last]]
        yield _block(items, sequences, mine, first, last - first, num_items, gaps, decay)
        first = last


def _block(
    items: np.ndarray,
    sequences: np.ndarray,
    positions: np.ndarray,
    first: int,
    num_rows: int,
    num_items: int,
    gaps: list[int],
    decay: float,
) -> SparseRows:
    """The rows of items `first` to `first + num_rows - 1`, which stand at `positions`."""
    window = max(gaps)
    pairs = []
    for gap in gaps:
        others = positions + gap
        inside = (others >= 0) & (others < len(items))
        ours, others = positions[inside], others[inside]
        counted = (sequences[ours] == sequences[others]) & (items[ours] != items[others])
        places = (items[ours[counted]] - first) * num_items + items[others[counted]]
        # The gap stands in the last digits of one number with the pair's place: one sort orders both.
        pairs.append(places * window + (abs(gap) - 1))
    ordered = np.sort(np.concatenate(pairs))
    places = ordered // window
    firsts = firsts_of_equal(places)
    weights = decay ** np.arange(window, dtype=np.float64)
    counts = np.add.reduceat(weights[ordered % window], firsts) if len(firsts) else np.zeros(0)
    return SparseRows.from_places(places[firsts], counts, num_rows, num_items)


__all__ = ["cooccurrence"]
