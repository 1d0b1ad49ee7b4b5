"""Ranks of one batch by hand: ties, candidates, and what is recommended, on any device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recformer_hf.evaluation import Ranking, rank_targets

TIES = ("average", "optimistic", "pessimistic")


def ranks_of(scores, targets, **options) -> list[float]:
    return rank_targets(torch.tensor(scores), torch.tensor(targets), **options)[0].tolist()


def test_ranks_by_hand() -> None:
    scores = [[0.1, 0.9, 0.5, 0.3], [4.0, 3.0, 2.0, 1.0]]
    ranks, num_candidates, recommended = rank_targets(torch.tensor(scores), torch.tensor([2, 3]), top_k=3)
    assert ranks.tolist() == [2, 4]
    assert ranks.dtype == torch.float64
    assert num_candidates.tolist() == [4, 4]
    assert recommended.tolist() == [[1, 2, 3], [0, 1, 2]]
    assert recommended.dtype == torch.int32


@pytest.mark.parametrize(("ties", "expected"), [("average", 3.0), ("optimistic", 2.0), ("pessimistic", 4.0)])
def test_ties_by_hand(ties: str, expected: float) -> None:
    assert ranks_of([[0.9, 0.5, 0.5, 0.5, 0.1]], [2], ties=ties) == [expected]


@pytest.mark.parametrize("num_items", [1, 2, 7, 100])
def test_uniform_scores_rank_in_the_middle(num_items: int) -> None:
    targets = torch.arange(num_items)
    ranks, _, _ = rank_targets(torch.ones(num_items, num_items), targets)
    assert ranks.tolist() == [(num_items + 1) / 2] * num_items


@given(st.data())
def test_ranks_are_those_of_sorting(data) -> None:
    """By definition: sort the candidates, and see where the target can stand among those of its score."""
    num_items = data.draw(st.integers(2, 12))
    row = data.draw(st.lists(st.integers(0, 4), min_size=num_items, max_size=num_items))
    target = data.draw(st.integers(0, num_items - 1))
    out = data.draw(st.sets(st.integers(0, num_items - 1)))
    candidates = [item for item in range(num_items) if item not in out]
    places = [
        place for place, score in enumerate(sorted((row[item] for item in candidates), reverse=True), 1)
        if score == row[target]
    ]  # fmt: skip
    excluded = (torch.zeros(len(out), dtype=torch.long), torch.tensor(sorted(out), dtype=torch.long))
    listed = torch.tensor([[-1, *candidates, *candidates]])
    for ties, place in zip(TIES, (np.mean, np.min, np.max), strict=True):
        expected = float("inf") if target in out else place(places)
        for options in ({"excluded": excluded}, {"candidates": listed}):
            ranks, count, best = rank_targets(
                torch.tensor([row]), torch.tensor([target]), ties=ties, top_k=num_items + 1, **options
            )
            assert ranks.tolist() == [expected]
            assert count.tolist() == [len(candidates)]
            in_order = sorted(candidates, key=lambda item: (-row[item], item))
            assert best.tolist() == [in_order + [-1] * (num_items + 1 - len(in_order))]


def test_an_item_that_comes_twice_in_a_history_is_left_out_once() -> None:
    excluded = (torch.tensor([0, 0, 0]), torch.tensor([1, 1, 2]))
    ranks, count, best = rank_targets(torch.tensor([[1.0, 5.0, 4.0, 3.0]]), torch.tensor([0]), excluded=excluded)
    assert (ranks.tolist(), count.tolist(), best[0, :3].tolist()) == ([2], [2], [3, 0, -1])


def test_equal_scores_recommend_the_lowest_rows_whatever_the_batch() -> None:
    scores = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (64, 300)).astype(np.float32))
    _, _, together = rank_targets(scores, torch.zeros(64, dtype=torch.long))
    expected = [sorted(range(300), key=lambda item: (-row[item], item))[:10] for row in scores.tolist()]
    assert together.tolist() == expected
    for row in (0, 31, 63):
        assert rank_targets(scores[row, None], torch.tensor([0]))[2].tolist() == [expected[row]]


def test_what_scores_minus_infinity_is_never_recommended() -> None:
    scores = torch.tensor([[1.0, -torch.inf, 0.0, -torch.inf]])
    ranks, count, best = rank_targets(scores, torch.tensor([3]), top_k=4)
    assert (ranks.tolist(), count.tolist(), best.tolist()) == ([3.5], [4], [[0, 2, -1, -1]])


def test_nan_gives_nan_and_not_the_first_place() -> None:
    ranks, _, _ = rank_targets(torch.tensor([[torch.nan, 1.0], [0.0, 1.0], [1.0, torch.nan]]), torch.tensor([0, 0, 0]))
    assert ranks.isnan().tolist() == [True, False, True]
    with pytest.raises(ValueError, match=r"scores of 2 of 3 users hold NaN, the first in rows \[0, 2\]"):
        Ranking(ranks, [2, 2, 2], np.zeros((3, 1)), [0, 0, 0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_any_kind_of_number(dtype: torch.dtype) -> None:
    scores = torch.tensor([[1, 3, 2, 2]], dtype=dtype)
    ranks, _, best = rank_targets(scores, torch.tensor([2]), top_k=2)
    assert (ranks.tolist(), best.tolist()) == ([2.5], [[1, 2]])


def test_refuses_what_does_not_fit() -> None:
    scores = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="ties is 'random'"):
        rank_targets(scores, torch.tensor([0, 1]), ties="random")
    with pytest.raises(ValueError, match=r"got \[2, 3\], \[1\]"):
        rank_targets(scores, torch.tensor([0]))
    with pytest.raises(ValueError, match="targets must lie between 0 and 2"):
        rank_targets(scores, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="candidates must lie between 0 and 2"):
        rank_targets(scores, torch.tensor([0, 1]), candidates=torch.tensor([[0], [3]]))
    with pytest.raises(ValueError, match=r"candidates must be \[2, n\]"):
        rank_targets(scores, torch.tensor([0, 1]), candidates=torch.tensor([[0]]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_ranks_as_a_cpu_does_and_is_not_waited_for() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 50, (64, 3000), generator=generator).float()
    targets, items = (torch.randint(0, 3000, (64 * n,), generator=generator) for n in (1, 5))
    excluded = (torch.arange(64).repeat_interleave(5), items)
    expected = rank_targets(scores, targets, excluded=excluded)
    scores, targets, *excluded = (tensor.cuda() for tensor in (scores, targets, *excluded))
    rank_targets(scores, targets, excluded=tuple(excluded))
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = rank_targets(scores, targets, excluded=tuple(excluded))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine.cpu(), theirs)
