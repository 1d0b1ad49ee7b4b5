"""Bootstrap intervals and a randomisation test of means over users.

Users of the same value are interchangeable, so both draw how often each distinct value comes, not which user: the same
distribution as resampling users one by one, at a cost that grows with the distinct values, and independent of the
users' order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

DRAWS_AT_ONCE = 1 << 22
"""Counts drawn together, which bounds the memory."""


def bootstrap_intervals(
    values: np.ndarray, counts: np.ndarray, rng: np.random.Generator, resamples: int = 1000, level: float = 0.95
) -> np.ndarray:
    """Percentile bootstrap of means: users drawn with replacement, as many as there are.

    Args:
        values: float `[num_distinct, num_metrics]`, what users have.
        counts: int `[num_distinct]`, how many users have it.
        rng: where the draws come from.
        resamples: how often to draw all users.
        level: share of the resampled means inside the interval, in (0, 1).

    Returns:
        float64 `[num_metrics, 2]`, lower and upper bound.
    """
    users = int(counts.sum())
    blocks = (
        rng.multinomial(users, counts / users, size=size) @ values / users for size in _blocks(len(counts), resamples)
    )
    tail = (1 - level) / 2
    return np.quantile(np.concatenate(list(blocks)), [tail, 1 - tail], axis=0).T


def sign_flip_p_value(differences: np.ndarray, rng: np.random.Generator, resamples: int = 9999) -> float:
    """Two-sided paired randomisation test: were both runs alike, every user's difference could as well be negated.

    Args:
        differences: float `[num_users]`.
        rng: where the signs come from.
        resamples: how many draws of all signs; no p-value is below `1 / (resamples + 1)`.

    Returns:
        Share of the draws, the observed one among them, whose sum is at least as far from 0 as the observed one's.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if not len(sizes):
        return 1.0
    observed = abs(differences.sum())
    rounding = 1e-12 * float(sizes @ counts)
    as_far = 0
    for size in _blocks(len(sizes), resamples):
        sums = (2 * rng.binomial(counts, 0.5, size=(size, len(counts))) - counts) @ sizes
        as_far += int((np.abs(sums) >= observed - rounding).sum())
    return (as_far + 1) / (resamples + 1)


def _blocks(width: int, rows: int) -> Iterator[int]:
    at_once = max(1, DRAWS_AT_ONCE // width)
    while rows > 0:
        yield min(rows, at_once)
        rows -= at_once


__all__ = ["bootstrap_intervals", "sign_flip_p_value"]
