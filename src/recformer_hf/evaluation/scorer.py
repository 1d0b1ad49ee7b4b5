"""`Scorer`: the two methods that anything to be ranked needs, and the checks of what they return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from ..data.dataset import SequentialDataset
    from ..data.sequences import Sequences


class Scorer(Protocol):
    """Anything that scores a catalogue for a history: a model, a baseline, a recommender of your own."""

    def fit(self, dataset: SequentialDataset) -> Scorer:
        """Learn from `dataset.train` and `dataset.catalog`. A scorer that is already trained checks that they match.

        Returns:
            itself.
        """
        ...

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray | Tensor:
        """Score every item of the catalogue for each history.

        Args:
            histories: `[batch]` int32 arrays of catalogue rows, oldest first, each with at least one item.

        Returns:
            float `[batch, num_items]`, higher is better, never NaN. An item that scores `-inf` is never recommended.
        """
        ...


def checked_scores(scorer: Scorer, split: Sequences, users: np.ndarray) -> Tensor:
    """Score the catalogue for some users of a split.

    Args:
        scorer: fitted.
        split: validation or test.
        users: int `[batch]`, rows of the split.

    Returns:
        float `[batch, num_items]`.

    Raises:
        TypeError: if the scores are not numbers.
        ValueError: if the scores have another shape, or fewer items than the split has.
    """
    assert split.targets is not None
    histories = [split.history(user) for user in users.tolist()]
    scores = _as_tensor(scorer, scorer.scores(histories))
    if scores.ndim != 2 or len(scores) != len(users):
        raise ValueError(
            f"{type(scorer).__name__}.scores gave the shape {list(scores.shape)} for {len(users)} histories; expected "
            f"[{len(users)}, num_items]."
        )
    highest = max(int(np.concatenate(histories).max()), int(split.targets[users].max()))
    if highest >= scores.shape[1]:
        raise ValueError(
            f"{type(scorer).__name__} scores {scores.shape[1]:,} items, but the split has the catalogue row {highest}. "
            "Fit it on the dataset that the split belongs to; a model needs the item embeddings of that catalogue."
        )
    return scores


def _as_tensor(scorer: Scorer, returned: object) -> Tensor:
    if not isinstance(returned, Tensor):
        # torch refuses arrays of negative stride and warns about read-only ones, so such arrays are copied.
        array = np.require(returned, requirements=["C", "W"])
        if array.dtype.kind not in "fiub":
            raise TypeError(
                f"{type(scorer).__name__}.scores gave a {type(returned).__name__} of {array.dtype}; expected an array "
                "or tensor of numbers, [batch, num_items]."
            )
        returned = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    if returned.is_complex() or returned.is_sparse:
        kind = returned.dtype if returned.is_complex() else returned.layout
        raise TypeError(f"{type(scorer).__name__}.scores gave a tensor of {kind}; expected dense numbers.")
    return returned


__all__ = ["Scorer", "checked_scores"]
