"""evaluation/ranking.py: ranks by hand, ties, candidates, chunks, and any number of processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.demo import DemoOracle, load_demo_domain
from recformer_hf.data.sequences import Sequences
from recformer_hf.evaluation import ranking as module
from recformer_hf.evaluation.ranking import Ranking, rank_protocols, rank_split, rank_targets
from tests.support.processes import run_processes

TIES = ("average", "optimistic", "pessimistic")


def ranks_of(scores, targets, **options) -> list[float]:
    return rank_targets(torch.tensor(scores), torch.tensor(targets), **options)[0].tolist()


class Table:
    """A scorer that looks scores up by the last item of the history, and remembers how it was called."""

    def __init__(self, scores: np.ndarray) -> None:
        self.table = scores
        self.batches: list[int] = []

    def fit(self, dataset) -> Table:
        return self

    def scores(self, histories) -> np.ndarray:
        self.batches.append(len(histories))
        return self.table[[int(history[-1]) for history in histories]]


def random_split(num_users: int, num_items: int, seed: int = 0) -> Sequences:
    generator = np.random.default_rng(seed)
    histories = [generator.integers(0, num_items, generator.integers(1, 8)) for _ in range(num_users)]
    targets = generator.integers(0, num_items, num_users)
    return Sequences.from_lists([f"user {i}" for i in range(num_users)], histories, targets)


def tied_table(num_items: int, seed: int = 0) -> Table:
    return Table(np.random.default_rng(seed).integers(0, 5, (num_items, num_items)).astype(np.float32))


# --- ranks of one batch


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


# --- rankings


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
    with pytest.raises(ValueError, match="one row a user in every array"):
        Ranking(np.ones(2), np.ones(2), np.ones((3, 1)), np.ones(2))
    with pytest.raises(ValueError, match="one row a user in every array"):
        Ranking(np.ones(2), np.ones(2), np.ones(2), np.ones(2))


# --- a split


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.booleans(), st.sampled_from(TIES))
def test_chunks_do_not_change_ranks(num_users: int, chunk_size: int, exclude_history: bool, ties: str) -> None:
    split, scorer = random_split(num_users, 30), tied_table(30)
    options = {"exclude_history": exclude_history, "ties": ties}
    assert rank_split(scorer, split, chunk_size=chunk_size, **options) == rank_split(scorer, split, **options)


def test_a_target_in_an_excluded_history_is_a_miss() -> None:
    split = Sequences.from_lists(["a", "b"], [[0, 1], [0, 1]], [1, 2])
    scorer = Table(np.array([[0.0] * 4, [3.0, 2.0, 1.0, 4.0]]))
    kept, excluded = rank_split(scorer, split), rank_split(scorer, split, exclude_history=True)
    assert (kept.ranks.tolist(), kept.num_candidates.tolist()) == ([3, 4], [4, 4])
    assert (excluded.ranks.tolist(), excluded.num_candidates.tolist()) == ([np.inf, 2], [2, 2])
    assert excluded.recommended[0].tolist() == [3, 2] + [-1] * 8
    assert excluded.select([0]).metrics() == dict.fromkeys(["ndcg@10", "recall@10", "mrr@10", "mrr", "auc"], 0.0)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.sampled_from(TIES), st.booleans())
def test_both_protocols_at_once_are_each_alone(num_users: int, chunk_size: int, ties: str, listed: bool) -> None:
    split, scorer = random_split(num_users, 30), tied_table(30)
    options = {"ties": ties, "candidates": list(range(5, 25)) if listed else None}
    both = rank_protocols(scorer, split, chunk_size=chunk_size, **options)
    assert sum(scorer.batches) == num_users  # each scored once
    assert list(both) == ["kept", "excluded"]
    for history, ranking in both.items():
        assert ranking == rank_split(scorer, split, exclude_history=history == "excluded", **options)
    assert rank_protocols(scorer, split, ["excluded"], **options) == {"excluded": both["excluded"]}


@pytest.mark.parametrize("histories", [[], ["left out"], "kept"])
def test_a_protocol_that_is_none(histories) -> None:
    with pytest.raises(ValueError, match="expected a list of 'kept', 'excluded' or both"):
        rank_protocols(tied_table(30), random_split(3, 30), histories)


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


def test_chunks_keep_scores_under_the_limit(monkeypatch) -> None:
    split, scorer = random_split(20, 30), tied_table(30)
    monkeypatch.setattr(module, "CHUNK_BYTES", 4 * 30 * 7 + 3)
    rank_split(scorer, split)
    assert scorer.batches == [1, 7, 7, 6]  # the first call tells how many items there are


def test_nan_names_the_user() -> None:
    scores = np.zeros((30, 30))
    scores[7, 3] = np.nan
    split = Sequences.from_lists(["anna", "bert", "cleo"], [[1], [2, 7], [7]], [0, 0, 0])
    with pytest.raises(ValueError, match=r"Table gave NaN among the scores of user 'bert' \(row 1"):
        rank_split(Table(scores), split)


def test_says_what_does_not_fit() -> None:
    split = random_split(5, 30)
    with pytest.raises(ValueError, match=r"scores 10 items, but the split has the catalogue row \d+\. Fit it on"):
        rank_split(Table(np.zeros((30, 10))), split)
    with pytest.raises(ValueError, match=r"gave the shape \[5\] for 5 histories"):
        rank_split(Table(np.zeros(30)), split, chunk_size=10)
    with pytest.raises(ValueError, match="without targets"):
        rank_split(tied_table(30), Sequences(split.user_ids, split.items, split.offsets))
    with pytest.raises(ValueError, match="chunk_size is 0"):
        rank_split(tied_table(30), split, chunk_size=0)


def test_the_demo_shops_oracle_is_a_scorer() -> None:
    dataset = load_demo_domain("kitchen", num_users=300)
    found = rank_split(DemoOracle.from_dataset(dataset), dataset.test).metrics()
    assert found["ndcg@10"] > 0.3


# --- processes

PROCESS = """
import json, sys
import numpy as np
from accelerate import Accelerator
from tests.evaluation.test_ranking import random_split, rank_protocols, rank_split, tied_table
import recformer_hf.evaluation.ranking as module

