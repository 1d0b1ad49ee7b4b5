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
    # Copies, because a scorer may change what it is given, and the split's arrays are read again.
    histories = [split.history(user).copy() for user in users.tolist()]
    highest = max(int(np.concatenate(histories).max()), int(split.targets[users].max()))
    scores = _as_tensor(scorer, scorer.scores(histories))
    if scores.ndim != 2 or len(scores) != len(users):
        raise ValueError(
            f"{type(scorer).__name__}.scores gave the shape {list(scores.shape)} for {len(users)} histories; expected "
            f"[{len(users)}, num_items]."
        )
    if highest >= scores.shape[1]:
        raise ValueError(
            f"{type(scorer).__name__} scores {scores.shape[1]:,} items, but the split has the catalogue row {highest}. "
            "Fit it on the dataset that the split belongs to; a model needs the item embeddings of that catalogue."
        )
    return scores


def num_scored(scorer: Scorer, split: Sequences) -> int:
    """How many items a scorer scores. Only it knows, and its scores for one user show it."""
    return int(_as_tensor(scorer, scorer.scores([split.history(0).copy()])).shape[-1])


def _as_tensor(scorer: Scorer, returned: object) -> Tensor:
    name = f"{type(scorer).__name__}.scores"
    if not isinstance(returned, Tensor):
        returned = _from_array(name, returned)
    if returned.is_complex() or returned.is_sparse or returned.is_meta or returned.ndim == 0:
        kind = "without numbers (on the meta device)" if returned.is_meta else f"of {returned.dtype}"
        kind = f"of {returned.layout}" if returned.is_sparse else kind
        raise TypeError(f"{name} gave a tensor {kind}, of shape {list(returned.shape)}; expected dense numbers.")
    if returned.is_floating_point() and returned.element_size() == 1:  # torch compares no float8
        return returned.float()
    return returned


def _from_array(name: str, returned: object) -> Tensor:
    """The tensor of a numpy array, or of what numpy makes an array of: a frame, or lists of numbers or of tensors."""
    if isinstance(returned, np.ma.MaskedArray) and np.ma.is_masked(returned):
        raise TypeError(f"{name} gave masked scores; fill them, for example scores.filled(-np.inf).")
    kind = type(returned).__name__
    try:
        # torch refuses arrays of negative stride and warns about read-only ones, so such arrays are copied.
        array = np.require(returned, requirements=["C", "W"])
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} gave a {kind} that is no array ({error}); expected [batch, num_items].") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} gave a {kind} of {array.dtype}; expected an array or tensor of numbers, [batch, num_items]."
        )
    if array.dtype.itemsize > 8:  # long double
        array = array.astype(np.float64)
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


__all__ = ["Scorer", "checked_scores", "num_scored"]
