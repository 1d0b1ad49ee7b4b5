"""`ranking_report`: metrics with intervals, broken down by target and history; `paired_test` of two runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .metrics import mean, metric_names, metric_values
from .ranking import Ranking
from .resampling import bootstrap_intervals, sign_flip_p_value

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset
    from ..data.sequences import Sequences


def ranking_report(
    ranking: Ranking,
    dataset: SequentialDataset,
    split: Sequences,
    ks: Sequence[int] = (10, 50),
    intervals: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything worth knowing about a ranking, as JSON.

    An item's popularity is how often it occurs in the training sequences; a target of popularity 0 is *cold*, any other
    *in-set*.

    Args:
        ranking: of [`rank_split`].
        dataset: whose training sequences and catalogue the groups are made from.
        split: what was ranked.
        ks: cut-offs of the metrics.
        intervals: whether to give 95 % bootstrap intervals.
        seed: of the bootstrap's draws.

    Returns:
        `overall`, `in_set`, `cold`, and under `by_history_length` and `by_item_popularity` (the target's) one for each
        group that has users (`"1"`, `"2"`, `"3-4"`, `"5-8"`, ...): `users`, `misses` (targets that were no
        candidates), and if there are users `metrics` and `intervals` (`[low, high]` by metric). `recommendations`:
        `top_k` (10 at most), `catalog_coverage` (share of the catalogue that is recommended to anybody) and
        `mean_popularity` (of a recommended item), with `mean_target_popularity` beside it.

    Raises:
        ValueError: if the ranking is not of this split.
    """
    if split.targets is None or not np.array_equal(ranking.targets, split.targets):
        raise ValueError(
            f"The ranking's {len(ranking):,} targets are not those of this split of {len(split):,} users. Pass the "
            "split that was ranked, its users in the same order."
        )
    num_items = len(dataset.catalog)
    popularity = np.bincount(dataset.train.items, minlength=num_items)
    target_popularity = popularity[ranking.targets]
    is_cold = target_popularity == 0

    def group(rows: np.ndarray) -> dict[str, Any]:
        return _summary(ranking.select(rows), ks, intervals, seed)

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


def paired_test(a: Ranking, b: Ranking, metric: str = "ndcg@10", seed: int = 0) -> dict[str, Any]:
    """Whether two runs over the same users differ in a metric by more than chance.

    Args:
        a, b: rankings of the same split under the same protocol.
        metric: one of [`~Ranking.metrics`].
        seed: of the draws.

    Returns:
        `difference` (mean of a - b over users), `low` and `high` (its 95 % bootstrap interval, users drawn in pairs),
        `p_value` (two-sided, from 9,999 random flips of the users' signs), `users` and `metric`.

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
    """Whether two rankings have the same targets, ranked among as many items each."""
    return np.array_equal(a.targets, b.targets) and np.array_equal(a.num_candidates, b.num_candidates)


def _summary(ranking: Ranking, ks: Sequence[int], intervals: bool, seed: int) -> dict[str, Any]:
    summary: dict[str, Any] = {"users": len(ranking), "misses": int(np.isinf(ranking.ranks).sum())}
    if not len(ranking):
        return summary
    summary["metrics"] = ranking.metrics(ks)
    if intervals:
        distinct, counts = np.unique(np.stack([ranking.ranks, ranking.num_candidates]), axis=1, return_counts=True)
        names = metric_names(ks)
        values = np.stack([metric_values(name, distinct[0], distinct[1]) for name in names], axis=1)
        bounds = bootstrap_intervals(values, counts, np.random.default_rng(seed))
        summary["intervals"] = dict(zip(names, bounds.tolist(), strict=True))
    return summary


def _doubling_groups(numbers: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Rows by their number: 0, 1, 2, 3-4, 5-8, 9-16, ...; only groups that have any."""
    highest = np.where(numbers > 0, 2 ** np.ceil(np.log2(np.maximum(numbers, 1))), 0).astype(np.int64)
    groups = []
    for high in np.unique(highest).tolist():
        low = high // 2 + 1 if high > 1 else high
        groups.append((str(high) if low == high else f"{low}-{high}", highest == high))
    return groups


__all__ = ["comparable", "paired_test", "ranking_report"]
