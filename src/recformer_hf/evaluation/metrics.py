"""NDCG, recall, reciprocal rank and AUC of ranks: pure functions that return one value for each user.

A rank counts from 1. It is fractional if ties share the mean of their places, and infinite if the target was not a
candidate: a miss, which counts 0 in every metric. docs/evaluation.md lists the definitions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np


def ndcg(ranks: np.ndarray, k: int) -> np.ndarray:
    """Normalised discounted cumulative gain with one relevant item: `1 / log2(rank + 1)` up to rank `k`, else 0.

    The ideal ranking has the target first and a gain of 1, so dividing by it changes nothing.

    Args:
        ranks: float `[num_users]`, from 1.
        k: how many items count as recommended, at least 1.

    Returns:
        float64 `[num_users]`, in [0, 1].

    Example:

    ```python
    >>> ndcg(np.array([1.0, 3.0, 11.0]), 10).tolist()
    [1.0, 0.5, 0.0]
    ```
    """
    ranks = np.asarray(ranks, np.float64)
    return np.where(ranks <= k, 1 / np.log2(ranks + 1), 0.0)


def recall(ranks: np.ndarray, k: int) -> np.ndarray:
    """1 if the target is among the first `k`, else 0. With one target per user, this is also the hit rate.

    Arguments and result as in [`ndcg`].
    """
    return (np.asarray(ranks, np.float64) <= k).astype(np.float64)


def reciprocal_rank(ranks: np.ndarray, k: int | None = None) -> np.ndarray:
    """`1 / rank`; its mean is the MRR. With `k`, ranks above `k` count 0 (MRR@k).

    Other arguments and result as in [`ndcg`].
    """
    ranks = np.asarray(ranks, np.float64)
    return 1 / ranks if k is None else np.where(ranks <= k, 1 / ranks, 0.0)


def auc(ranks: np.ndarray, num_candidates: np.ndarray) -> np.ndarray:
    """Share of the candidates that do not stand before the target: `1 - (rank - 1) / num_candidates`.

    As in the public replication, the target counts among the candidates. The exact area under the ROC curve,
    `(num_candidates - rank) / (num_candidates - 1)`, does not count it and is smaller by at most `1 / num_candidates`.

    Args:
        ranks: float `[num_users]`, from 1.
        num_candidates: int `[num_users]`, including the target.

    Returns:
        float64 `[num_users]`, in [0, 1].
    """
    ranks = np.asarray(ranks, np.float64)
    # A miss may have 0 candidates, and an infinite rank would give -inf.
    missed = np.isinf(ranks)
    return np.where(missed, 0.0, 1 - (np.where(missed, 1.0, ranks) - 1) / np.maximum(num_candidates, 1))


def metric_names(ks: Sequence[int]) -> list[str]:
    """Names of all metrics: `ndcg@k`, `recall@k` and `mrr@k` for each of `ks`, then `mrr` and `auc`.

    Raises:
        ValueError: if a k is not a whole number of at least 1, or occurs twice.
    """
    # In Python True is an int.
    wrong = [k for k in ks if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1]
    if wrong or len(set(ks)) < len(ks):
        raise ValueError(f"ks are {list(ks)}; expected different whole numbers of at least 1.")
    return [f"{name}@{k}" for k in ks for name in ("ndcg", "recall", "mrr")] + ["mrr", "auc"]


def metric_values(name: str, ranks: np.ndarray, num_candidates: np.ndarray) -> np.ndarray:
    """One metric of each user, by name.

    Args:
        name: `"ndcg@10"`, `"recall@10"`, `"mrr@10"` (any k), `"mrr"` or `"auc"`.
        ranks: float `[num_users]`, from 1.
        num_candidates: int `[num_users]`; only `"auc"` uses it.

    Returns:
        float64 `[num_users]`.

    Raises:
        ValueError: for an unknown name.
    """
    if name == "mrr":
        return reciprocal_rank(ranks)
    if name == "auc":
        return auc(ranks, num_candidates)
    found = re.fullmatch(r"(ndcg|recall|mrr)@([1-9]\d*)", name)
    if found is None:
        raise ValueError(f"No metric {name!r}; there are ndcg@k, recall@k, mrr@k (k a whole number), mrr and auc.")
    return {"ndcg": ndcg, "recall": recall, "mrr": reciprocal_rank}[found[1]](ranks, int(found[2]))


def mean(values: np.ndarray) -> float:
    """Mean over users. It is rounded only once, at the end, so the users' order does not change a single bit.

    Raises:
        ValueError: if there are no users.
    """
    if len(values) == 0:
        raise ValueError("There are no users to take the mean over.")
    return math.fsum(values.tolist()) / len(values)


__all__ = ["auc", "mean", "metric_names", "metric_values", "ndcg", "recall", "reciprocal_rank"]
