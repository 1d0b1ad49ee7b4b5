"""`Blend`: a weighted sum of other recommenders' scores, with weights that are chosen on the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..evaluation.scorer import Scorer, checked_scores, num_scored
from ..memory.weights import MOST_USERS, Candidates, choose_weights

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset
    from ..data.sequences import Sequences

_SCORES_AT_ONCE = 1 << 24
"""Scores of one scorer that are in memory together."""


class Blend:
    """The weighted sum of the scores of several scorers.

    Args:
        scorers: at least one. Their scores must be comparable across users: counts, similarities, probabilities. Wrap
            a model's scorer in [`Probabilities`].
        weights: `[len(scorers)]`, at least 0; None chooses them on `dataset.validation`, for the highest NDCG@10, so
            that the blend is there not below any of its scorers alone. It takes seconds for 10,000 users; of more
            users, as many are taken at equal distances.
        exclude_history: the protocol for which they are chosen; None takes the mean of both.

    Raises:
        ValueError: if there are no scorers, or the weights are not as many, below 0, or all 0.
    """

    def __init__(
        self, scorers: Sequence[Scorer], weights: Sequence[float] | None = None, exclude_history: bool | None = None
    ) -> None:
        if not scorers:
            raise ValueError("A blend needs at least one scorer, got none.")
        if weights is not None:
            numbers = np.asarray(weights, np.float64)
            if numbers.shape != (len(scorers),) or not (
                np.isfinite(numbers).all() and numbers.min() >= 0 < numbers.max()
            ):
                raise ValueError(
                    f"weights are {list(weights)} for {len(scorers)} scorers; expected one for each, at least 0, and "
                    "not all 0."
                )
        self.scorers = list(scorers)
        self.given_weights = weights
        self.exclude_history = exclude_history
        self.weights: list[float] | None = None if weights is None else [float(weight) for weight in weights]
        """`[len(scorers)]`, once given or chosen."""

    def fit(self, dataset: SequentialDataset) -> Blend:
        """Fit all scorers on `dataset`, then choose the weights if none were given.

        Raises:
            ValueError: if weights are to be chosen and the dataset has no validation users.
        """
        for scorer in self.scorers:
            scorer.fit(dataset)
        if self.given_weights is None:
            split = dataset.validation
            if split is None or len(split) == 0:
                raise ValueError(
                    "Blend chooses its weights on validation users, but the dataset has none. Give the weights: "
                    "Blend(scorers, weights=[...])."
                )
            protocol = {None: "both", False: "kept", True: "excluded"}[self.exclude_history]
            chosen = choose_weights(self._candidates(split), protocol=protocol)  # type: ignore[arg-type]
            self.weights = chosen.weights.tolist()
        return self

    def _candidates(self, split: Sequences) -> Candidates:
        split = split.select(np.arange(0, len(split), -(-len(split) // MOST_USERS)))
        assert split.targets is not None
        size = max(1, min(1024, _SCORES_AT_ONCE // max(1, num_scored(self.scorers[0], split))))
        batches = []
        for first in range(0, len(split), size):
            users = np.arange(first, min(first + size, len(split)))
            scores = [checked_scores(scorer, split, users) for scorer in self.scorers]
            histories = [split.history(user) for user in users.tolist()]
            batches.append(Candidates.of(scores, histories, split.targets[users]))
        return Candidates.joined(batches)

    def scores(self, histories: Sequence[np.ndarray]) -> Tensor:
        """Score all items: float32 `[batch, num_items]`. A scorer of weight 0 is not asked.

        Raises:
            RuntimeError: before `fit`.
        """
        if self.weights is None:
            raise RuntimeError("Blend has not chosen any weights yet: call fit(dataset) first.")
        total: Tensor | None = None
        for scorer, weight in zip(self.scorers, self.weights, strict=True):
            if weight > 0:
                # A scorer may change what it is given.
                part = torch.as_tensor(scorer.scores([history.copy() for history in histories])).float().cpu()
                total = weight * part if total is None else total + weight * part
        assert total is not None
        return total


class Probabilities:
    """A scorer whose scores are logits, such as a model's, as probabilities: the softmax over the catalogue."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def fit(self, dataset: SequentialDataset) -> Probabilities:
        """Fit the scorer."""
        self.scorer.fit(dataset)
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> Tensor:
        """float32 `[batch, num_items]`, each row sums to 1."""
        return torch.softmax(torch.as_tensor(self.scorer.scores(histories)).float(), 1)


__all__ = ["Blend", "Probabilities"]