accelerator, folder = Accelerator(cpu=True), sys.argv[1]
module.MOST_USERS = 4
for num_users in (1, 2, 7, 12):
    for exclude_history in (False, True):
        ranking = rank_split(
            tied_table(30), random_split(num_users, 30), exclude_history=exclude_history, accelerator=accelerator
        )
        ranking.save(f"{folder}/{num_users}-{exclude_history}-{accelerator.process_index}-{accelerator.num_processes}")
    both = rank_protocols(tied_table(30), random_split(num_users, 30), accelerator=accelerator)
    both["kept"].save(f"{folder}/{num_users}-both-False-{accelerator.process_index}")
    both["excluded"].save(f"{folder}/{num_users}-both-True-{accelerator.process_index}")
broken = tied_table(30)
broken.table[int(random_split(7, 30).history(5)[-1])] = np.nan  # user 5 is in the second process's chunk
try:
    rank_split(broken, random_split(7, 30), accelerator=accelerator, chunk_size=4)
except ValueError as error:
    open(f"{folder}/error-{accelerator.process_index}", "w").write(str(error))
accelerator.end_training()  # or gloo's threads may abort a process that exits
"""


def test_two_processes_rank_as_one_does(tmp_path: Path, monkeypatch) -> None:
    run_processes(PROCESS, 2, str(tmp_path))
    monkeypatch.setattr(module, "MOST_USERS", 4)
    for num_users in (1, 2, 7, 12):
        for exclude_history in (False, True):
            alone = rank_split(tied_table(30), random_split(num_users, 30), exclude_history=exclude_history)
            for rank in (0, 1):
                assert Ranking.load(tmp_path / f"{num_users}-{exclude_history}-{rank}-2") == alone
                assert Ranking.load(tmp_path / f"{num_users}-both-{exclude_history}-{rank}") == alone
    for rank in (0, 1):  # one process met it, both say so, none waits for the other
        message = (tmp_path / f"error-{rank}").read_text()
        assert "1 of 2 processes" in message
        assert "NaN among the scores of user 'user 5'" in message


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
