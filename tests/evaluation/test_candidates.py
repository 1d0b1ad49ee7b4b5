"""Candidate lists for all users alike or for each, and the items of histories."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recformer_hf.data.sequences import Sequences
from recformer_hf.evaluation import rank_split
from recformer_hf.evaluation.candidates import candidates_of, history_pairs, padded_candidates
from tests.support.ranking import Table


def test_candidate_lists() -> None:
    split = Sequences.from_lists(["a", "b"], [[0], [0]], [1, 2])
    scorer = Table(np.array([[5.0, 2.0, 1.0, 4.0]]))
    assert rank_split(scorer, split, candidates=[1, 3]).ranks.tolist() == [2, np.inf]  # for all alike
    each = [[1, 3, 0], [2]]
    padded = np.array([[1, 3, 0], [2, -1, -1]])
    for lists in (each, padded, torch.from_numpy(padded)):
        found = rank_split(scorer, split, candidates=lists, exclude_history=True)
        assert (found.ranks.tolist(), found.num_candidates.tolist()) == ([2, 1], [2, 1])
    with pytest.raises(ValueError, match=r"shape \[1, 2\]; expected \[n\] or \[2 users, n\]"):
        rank_split(scorer, split, candidates=np.array([[1, 2]]))
    with pytest.raises(ValueError, match="float64; expected catalogue rows"):
        rank_split(scorer, split, candidates=[0.5])


def test_lists_are_padded_to_one_array() -> None:
    assert padded_candidates([[1, 3, 0], [2]], 2).tolist() == [[1, 3, 0], [2, -1, -1]]
    assert padded_candidates([4, 5], 3).tolist() == [[4, 5]]
    assert padded_candidates(None, 3) is None
    assert padded_candidates([[], [2]], 2).tolist() == [[-1], [2]]  # a user's target is then a miss


@pytest.mark.parametrize(
    ("lists", "problem"),
    [([], "are empty"), ([[], []], "are empty"), ([-5, 3], "hold -5"), ([True], "are bool"), (["a"], "are <U1")],
)
def test_what_is_no_list_of_rows(lists, problem: str) -> None:
    with pytest.raises(ValueError, match=f"candidates {problem}; expected catalogue rows"):
        padded_candidates(lists, 2)


def test_users_share_one_list_or_have_their_own() -> None:
    users = np.array([2, 0])
    assert candidates_of(users, np.array([[4, 5]])).tolist() == [[4, 5], [4, 5]]
    assert candidates_of(users, np.array([[1], [2], [3]])).tolist() == [[3], [1]]
    assert candidates_of(users, None) is None


def test_pairs_of_histories_count_rows_from_the_first_given_user() -> None:
    split = Sequences.from_lists(["a", "b", "c"], [[5, 6], [7], [8, 8, 9]], [0, 0, 0])
    rows, items = history_pairs(split, np.array([2, 0]))
    assert rows.tolist() == [0, 0, 0, 1, 1]
    assert items.tolist() == [8, 8, 9, 5, 6]


@pytest.mark.parametrize("lists", [{1, 2}, "12", {0: [1]}, 3, iter([1])])
def test_what_has_no_order(lists) -> None:
    with pytest.raises(TypeError, match=r"candidates are a \w+; expected lists or arrays of catalogue rows"):
        padded_candidates(lists, 2)


def test_a_row_that_int64_does_not_hold() -> None:
    with pytest.raises(ValueError, match="candidates hold 9223372036854775808, which is no row"):
        padded_candidates(np.array([1, 2**63], np.uint64), 2)
