"""Domains of the demo shop, loaded once, and reading their texts and histories."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from recformer_hf.data.dataset import SequentialDataset
from recformer_hf.data.demo import TASTE, DemoOracle, load_demo_domain

load = lru_cache(maxsize=None)(load_demo_domain)


def words_of(attributes: dict[str, str]) -> list[str]:
    return re.findall(r"\w+", " ".join(attributes.values()).lower())


def histories_of(dataset: SequentialDataset, split: str) -> list[np.ndarray]:
    sequences = dataset.splits[split]
    return [sequences.history(row) for row in range(len(sequences))]


def same_series(dataset: SequentialDataset) -> np.ndarray:
    """bool `[num_items, num_items]`. Only items of one series have everything but the colour in common."""
    shop = DemoOracle.from_dataset(dataset)._shop
    return shop.shared >= sum(TASTE.values()) - TASTE["colour"]
