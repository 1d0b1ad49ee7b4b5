"""`DemoOracle`: the best possible recommender of the demo shop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ...items.catalog import ItemCatalog
from ..dataset import SequentialDataset
from .choices import GIFT_RATE, RECENCY_WEIGHTS, choice_weights
from .shop import build_shop


class DemoOracle:
    """The recommender that knows the demo shop's process: its scores are the true probabilities of the next choice.

    No recommender can rank better in expectation, so report a model's metrics as shares of the oracle's.

    Args:
        name: one of `demo_domains()`.
        seed: the domain's seed.
        num_items: the domain's number of items.

    Raises:
        ValueError: for an unknown name, or a number out of its range.
    """

    def __init__(self, name: str, seed: int = 0, num_items: int = 800) -> None:
        self._shop = build_shop(name, seed, num_items)

    @classmethod
    def from_dataset(cls, dataset: SequentialDataset) -> DemoOracle:
        """The oracle of a dataset that `load_demo_domain` created, even if it was saved and loaded since.

        Raises:
            ValueError: if the dataset is not a domain of the demo shop, or its items differ from this version's.
        """
        made = dataset.info.get("demo_shop")
        if made is None:
            raise ValueError(
                f"Only the demo shop has an oracle, and the info of {dataset!r} has no 'demo_shop'. "
                "Create the dataset with load_demo_domain(name)."
            )
        oracle = cls(made["domain"], made["seed"], made["num_items"])
        if not oracle._has_items_of(dataset):
            raise ValueError(
                f"The items of {dataset!r} are not those that this version's demo shop has for {made}. "
                "Create the dataset again with load_demo_domain(name)."
            )
        return oracle

    def fit(self, dataset: SequentialDataset) -> DemoOracle:
        """Checks that the dataset belongs to this oracle's shop; there is nothing to learn.

        Raises:
            ValueError: if it has other items.
        """
        if not self._has_items_of(dataset):
            raise ValueError(f"{dataset!r} has other items than this oracle's shop. Use DemoOracle.from_dataset.")
        return self

    @property
    def is_cold(self) -> np.ndarray:
        """Which items are released just before the test choice, bool `[num_items]`."""
        return self._shop.is_cold.copy()  # the shop is cached, so a caller must not be able to change it

    def scores(
        self, histories: Sequence[np.ndarray | Sequence[int]], released: Literal["all", "warm"] = "all"
    ) -> np.ndarray:
        """Probability that each item is the next choice.

        Args:
            histories: `[batch]` sequences of catalogue rows, oldest first, of any length including 0.
            released: `"all"` for the test choice, `"warm"` for every choice before it.

        Returns:
            float64 `[batch, num_items]`; every row sums to 1.

        Raises:
            ValueError: for a row outside the catalogue, or another value of `released`.
        """
        if released not in ("all", "warm"):
            raise ValueError(f"released is {released!r}; expected 'all' (the test choice) or 'warm' (any earlier one).")
        newest = self._newest(histories)
        is_released = np.ones(len(self._shop.is_cold), bool) if released == "all" else ~self._shop.is_cold
        weights = choice_weights(self._shop, newest) * is_released
        gift = is_released / is_released.sum()
        probabilities: np.ndarray = (1 - GIFT_RATE) * weights / weights.sum(1, keepdims=True) + GIFT_RATE * gift
        return probabilities

    def _newest(self, histories: Sequence[np.ndarray | Sequence[int]]) -> np.ndarray:
        """The newest items of each history, as `choice_weights` takes them, int64 `[batch, 8]`."""
        num_items = len(self._shop.is_cold)
        newest = np.full((len(histories), len(RECENCY_WEIGHTS)), -1, np.int64)
        for row, history in enumerate(histories):
            items = np.asarray(history, np.int64)
            if items.size and not 0 <= items.min() <= items.max() < num_items:
                raise ValueError(
                    f"History {row} has rows {items.min()} to {items.max()}, but the catalogue's are 0 to "
                    f"{num_items - 1}. Does it belong to another domain, or to a shop of another num_items?"
                )
            window = items[::-1][: len(RECENCY_WEIGHTS)]
            newest[row, : len(window)] = window
        return newest

    def _has_items_of(self, dataset: SequentialDataset) -> bool:
        return dataset.catalog.fingerprint == ItemCatalog.from_items(self._shop.texts).fingerprint
