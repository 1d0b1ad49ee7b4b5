"""Bootstrap intervals and a randomisation test of means over users.

Users with the same value are interchangeable. So both draw how often each distinct value occurs, instead of which
users are drawn. The distribution is that of resampling users one by one, but the cost grows with the distinct values
only, and the result does not depend on the users' order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

DRAWS_AT_ONCE = 1 << 22
"""The most counts to draw at once, which bounds the memory: 32 MiB of int64."""


def bootstrap_intervals(
    values: np.ndarray, counts: np.ndarray, rng: np.random.Generator, resamples: int = 1000, level: float = 0.95
) -> np.ndarray:
    """Percentile bootstrap of means: users drawn with replacement, as many as there are.

    Args:
        values: float `[num_distinct, num_metrics]`, the distinct values of users.
        counts: int `[num_distinct]`, how many users have each of them.
        rng: source of the draws.
        resamples: how many times to resample all users.
        level: share of the resampled means inside the interval, in (0, 1).

    Returns:
        float64 `[num_metrics, 2]`, lower and upper bounds.
    """
    users = int(counts.sum())
    blocks = (
        rng.multinomial(users, counts / users, size=size) @ values / users for size in _blocks(len(counts), resamples)
    )
    tail = (1 - level) / 2
    bounds: np.ndarray = np.quantile(np.concatenate(list(blocks)), [tail, 1 - tail], axis=0)
    return bounds.T


def sign_flip_p_value(differences: np.ndarray, rng: np.random.Generator, resamples: int = 9999) -> float:
    """Two-sided paired randomisation test. If both runs were equally good, any user's difference could change its sign.

    Args:
        differences: float `[num_users]`.
        rng: source of the signs.
        resamples: how many times to draw all signs; no p-value is below `1 / (resamples + 1)`.

    Returns:
        Share of the draws, including the observed signs, whose sum is at least as far from 0 as the observed sum.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if not len(sizes):
        return 1.0
    observed = abs(differences.sum())
    # Sums that are equal in exact arithmetic may differ in their last bits, and have to count as equally far.
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
