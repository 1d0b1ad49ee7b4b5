"""The parts that a score is the sum of: similarity of texts, residual, history bias, memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..encoder.losses import EPSILON
from ..recommending.protocols import RecommendingModel
from .memory_terms import MemoryTerms, memory_terms

TEXT, RESIDUAL, HISTORY_BIAS, MEMORY = "text", "residual", "history_bias", "memory"


class Targets(NamedTuple):
    """The items that are explained.

    Args:
        rows (int64 `[num_targets]`): of the catalogue; -1 for a new item.
        vectors (`Tensor`, float32 `[num_targets, vector_size]`): what histories are compared with.
        residuals (`Tensor`, float32 `[num_targets, vector_size]`, *optional*): the share of them that was learned of
            each item, apart from its text; None if the model has no residuals.
    """

    rows: np.ndarray
    vectors: Tensor
    residuals: Tensor | None

    def one(self, number: int) -> Targets:
        """A single one of them."""
        mine = slice(number, number + 1)
        return Targets(self.rows[mine], self.vectors[mine], None if self.residuals is None else self.residuals[mine])


def residuals_of(model: RecommendingModel, rows: Sequence[int]) -> Tensor | None:
    """The residuals of some rows, float32 `[num_rows, vector_size]`: zeros for -1, None if the model has none."""
    if model.item_residuals is None:
        return None
    found = model.item_residuals.new_zeros(len(rows), model.item_residuals.shape[1])
    known = [place for place, row in enumerate(rows) if row >= 0]
    found[known] = model.item_residuals.detach()[[rows[place] for place in known]]
    return found


def similarities(model: RecommendingModel, vectors: Tensor, targets: Targets) -> dict[str, Tensor]:
    """The cosine over the temperature, as the sum of what the text and the residual of an item add to it.

    An item's vector is `text + residual`, so its product with a history's vector is a sum too. Both are divided by the
    same lengths and the same temperature.

    Args:
        model: with the temperature.
        vectors (`Tensor`, float `[num_histories, vector_size]`): of histories.
        targets: the items.

    Returns:
        float64 `[num_histories, num_targets]` each: `text` and, if the model has residuals, `residual`.
    """
    device = vectors.device
    users, items = vectors.double(), targets.vectors.to(device).double()
    users = users / torch.linalg.vector_norm(users, dim=-1, keepdim=True).clamp_min(EPSILON)
    scale = torch.linalg.vector_norm(items, dim=-1).clamp_min(EPSILON) * model.scoring_head.temperature_now
    if targets.residuals is None:
        return {TEXT: users @ items.T / scale}
    residuals = targets.residuals.to(device).double()
    return {TEXT: users @ (items - residuals).T / scale, RESIDUAL: users @ residuals.T / scale}


class Additions(NamedTuple):
    """What the history's items add to the scores by their ids, whatever their texts say.

    Args:
        bias: the history bias of the whole history and without each item, float64 `[1 + num_items, num_targets]`; None
            if the model has none.
        memory: the counts of the memory; None if the model has none.
    """

    bias: np.ndarray | None
    memory: MemoryTerms | None

    def gains(self) -> dict[str, np.ndarray]:
        """What each part adds, float64 `[1 + num_items, num_targets]`: to the whole history, and without each item."""
        found = {} if self.bias is None else {HISTORY_BIAS: self.bias}
        if self.memory is not None:
            found[MEMORY] = np.concatenate([self.memory.gain()[None], self.memory.gain_without()])
        return found


def additions(model: RecommendingModel, history: np.ndarray, targets: Targets) -> Additions:
    """The history bias and the memory of some items.

    Args:
        model: with the bias and the memory, if it has them.
        history (int64 `[num_items]`): rows of the catalogue, oldest first; -1 for an item that it does not have.
        targets: the items.
    """
    bias, memory = model.scoring_head.history_bias, model.memory
    return Additions(
        None if bias is None else _biases(bias.detach().cpu().double().numpy(), history, targets.rows),
        None if memory is None else memory_terms(memory, history, targets.rows),
    )


def _biases(bias: np.ndarray, history: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Float64 `[1 + num_items, num_targets]`; see [`Additions`]."""
    ages = len(history) - 1 - np.arange(len(history))
    found = np.zeros((1 + len(history), len(targets)))
    for number, target in enumerate(targets.tolist()):
        for place in np.flatnonzero(history == target) if target >= 0 else ():
            now = bias[min(ages[place], len(bias) - 1)]
            # Without a newer item, this one is newer by one; without itself, it gains nothing.
            newer = bias[min(ages[place] - 1, len(bias) - 1)]
            found[: 1 + place, number] += now
            found[2 + place :, number] += newer
    return found


__all__ = [
    "HISTORY_BIAS",
    "MEMORY",
    "RESIDUAL",
    "TEXT",
    "Additions",
    "Targets",
    "additions",
    "residuals_of",
    "similarities",
]
