"""Batches of item ids for training: packed histories, their targets, and negatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...data.arrays import slice_indices
from ...data.draws import Draws, Stream
from ...data.torch_datasets import EvaluationSequences, SequenceBatch, TrainingSequences
from .configuration import BaselineConfig
from .negatives import SharedNegatives, unseen_negatives


def packed_rows(items: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
    """Slices of an array as a model's arguments.

    Returns:
        `history_rows` (int64 `[total]`), `lengths` (int64 `[batch]`) and `longest` (`int`); see [`PackedHistories`].
    """
    return {
        "history_rows": torch.from_numpy(items[slice_indices(starts, lengths)].astype(np.int64)),
        "lengths": torch.from_numpy(lengths.astype(np.int64)),
        "longest": int(lengths.max()),
    }


class WindowCollator:
    """What training collators have in common: of a sequence that is longer than a model reads, a window.

    Args:
        max_length (`int`): items that a model reads.
        seed (`int`): in [0, 2^64).
        extra (`int`): items of a window besides, such as a last target.
    """

    def __init__(self, max_length: int, seed: int, extra: int = 0) -> None:
        self.longest, self.extra = max_length + extra, extra
        self.draws = Draws(seed)

    def lengths(self, data: TrainingSequences) -> list[np.ndarray]:
        """Most items that each of `data.users` gives a batch, int64 `[num_users]` for each dataset."""
        counts = [np.diff(offsets)[users] for offsets, users in zip(data.offsets, data.users, strict=True)]
        return [np.minimum(count, self.longest) - self.extra for count in counts]

    def windows(self, batch: SequenceBatch) -> tuple[np.ndarray, np.ndarray]:
        """Where the window of each sequence starts in `batch.items`, and its items: two int64 `[batch]`.

        Windows of longer sequences are drawn anew in every epoch.
        """
        index, counts = batch.index, np.diff(batch.offsets)
        lengths = np.minimum(counts, self.longest)
        shifts = self.draws.integers(
            Stream.WINDOW, index["epoch"], index["dataset"], index["user"], 0, counts - lengths + 1
        )
        return batch.offsets[:-1] + shifts, lengths


class NextItemCollator(WindowCollator):
    """Whole training sequences, in which every item but the first is a target: `labels` (int64 `[total]`), the item
    after each place of `history_rows`.

    Where the loss of the configuration needs them, there are also `negatives`: int64 `[total, num_negatives]`, of each
    target (`"bce"`); or int64 `[n]`, which the batch shares, and with `logq_correction` their `log_counts` (float32
    `[n]`), the logarithm of how often each is expected among them.

    Args:
        config: `max_length`, and the fields of the loss.
        counts (int `[num_items]`): how often each item of the catalogue occurs in the training sequences.
        seed (`int`): in [0, 2^64).
    """

    def __init__(self, config: BaselineConfig, counts: np.ndarray, seed: int) -> None:
        super().__init__(config.max_length, seed, extra=1)
        self.config, self.num_items = config, len(counts)
        self.shared = SharedNegatives(counts, config.negative_power, self.draws)
        self.frequencies = counts / max(counts.sum(), 1)

    def __call__(self, batch: SequenceBatch) -> dict[str, Any]:
        starts, lengths = self.windows(batch)
        lengths = lengths - 1
        labels = batch.items[slice_indices(starts + 1, lengths)].astype(np.int64)
        result = packed_rows(batch.items, starts, lengths) | {"labels": torch.from_numpy(labels)}
        return result | self._negatives(batch, labels, lengths)

    def _negatives(self, batch: SequenceBatch, labels: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
        loss, count = self.config.loss, self.config.negatives_drawn
        if loss == "ce":
            return {}
        if loss == "bce":
            return {"negatives": torch.from_numpy(unseen_negatives(batch, lengths, count, self.num_items, self.draws))}
        negatives, expected = self.shared.draw(batch, count), self.shared.chances * count
        if self.config.batch_negatives:
            negatives, expected = np.concatenate([labels, negatives]), expected + self.frequencies * len(labels)
        found = {"negatives": torch.from_numpy(negatives)}
        if self.config.logq_correction:
            found["log_counts"] = torch.from_numpy(np.log(expected[negatives]).astype(np.float32))
        return found


class HistoryCollator:
    """The newest items of histories, with the items that came next (`labels`, int64 `[batch]`), to rank.

    Called with a batch of [`EvaluationSequences`], it also returns `user_index` (int64 `[batch]`), rows of the split.

    Args:
        max_length (`int`): items that a model reads.
    """

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length

    def lengths(self, data: EvaluationSequences) -> np.ndarray:
        """Items that are read of each history, int64 `[num_users]`."""
        return np.minimum(np.diff(data.offsets), self.max_length)

    def __call__(self, batch: SequenceBatch) -> dict[str, Any]:
        if batch.targets is None:
            raise ValueError("The batch has no targets, which evaluation needs. Take it from EvaluationSequences.")
        lengths = np.minimum(np.diff(batch.offsets), self.max_length)
        return packed_rows(batch.items, batch.offsets[1:] - lengths, lengths) | {
            "labels": torch.from_numpy(batch.targets.astype(np.int64)),
            "user_index": torch.from_numpy(batch.index["user"].copy()),
        }


__all__ = ["HistoryCollator", "NextItemCollator", "WindowCollator", "packed_rows"]
