"""Reports group users by hand-made targets and histories, and two runs are compared user by user."""

from __future__ import annotations

import json
import math
from itertools import product

import numpy as np
import pytest

from recformer_hf.baselines import Markov, Popularity
from recformer_hf.data.dataset import Sequences, SequentialDataset
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.evaluation import Ranking, paired_test, rank_split, ranking_report
from recformer_hf.evaluation.report import comparable
from recformer_hf.items.catalog import ItemCatalog

# Item 0 is bought 3 times in training, item 1 twice, item 2 once, items 3 and 4 never.
TRAIN = [[0, 1], [0, 1], [0, 2]]
HISTORIES, TARGETS = [[0, 1], [0, 1, 2], [0], [0, 1, 2, 0, 1], [0, 1]], [0, 3, 1, 4, 2]


def shop() -> SequentialDataset:
    catalog = ItemCatalog.from_items({f"i{row}": {"title": f"Item {row}"} for row in range(5)})
    users = [f"u{row}" for row in range(5)]
    test = Sequences.from_lists(users, HISTORIES, TARGETS)
    return SequentialDataset(catalog, Sequences.from_lists(users[:3], TRAIN), None, test, {})


def ranking(ranks: list[float], targets: list[int] | None = None, recommended=None) -> Ranking:
    shown = np.full((len(ranks), 2), [0, 1]) if recommended is None else recommended
    return Ranking(ranks, np.full(len(ranks), 5), shown, TARGETS if targets is None else targets)


def many(values: np.ndarray) -> Ranking:
    return Ranking(values, np.full(len(values), 1000), np.zeros((len(values), 1)), np.zeros(len(values)))


def report(found: Ranking, **options) -> dict:
    dataset = shop()
    return ranking_report(found, dataset, dataset.test, **options)


def test_groups_by_hand() -> None:
    found = report(ranking([1, 2, 1, math.inf, 4]), ks=(1,), intervals=False)
    users = {name: (found[name]["users"], found[name]["metrics"]["recall@1"]) for name in ("overall", "in_set", "cold")}
    assert users == {"overall": (5, 0.4), "in_set": (3, 2 / 3), "cold": (2, 0)}
    assert (found["overall"]["misses"], found["cold"]["misses"], found["in_set"]["misses"]) == (1, 1, 0)
    lengths = {name: group["users"] for name, group in found["by_history_length"].items()}
    assert list(lengths.items()) == [("1", 1), ("2", 2), ("3-4", 1), ("5-8", 1)]
    popularity = {name: group["users"] for name, group in found["by_item_popularity"].items()}
    assert list(popularity.items()) == [("0", 2), ("1", 1), ("2", 1), ("3-4", 1)]


def test_what_is_recommended_by_hand() -> None:
    found = report(ranking([1] * 5, recommended=[[0, 1], [0, -1], [0, 1], [3, 0], [-1, -1]]), intervals=False)
    assert found["recommendations"] == {
        "top_k": 2,
        "catalog_coverage": 3 / 5,
        "mean_popularity": pytest.approx((3 + 2 + 3 + 3 + 2 + 0 + 3) / 7),
        "mean_target_popularity": pytest.approx((3 + 0 + 2 + 0 + 1) / 5),
    }


def test_a_group_without_users_says_so() -> None:
    dataset = shop()
    split = dataset.test.select([0, 2])
    found = ranking_report(ranking([1, 2], targets=[0, 1]), dataset, split)
    assert found["cold"] == {"users": 0, "misses": 0}
    json.dumps(found, allow_nan=False)


def test_groups_add_up_to_the_whole() -> None:
    dataset = load_demo_domain("kitchen", num_users=400)
    ranked = rank_split(Markov().fit(dataset), dataset.test, exclude_history=True)
    found = ranking_report(ranked, dataset, dataset.test, ks=(5, 20), intervals=False)
    parts = [
        [found["in_set"], found["cold"]],
        *(found[name].values() for name in ("by_history_length", "by_item_popularity")),
    ]
    for groups, name in product(parts, found["overall"]["metrics"]):
        mean = sum(group["users"] * group["metrics"][name] for group in groups) / 400
        assert mean == pytest.approx(found["overall"]["metrics"][name])
    json.dumps(found, allow_nan=False)


def test_is_the_same_every_time_and_for_users_in_any_order() -> None:
    dataset = load_demo_domain("kitchen", num_users=150)
    ranked = rank_split(Popularity().fit(dataset), dataset.test)
    found = ranking_report(ranked, dataset, dataset.test)
    order = np.random.default_rng(0).permutation(150)
    assert ranking_report(ranked.select(order), dataset, dataset.test.select(order)) == found
    assert ranking_report(ranked, dataset, dataset.test, seed=1) != found


def test_refuses_another_split() -> None:
    with pytest.raises(ValueError, match="5 targets are not those of this split of 5 users"):
        report(ranking([1] * 5, targets=[0] * 5))


def test_intervals_of_a_report_surround_its_metrics() -> None:
    dataset = load_demo_domain("kitchen", num_users=400)
    found = ranking_report(rank_split(Markov().fit(dataset), dataset.test), dataset, dataset.test)
    for name, value in found["overall"]["metrics"].items():
        low, high = found["overall"]["intervals"][name]
        assert low < value < high


def test_a_run_does_not_differ_from_itself() -> None:
    runs = many(np.arange(1, 50))
    assert paired_test(runs, runs) == {
        "metric": "ndcg@10", "difference": 0, "low": 0, "high": 0, "p_value": 1, "users": 49,
    }  # fmt: skip


@pytest.mark.parametrize("users", [1, 2, 3, 5, 8])
def test_all_users_better_by_the_same_is_a_matter_of_coins(users: int) -> None:
    """As far from 0 are all heads and all tails: 2 / 2^n."""
    found = paired_test(many(np.full(users, 1)), many(np.full(users, 3)))
    assert found["difference"] == found["low"] == found["high"] == 0.5
    assert found["p_value"] == pytest.approx(2 / 2**users, abs=0.015)


def test_p_values_of_equal_runs_are_uniform() -> None:
    rng = np.random.default_rng(0)
    p_values = [
        paired_test(many(rng.geometric(0.1, 150)), many(rng.geometric(0.1, 150)), seed=seed)["p_value"]
        for seed in range(100)
    ]
    assert np.quantile(p_values, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.12)


def test_a_clear_difference_is_found_and_swaps_its_sign() -> None:
    rng = np.random.default_rng(0)
    ranks = rng.geometric(0.1, 2000)
    better, worse = many(ranks), many(ranks + rng.integers(0, 3, 2000))
    found, swapped = paired_test(better, worse, "mrr"), paired_test(worse, better, "mrr")
    assert found["p_value"] == pytest.approx(1e-4)
    assert 0 < found["low"] < found["difference"] < found["high"]
    assert swapped["difference"] == -found["difference"]


def test_only_the_same_targets_and_protocol_compare() -> None:
    kept = ranking([1] * 5)
    excluded = Ranking(kept.ranks, kept.num_candidates - 1, kept.recommended, kept.targets)
    assert comparable(kept, kept)
    for other in (excluded, ranking([1] * 5, targets=[0] * 5), kept.select([0, 1])):
        assert not comparable(kept, other)
        with pytest.raises(ValueError, match="same split under the same protocol"):
            paired_test(kept, other)
    with pytest.raises(ValueError, match="No metric 'ndcg'"):
        paired_test(kept, kept, "ndcg")
