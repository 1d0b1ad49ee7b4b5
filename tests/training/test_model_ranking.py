"""training/model_ranking.py: batches of histories that processes take in turn."""

from __future__ import annotations

import numpy as np
import pytest

from recformer_hf.training import model_ranking
from recformer_hf.training.model_ranking import RankingBatches

LENGTHS = np.array([5, 1, 9, 3, 3, 7, 2, 8, 4, 6, 5])


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_history_is_in_a_batch_and_processes_have_equally_many(world_size):
    ranks = [list(RankingBatches(LENGTHS, 12, 100, rank, world_size)) for rank in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    assert len(ranks[0]) == len(RankingBatches(LENGTHS, 12, 100, 0, world_size))
    rows = np.concatenate([batch for batches in ranks for batch in batches])
    assert set(rows.tolist()) == set(range(len(LENGTHS)))
    assert all(LENGTHS[batch].sum() <= 12 for batches in ranks for batch in batches)


def test_batches_do_not_depend_on_the_number_of_processes():
    alone = [batch.tolist() for batch in RankingBatches(LENGTHS, 12, 100, 0, 1)]
    first, second = ([batch.tolist() for batch in RankingBatches(LENGTHS, 12, 100, rank, 2)] for rank in (0, 1))
    together = [batch for pair in zip(first, second, strict=True) for batch in pair]
    assert together[: len(alone)] == alone
    assert together[len(alone) :] in ([], [alone[-1]])  # the last one again


def test_scores_of_many_items_bound_a_batch(monkeypatch):
    monkeypatch.setattr(model_ranking, "_MOST_SCORES", 200)
    assert max(len(batch) for batch in RankingBatches(LENGTHS, 10**6, 100, 0, 1)) == 2
    assert {len(batch) for batch in RankingBatches(LENGTHS, 10**6, 1000, 0, 1)} == {1}
