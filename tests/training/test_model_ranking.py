"""training/model_ranking.py: batches of histories that processes take in turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from recformer_hf import ItemCatalog, RecformerTokenizer
from recformer_hf.data.demo import load_demo_domain
from recformer_hf.evaluation import RecformerScorer
from recformer_hf.evaluation.ranking import rank_protocols
from recformer_hf.heads.history_items import padded
from recformer_hf.training import model_ranking
from recformer_hf.training.model_ranking import RankingBatches, rank_sequences
from tests.support.heads import HEADS, trained
from tests.support.memories import some_memory

DATASET = load_demo_domain("kitchen", num_users=30, num_items=60)
TOKENIZER = RecformerTokenizer.train_from_catalog(list(DATASET.catalog), vocab_size=320)
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


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("parts", HEADS)
def test_ranks_as_the_scorer_does_with_every_head(parts, memory):
    """With items of equal text, whose scores tie but for the history bias and the residuals."""
    items = {f"{copy}{row}": item for copy in "ab" for row, item in enumerate(DATASET.catalog)}
    catalog = ItemCatalog.from_items(items)
    model = trained(catalog, TOKENIZER, parts)
    model.memory = some_memory(120) if memory else None
    expected = rank_protocols(RecformerScorer(model, TOKENIZER, catalog), DATASET.test)
    ranked, loss = rank_sequences(
        model, Loader(model), Accelerator(cpu=True), ["kept", "excluded"], ties="average", top_k=10
    )
    scores = RecformerScorer(model, TOKENIZER, catalog).scores([DATASET.test.history(u) for u in range(30)])
    labels = torch.from_numpy(DATASET.test.targets.astype(np.int64))
    assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(scores, labels)), abs=1e-5)
    for protocol, ranking in expected.items():
        assert ranked[protocol].ranks.tolist() == ranking.ranks.tolist()
        assert ranked[protocol].recommended.tolist() == ranking.recommended.tolist()


class Loader:
    """Batches of the test split, with the tokens and rows of each history."""

    split = DATASET.test

    def __init__(self, model):
        self.two_level = model.config.sequence_head == "two_level"

    def __iter__(self):
        for users in (np.arange(0, 17), np.arange(17, 30)):
            histories = [self.split.history(user) for user in users]
            batch = {"history_rows": padded(histories)}
            if not self.two_level:
                texts = [[DATASET.catalog[row] for row in history] for history in histories]
                batch |= TOKENIZER(texts, padding=True, return_tensors="pt")
            labels = torch.from_numpy(self.split.targets[users].astype(np.int64))
            yield {**batch, "labels": labels, "user_index": torch.from_numpy(users)}
