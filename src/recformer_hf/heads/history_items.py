"""The items of histories as rows of a catalogue, and the bias that their scores get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..configuration_recformer import RecformerConfig
from ..encoder.inputs import check_range

PADDING = -1
"""Row of a place in a batch of histories that holds no item."""


class Histories(NamedTuple):
    """Padded histories, and the places in them from which the next item is asked for.

    Args:
        rows (`Tensor`, int `[batch, length]`): rows of the catalogue, oldest first, then `PADDING`.
        places (`Tensor`, int64 `[num_queries, 2]`): history and place of the newest item of each query.
    """

    rows: Tensor
    places: Tensor

    def newest(self, most: int) -> Histories:
        """The last `most` items of each history. Longer histories must have one query each, at their newest item."""
        if self.rows.shape[1] <= most:
            return self
        counts = (self.rows != PADDING).sum(1)
        columns = torch.arange(most, device=self.rows.device) + (counts - most).clamp_min(0)[:, None]
        return whole_histories(self.rows.gather(1, columns))


def padded(histories: Sequence[np.ndarray | Sequence[int]]) -> Tensor:
    """Histories of rows, oldest first, as one tensor: int64 `[batch, longest]`, padded at the end."""
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    return filled_up(np.concatenate([np.zeros(0, np.int64), *map(np.asarray, histories)]), lengths)


def filled_up(numbers: np.ndarray, lengths: np.ndarray, filler: int = PADDING) -> Tensor:
    """Rows of a matrix that stand end to end, int `[total]`: int64 `[len(lengths), longest]`, filled up at the end."""
    places = np.arange(lengths.max(initial=0)) < lengths[:, None]
    matrix = np.full(places.shape, filler, dtype=np.int64)
    matrix[places] = numbers
    return torch.from_numpy(matrix)


def whole_histories(rows: Tensor) -> Histories:
    """One query for each padded history, int `[batch, length]`: what comes after its newest item."""
    newest = (rows != PADDING).sum(1) - 1
    return Histories(rows, torch.stack([torch.arange(len(rows), device=rows.device), newest], 1))


def checked_histories(
    rows: Tensor | None, labels: Tensor | None, config: RecformerConfig
) -> tuple[Histories, Tensor | None]:
    """The queries of a batch: one for each history, or, with `labels` for every item, one for each target.

    Args:
        rows (`Tensor`, int `[batch, length]`): as in [`Histories`].
        labels (`Tensor`, int `[batch]` or `[batch, length]`, *optional*): the item that came next; in the second form
            after each item of a history, -100 where there is no target.
        config: `num_items`, and `max_item_embeddings`, which limits histories with a target after each item.

    Returns:
        the queries, and their labels, `[num_queries]`.

    Raises:
        ValueError: without rows, and for rows or labels of the wrong shape. Values are checked on a CPU only, because
            reading them would make an accelerator wait: rows outside the catalogue, and histories without items.
    """
    if rows is None:
        raise ValueError("A two-level head reads history_rows, the rows of each history's items, but they are missing.")
    if rows.ndim != 2:
        raise ValueError(f"history_rows must be [batch, length], got shape {list(rows.shape)}.")
    if rows.device.type == "cpu":
        _check_values(rows, config.num_items)
    if labels is None or labels.ndim != 2:
        return whole_histories(rows), labels
    most_items = config.max_item_embeddings - 1
    if rows.shape[1] > most_items:
        raise ValueError(
            f"history_rows have {rows.shape[1]} places, but with a target after each item at most {most_items} "
            "(max_item_embeddings - 1) can be read. Cut the sequences."
        )
    places, labels = _places_of_targets(rows, labels)
    return Histories(rows, places), labels


def _check_values(rows: Tensor, num_items: int) -> None:
    real = rows != PADDING
    check_range("history_rows", rows[real], num_items, "num_items")
    if not bool(real.any(1).all()):
        row = int((~real.any(1)).nonzero()[0])
        raise ValueError(f"History {row} of history_rows has no items: all of its rows are {PADDING}.")
    gaps = (real[:, 1:] & ~real[:, :-1]).any(1)
    if bool(gaps.any()):
        row = int(gaps.nonzero()[0])
        raise ValueError(
            f"History {row} of history_rows has an item after padding ({rows[row].tolist()}): items come first, oldest "
            f"first, and {PADDING} fills the places after the newest."
        )


class HistoryItems(NamedTuple):
    """The items of the histories of some queries, one entry for each place of a history.

    Args:
        queries (`Tensor`, int64 `[total]`): which query.
        rows (`Tensor`, int64 `[total]`): row of the item in the catalogue.
        ages (`Tensor`, int64 `[total]`): how many items are newer: 0 for the newest.
    """

    queries: Tensor
    rows: Tensor
    ages: Tensor


def items_of(histories: Histories) -> HistoryItems:
    """The items that each query has seen: those up to its place."""
    owners, newest = histories.places.unbind(1)
    columns = torch.arange(histories.rows.shape[1], device=owners.device)
    queries, found = (columns <= newest[:, None]).nonzero(as_tuple=True)
    return HistoryItems(queries, histories.rows[owners[queries], found].long(), newest[queries] - found)


def _places_of_targets(rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The queries of a batch in which every item of a history may have a target, the item that came after it.

    Args:
        rows (`Tensor`, int `[batch, length]`): histories, padded.
        labels (`Tensor`, int `[batch, length]`): the item after each place; -100 where there is no target.

    Returns:
        places, int64 `[num_targets, 2]`: history and place of the newest item of each query; and targets,
        `[num_targets]`.

    Raises:
        ValueError: for labels of another shape, a batch without targets or, on a CPU, a target at padding.
    """
    if labels.shape != rows.shape:
        raise ValueError(
            f"labels are {list(labels.shape)}, but history_rows {list(rows.shape)}; expected a target for each item "
            "(-100: none), or labels [batch] for the newest items alone."
        )
    places = (labels != -100).nonzero()
    if not len(places):
        raise ValueError("No item of the batch has a target: all labels are -100.")
    histories, columns = places.unbind(1)
    if rows.device.type == "cpu" and bool((rows[histories, columns] == PADDING).any()):
        raise ValueError("labels have targets at places where history_rows has no item.")
    return places, labels[histories, columns]


def biased(scores: Tensor, items: HistoryItems, bias: Tensor) -> Tensor:
    """Adds to the scores of the items of a history the bias of their age; an item that is there twice gets both.

    Args:
        scores (`Tensor` `[num_queries, num_items]`): of the whole catalogue.
        items: the items of each query's history.
        bias (`Tensor` `[most_items]`): what an item of each age gains or loses. The last entry also stands for all
            older ones.
    """
    gains = bias[items.ages.clamp_max(len(bias) - 1)]
    return scores.index_put((items.queries, items.rows), gains.to(scores.dtype), accumulate=True)


def bias_of_candidates(candidates: Tensor, histories: Histories, bias: Tensor) -> Tensor:
    """What [`biased`] adds, for some candidates of each query, `[num_queries, num_candidates]`."""
    owners, newest = histories.places.unbind(1)
    ages = newest[:, None] - torch.arange(histories.rows.shape[1], device=owners.device)
    gains = bias[ages.clamp(0, len(bias) - 1)] * (ages >= 0)
    same = candidates[:, :, None] == histories.rows[owners, None, :]  # padding equals no candidate
    return (same * gains[:, None, :]).sum(2)


__all__ = [
    "PADDING",
    "Histories",
    "HistoryItems",
    "bias_of_candidates",
    "biased",
    "checked_histories",
    "filled_up",
    "items_of",
    "padded",
    "whole_histories",
]
