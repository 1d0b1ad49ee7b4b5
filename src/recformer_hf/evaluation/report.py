"""`ranking_report`: metrics with intervals, by target and history; `paired_test`: compares two runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from .metrics import mean, metric_names, metric_values
from .ranking_result import Ranking
from .resampling import bootstrap_intervals, sign_flip_p_value

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset
    from ..data.sequences import Sequences


class _UserCounts(TypedDict):
    users: int
    misses: int


class GroupReport(_UserCounts, total=False):
    """The metrics of a group of users; a group without users has none."""

    metrics: dict[str, float]
    intervals: dict[str, list[float]]


class Recommendations(TypedDict):
    """What was recommended to all users together; None if there are no users, or nothing was recommended."""

    top_k: int
    catalog_coverage: float
    mean_popularity: float | None
    mean_target_popularity: float | None


class RankingReport(TypedDict):
    """The report of [`ranking_report`]."""

    overall: GroupReport
    in_set: GroupReport
    cold: GroupReport
    by_history_length: dict[str, GroupReport]
    by_item_popularity: dict[str, GroupReport]
    recommendations: Recommendations


class PairedTest(TypedDict):
    """The result of [`paired_test`]."""

    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    users: int


def ranking_report(
    ranking: Ranking,
    dataset: SequentialDataset,
    split: Sequences,
    ks: Sequence[int] = (10, 50),
    intervals: bool = True,
    seed: int = 0,
) -> RankingReport:
    """Metrics of all users and of groups of them, and what was recommended, as JSON.

    An item's popularity is how often it occurs in the training sequences. A target of popularity 0 is *cold*, any other
    is *in-set*.

    Args:
        ranking: a ranking of `split`, as from [`rank_split`].
        dataset: the dataset whose training sequences and catalogue define the groups.
        split: the split that was ranked.
        ks: cut-offs of the metrics.
        intervals: whether to compute 95 % bootstrap intervals.
        seed: seed of the bootstrap.

    Returns:
        A [`GroupReport`] under `overall`, `in_set` and `cold`, and under `by_history_length` and `by_item_popularity`
        (the popularity of the target) one for each group that has users (`"1"`, `"2"`, `"3-4"`, `"5-8"`, ...). It has
        `users`, `misses` (targets that were not candidates), and if there are users, `metrics` and `intervals`
        (`[low, high]` by metric). `recommendations` has `top_k` (at most 10), `catalog_coverage` (the share of the
        catalogue that is recommended to any user), `mean_popularity` (of a recommended item) and
        `mean_target_popularity`.

    Raises:
        ValueError: if the ranking belongs to another split.
    """
    if split.targets is None or not np.array_equal(ranking.targets, split.targets):
        raise ValueError(
            f"The ranking's {len(ranking):,} targets are not those of this split of {len(split):,} users. Pass the "
            "split that was ranked, with its users in the same order."
        )
    num_items = len(dataset.catalog)
    popularity = np.bincount(dataset.train.items, minlength=num_items)
    target_popularity = popularity[ranking.targets]
    is_cold = target_popularity == 0

    def group(rows: np.ndarray) -> GroupReport:
        return _group_report(ranking.select(rows), ks, intervals, seed)

    shown = ranking.recommended[:, :10]
    recommended = shown[shown >= 0]
    return {
        "overall": group(np.ones(len(ranking), bool)),
        "in_set": group(~is_cold),
        "cold": group(is_cold),
        "by_history_length": {name: group(rows) for name, rows in _doubling_groups(split.lengths)},
        "by_item_popularity": {name: group(rows) for name, rows in _doubling_groups(target_popularity)},
        "recommendations": {
            "top_k": shown.shape[1],
            "catalog_coverage": len(np.unique(recommended)) / num_items,
            "mean_popularity": float(popularity[recommended].mean()) if recommended.size else None,
            "mean_target_popularity": float(target_popularity.mean()) if len(ranking) else None,
        },
    }


def paired_test(a: Ranking, b: Ranking, metric: str = "ndcg@10", seed: int = 0) -> PairedTest:
    """Test whether two runs over the same users differ in a metric by more than chance.

    Args:
        a, b: rankings of the same split under the same protocol.
        metric: one of [`~Ranking.metrics`].
        seed: seed of the draws.

    Returns:
        `difference` (mean of a - b over users), `low` and `high` (its 95 % bootstrap interval, drawing users with both
        their values), `p_value` (two-sided, from 9,999 random flips of the users' signs), `users` and `metric`.

    Raises:
        ValueError: if the rankings are not comparable, have no users, or for an unknown metric.
    """
    if not comparable(a, b):
        raise ValueError(
            f"The rankings ({len(a):,} and {len(b):,} users) differ in targets or in how many items were ranked: "
            "compare runs on the same split under the same protocol (history kept or excluded, candidates)."
        )
    differences = a.values(metric) - b.values(metric)
    difference = mean(differences)
    distinct, counts = np.unique(differences, return_counts=True)
    rng = np.random.default_rng(seed)
    low, high = bootstrap_intervals(distinct[:, None], counts, rng)[0].tolist()
    return {
        "metric": metric,
        "difference": difference,
        "low": low,
        "high": high,
        "p_value": sign_flip_p_value(differences, rng),
        "users": len(a),
    }


def comparable(a: Ranking, b: Ranking) -> bool:
    """Whether two rankings have the same targets, each ranked among the same number of items."""
    return np.array_equal(a.targets, b.targets) and np.array_equal(a.num_candidates, b.num_candidates)


def _group_report(ranking: Ranking, ks: Sequence[int], intervals: bool, seed: int) -> GroupReport:
    report: GroupReport = {"users": len(ranking), "misses": int(np.isinf(ranking.ranks).sum())}
    if not len(ranking):
        return report
    report["metrics"] = ranking.metrics(ks)
    if intervals:
        # Users with the same rank among as many candidates have the same metrics, so the bootstrap draws their counts.
        distinct, counts = np.unique(np.stack([ranking.ranks, ranking.num_candidates]), axis=1, return_counts=True)
        names = metric_names(ks)
        values = np.stack([metric_values(name, distinct[0], distinct[1]) for name in names], axis=1)
        bounds = bootstrap_intervals(values, counts, np.random.default_rng(seed))
        report["intervals"] = dict(zip(names, bounds.tolist(), strict=True))
    return report


def _doubling_groups(numbers: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """A mask of the rows of each group: 0, 1, 2, 3-4, 5-8, 9-16, ...; only groups that have rows."""
    highest = np.where(numbers > 0, 2 ** np.ceil(np.log2(np.maximum(numbers, 1))), 0).astype(np.int64)
    groups = []
    for high in np.unique(highest).tolist():
        low = high // 2 + 1 if high > 1 else high
        groups.append((str(high) if low == high else f"{low}-{high}", highest == high))
    return groups


__all__ = [
    "GroupReport",
    "PairedTest",
    "RankingReport",
    "Recommendations",
    "comparable",
    "paired_test",
    "ranking_report",
]
