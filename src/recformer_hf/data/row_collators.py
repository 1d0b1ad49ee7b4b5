"""Collators of a two-level head: histories as rows of the catalogue. Nothing is tokenized.

As in `collators`, every draw is keyed by (seed, epoch, dataset, user).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..heads.history_items import PADDING, filled_up
from .arrays import slice_indices
from .draws import Draws, Stream
from .masking import IGNORED
from .torch_datasets import EvaluationSequences, SequenceBatch, TrainingSequences


def padded_slices(items: np.ndarray, starts: np.ndarray, lengths: np.ndarray, filler: int = PADDING) -> torch.Tensor:
    """Slices of an array as the rows of a matrix, int64 `[len(starts), lengths.max()]`, filled up at the end."""
    return filled_up(items[slice_indices(starts, lengths)], lengths, filler)


def most_targets(data: TrainingSequences, most: int) -> list[np.ndarray]:
    """How many items of each of `data.users` have one after them, at most `most`; int64 `[num_users]` a dataset."""
    counts = [np.diff(offsets)[users] for offsets, users in zip(data.offsets, data.users, strict=True)]
    return [np.minimum(count - 1, most) for count in counts]


def drawn_windows(batch: SequenceBatch, most: int, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """A window of each sequence, anew in every epoch: where it starts, and its items but the last, at most `most`."""
    counts = np.diff(batch.offsets)
    lengths = np.minimum(counts - 1, most)
    epoch, dataset, user = batch.index["epoch"], batch.index["dataset"], batch.index["user"]
    return batch.offsets[:-1] + draws.integers(Stream.WINDOW, epoch, dataset, user, 0, counts - lengths), lengths


class TwoLevelCollator:
    """Whole training sequences, in which every item but the first is a target.

    Called with a batch of [`TrainingSequences`], it returns `history_rows` (int64 `[batch, length]`, catalogue rows,
    oldest first, padded with -1) and `labels` (int64 `[batch, length]`, the item after each place, -100 at padding). Of
    a longer sequence, a window of `max_items + 1` items is drawn, anew in every epoch. If `num_negatives` is above 0,
    there are also `negatives` (int64 `[num_negatives]`): drawn uniformly with replacement, for the whole batch, from
    the items that occur in training; and `frequencies` (float32 `[num_items]`), the share of each item among those of
    all sequences. If no more items occur than `num_negatives`, all of them are the negatives, without frequencies.

    An item that is never a target would only learn to score low. So what has not been sold yet is no negative.

    With an `item_collator` there are the texts of the batch's items too, those of histories and targets, each once, in
    the order of the catalogue: the packed tokens of [`ItemCollator`]. `negatives` are empty then, so that these items
    are all that the targets are compared with: vectors from before the step would differ from theirs in more than what
    they say.

    Args:
        counts (int `[num_items]`): how often each item of the catalogue occurs in the training sequences.
        max_items (`int`): most items of a history, at least 1.
        seed (`int`): in [0, 2^64).
        num_negatives (`int`, defaults to 0): negatives of a batch; 0 for none (softmax over the whole catalogue).
        item_collator (*optional*): an [`ItemCollator`], for a text encoder that trains.

    Raises:
        ValueError: for a `num_negatives` below 0, or a `max_items` below 1.
    """

    def __init__(
        self,
        counts: np.ndarray,
        *,
        max_items: int,
        seed: int,
        num_negatives: int = 0,
        item_collator: Callable[[np.ndarray], dict[str, Any]] | None = None,
    ) -> None:
        if num_negatives < 0 or max_items < 1:
            raise ValueError(
                f"num_negatives must be at least 0 and max_items at least 1, got {num_negatives} and {max_items}."
            )
        self.max_items, self.num_negatives, self.item_collator = max_items, num_negatives, item_collator
        self.frequencies = torch.from_numpy((counts / max(counts.sum(), 1)).astype(np.float32))
        self.known = np.flatnonzero(counts)
        self.draws = Draws(seed)

    def lengths(self, data: TrainingSequences) -> list[np.ndarray]:
        """Items of the history of each of `data.users`, int64 `[num_users]` for each dataset."""
        return most_targets(data, self.max_items)

    def __call__(self, batch: SequenceBatch) -> dict[str, Any]:
        starts, lengths = drawn_windows(batch, self.max_items, self.draws)
        result = {
            "history_rows": padded_slices(batch.items, starts, lengths),
            "labels": padded_slices(batch.items, starts + 1, lengths, IGNORED),
        }
        if self.item_collator is not None:
            rows = np.unique(batch.items[slice_indices(starts, lengths + 1)])
            texts = self.item_collator(rows)
            del texts["item_index"]
            result |= texts | {"negatives": torch.zeros(0, dtype=torch.long), "frequencies": self.frequencies}
        elif self.num_negatives >= len(self.known):
            result["negatives"] = torch.from_numpy(self.known.copy())
        elif self.num_negatives:
            # The first user stands for the batch.
            epoch, dataset, user = (batch.index[name][0] for name in ("epoch", "dataset", "user"))
            drawn = self.draws.integers(
                Stream.NEGATIVES, epoch, dataset, user, 0, len(self.known), size=self.num_negatives
            )
            result |= {"negatives": torch.from_numpy(self.known[drawn]), "frequencies": self.frequencies}
        return result


class TwoLevelEvaluationCollator:
    """Histories as rows, and the item that came next.

    Called with a batch of [`EvaluationSequences`], it returns `history_rows` (int64 `[batch, length]`, all items of
    each history, padded with -1), `labels` (int64 `[batch]`, catalogue rows) and `user_index` (int64 `[batch]`, rows of
    the split).
    """

    def lengths(self, data: EvaluationSequences) -> np.ndarray:
        """Items of each history, int64 `[num_users]`."""
        return np.diff(data.offsets)

    def __call__(self, batch: SequenceBatch) -> dict[str, Any]:
        if batch.targets is None:
            raise ValueError("The batch has no targets, which evaluation needs. Take it from EvaluationSequences.")
        return {
            "history_rows": padded_slices(batch.items, batch.offsets[:-1], np.diff(batch.offsets)),
            "labels": torch.from_numpy(batch.targets.astype(np.int64)),
            "user_index": torch.from_numpy(batch.index["user"].copy()),
        }


__all__ = ["TwoLevelCollator", "TwoLevelEvaluationCollator", "drawn_windows", "most_targets", "padded_slices"]
