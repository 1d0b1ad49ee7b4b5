"""A split is ranked in chunks, under both protocols, and on any number of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_hf.data.demo import DemoOracle, load_demo_domain
from recformer_hf.data.sequences import Sequences
from recformer_hf.evaluation import ranking as module
from recformer_hf.evaluation.ranking import Ranking, rank_protocols, rank_split
from tests.support.ranking import Table, random_split, tied_table
from tests.support.training_processes import run_code

TIES = ("average", "optimistic", "pessimistic")


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
def test_refuses_unknown_protocols(histories) -> None:
    with pytest.raises(ValueError, match="expected a list of 'kept', 'excluded' or both"):
        rank_protocols(tied_table(30), random_split(3, 30), histories)


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


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "10"])
def test_counts_are_whole_numbers_of_at_least_1(value) -> None:
    split = random_split(5, 30)
    with pytest.raises(ValueError, match=r"chunk_size is .*; expected a whole number of at least 1"):
        rank_split(tied_table(30), split, chunk_size=value)
    with pytest.raises(ValueError, match=r"top_k is .*; expected a whole number of at least 1"):
        rank_split(tied_table(30), split, top_k=value)


def test_more_wanted_than_there_are_items() -> None:
    split = random_split(5, 30)
    ranking = rank_split(tied_table(30), split, top_k=np.int64(40), chunk_size=np.int64(2))
    assert (ranking.recommended[:, 30:] == -1).all()
    assert (np.sort(ranking.recommended[:, :30]) == np.arange(30)).all()
    assert ranking.metrics(ks=[100])["recall@100"] == 1


def test_splits_of_another_kind() -> None:
    with pytest.raises(TypeError, match=r"got a list\. Pass dataset\.validation or dataset\.test"):
        rank_split(tied_table(30), [[1, 2]])
    with pytest.raises(ValueError, match="The split has no users to rank"):
        rank_split(tied_table(30), random_split(5, 30).select(np.arange(0)))


GROWTH = """
import numpy as np
from benchmarks.memory import resident_bytes
from recformer_hf.evaluation import rank_split
from tests.support.ranking import random_split

class Same:
    def scores(self, histories):
        return np.broadcast_to(np.arange(8000.0) % 100, (len(histories), 8000))

split = random_split(7000, 8000)
rank_split(Same(), split.select(np.arange(1000)), chunk_size=64, progress=False)
before = resident_bytes()
rank_split(Same(), split, chunk_size=64, progress=False)
grown = (resident_bytes() - before) / 1e6
assert grown < 30, f"{grown} MB"  # the ranks take 0.5 MB
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_users() -> None:
    """Small arrays that were kept of every chunk lay between the freed scores of the others: 50 to 200 MB here."""
    environment = {"MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", GROWTH], env=os.environ | environment, check=True)


def test_the_demo_shops_oracle_is_a_scorer() -> None:
    dataset = load_demo_domain("kitchen", num_users=300)
    found = rank_split(DemoOracle.from_dataset(dataset), dataset.test).metrics()
    assert found["ndcg@10"] > 0.3


PROCESS = """
import numpy as np
from accelerate import Accelerator
import recformer_hf.evaluation.ranking as module
from recformer_hf.evaluation import rank_protocols, rank_split
from tests.support.ranking import random_split, tied_table

accelerator = Accelerator(cpu=True)
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
    run_code(f"folder = {str(tmp_path)!r}\n{PROCESS}", 2)
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


def test_the_old_name_of_protocols_still_works() -> None:
    split, scorer = random_split(3, 30), tied_table(30)
    with pytest.warns(DeprecationWarning, match="is now protocols="):
        found = rank_protocols(scorer, split, histories=["excluded"])
    assert found == rank_protocols(scorer, split, ["excluded"])
