"""A shop of six items with texts, and a real shop whose figures are known, where its data is at hand."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from recformer_hf.data.dataset import Sequences, SequentialDataset
from recformer_hf.data.readers.replication import read_replication
from recformer_hf.evaluation import Scorer, rank_split
from recformer_hf.items.catalog import ItemCatalog
from tests.support.models import SHARED

TEXTS = ["red iron pan", "blue iron pan", "red silk scarf", "wool hat", "Red-iron PAN!", "a b c"]

HISTORIES = [np.array([3, 0]), np.array([1]), np.array([5])]


def shop(train: list[list[int]], texts: list[str] = TEXTS) -> SequentialDataset:
    catalog = ItemCatalog.from_items({f"i{row}": {"title": text} for row, text in enumerate(texts)})
    sequences = Sequences.from_lists([f"u{row}" for row in range(len(train))], train)
    return SequentialDataset(catalog, sequences, None, None, {})


needs_scientific = pytest.mark.skipif(not (SHARED / "data" / "scientific").is_dir(), reason="no data in ../shared")


@cache
def scientific() -> SequentialDataset:
    return read_replication(SHARED / "data" / "scientific")


def ndcg_on_scientific(scorer: Scorer, exclude_history: bool = False) -> float:
    """NDCG@10 on the test split."""
    ranking = rank_split(scorer.fit(scientific()), scientific().test, exclude_history=exclude_history)
    return ranking.metrics()["ndcg@10"]
