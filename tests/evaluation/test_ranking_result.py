"""A ranking is joined from parts, saved, loaded and selected from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recformer_hf.evaluation import RankedBatch, Ranking, rank_split
from recformer_hf.evaluation.ranking_result import join_parts, protocol_of
from tests.support.ranking import random_split, tied_table


def example_ranking(num_users: int = 9) -> Ranking:
    return rank_split(tied_table(20), random_split(num_users, 20))


def test_joining_parts_orders_by_user_and_counts_each_once() -> None:
    whole = example_ranking()
    columns = (whole.ranks, whole.num_candidates, whole.recommended, whole.targets)
    order = np.array([3, 0, 8, 1, 2, 7, 4, 6, 5, 3, 0])  # the last two are a sampler's padding
    parts = [(rows, *(torch.from_numpy(column[rows]) for column in columns)) for rows in np.split(order, [2, 7])]
    assert Ranking.from_parts(parts, 9) == whole
    assert Ranking.from_parts(parts) == whole


def test_joining_parts_misses_nobody() -> None:
    part = (np.array([0, 3]), np.ones(2), np.ones(2), np.zeros((2, 1)), np.zeros(2))
    with pytest.raises(ValueError, match=r"2 of 4 users are in no part, the first: \[1, 2\]"):
        Ranking.from_parts([part])
    with pytest.raises(ValueError, match=r"3 of 5 users are in no part, the first: \[1, 2, 4\]"):
        Ranking.from_parts([part], 5)
    with pytest.raises(ValueError, match="users 0 to 3; expected 0 to 1"):
        Ranking.from_parts([part], 2)
    with pytest.raises(ValueError, match="nothing to join"):
        Ranking.from_parts([])


def test_a_file_brings_it_back(tmp_path: Path) -> None:
    whole = example_ranking()
    whole.save(tmp_path / "new" / "ranking")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["ranking"]
    assert Ranking.load(tmp_path / "new" / "ranking") == whole
    (tmp_path / "other.npz").write_bytes(b"no ranking")
    with pytest.raises(ValueError, match="holds no ranking"):
        Ranking.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        Ranking.load(tmp_path / "absent.npz")


def test_the_order_of_users_leaves_metrics_equal() -> None:
    whole = example_ranking(200)
    shuffled = whole.select(np.random.default_rng(0).permutation(200))
    assert shuffled != whole
    assert shuffled.metrics([1, 5, 10]) == whole.metrics([1, 5, 10])


def test_selecting_users_by_mask_or_row() -> None:
    whole = example_ranking()
    assert whole.select(np.arange(9) < 3) == whole.select([0, 1, 2])
    assert len(whole.select(np.zeros(9, bool))) == 0


def test_arrays_of_a_ranking_have_one_row_a_user() -> None:
    with pytest.raises(ValueError, match="one row per user in every array"):
        Ranking(np.ones(2), np.ones(2), np.ones((3, 1)), np.ones(2))
    with pytest.raises(ValueError, match="one row per user in every array"):
        Ranking(np.ones(2), np.ones(2), np.ones(2), np.ones(2))


def test_named_and_plain_columns_join_to_the_same_ranking() -> None:
    columns = ([1, 0], [2.5, np.inf], [4, 3], [[7], [-1]], [5, 6])
    named = Ranking.from_parts([RankedBatch(*map(torch.tensor, columns))])
    assert named == Ranking.from_parts([columns])
    assert (named.ranks.tolist(), named.targets.tolist()) == ([np.inf, 2.5], [6, 5])


def test_parts_of_several_protocols_are_joined_apart() -> None:
    parts = [
        {
            protocol: RankedBatch(np.array([user]), np.array([rank + user]), np.ones(1), np.zeros((1, 1)), np.zeros(1))
            for protocol, rank in (("kept", 1.0), ("excluded", 5.0))
        }
        for user in (1, 0)
    ]
    joined = join_parts(parts, ["kept", "excluded"], 2)
    assert {protocol: ranking.ranks.tolist() for protocol, ranking in joined.items()} == {
        "kept": [1, 2],
        "excluded": [5, 6],
    }


def test_a_protocol_has_the_name_that_exclude_history_selects() -> None:
    assert [protocol_of(False), protocol_of(True)] == ["kept", "excluded"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"ranks": [0.0, 1.0]}, "the first in row 0: 0.0 among 3 candidates"),
        ({"ranks": [1.0, -2.0]}, "the first in row 1: -2.0"),
        ({"ranks": [1.0, 3.5]}, "the first in row 1: 3.5 among 3 candidates"),
        ({"ranks": [-np.inf, 1.0]}, "the first in row 0: -inf"),
        ({"num_candidates": [-1, 3]}, "1 of 2 ranks are impossible"),
        ({"targets": [-1, 0]}, "targets hold -1"),
        ({"recommended": [[0, -2], [1, 2]]}, "recommended hold -2"),
    ],
)
def test_a_file_of_impossible_values_is_refused(tmp_path: Path, change, problem: str) -> None:
    whole = {"ranks": [1.0, np.inf], "num_candidates": [3, 3], "recommended": [[0, -1], [1, 2]], "targets": [0, 1]}
    np.savez(tmp_path / "r.npz", **whole)
    assert len(Ranking.load(tmp_path / "r.npz")) == 2
    np.savez(tmp_path / "r.npz", **{**whole, **change})
    with pytest.raises(ValueError, match=rf"r\.npz holds no ranking \(.*{problem}"):
        Ranking.load(tmp_path / "r.npz")
