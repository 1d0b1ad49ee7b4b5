"""A model ranks its catalogue for the users of a split, on all processes together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate.utils import gather_object

from ..data.sampling import EvaluationSequences, slice_places
from ..data.sequences import Sequences
from ..encoding_recformer import evaluating
from ..evaluation.ranking import Ranking, rank_targets
from ..modeling_recformer import RecformerForSeqRec
from ..packing_recformer import length_sorted_batches

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.utils.data import DataLoader

_MOST_SCORES = 2**25
"""Scores of one forward, 128 MiB."""


class RankingBatches:
    """Rows of a split in length-sorted batches, dealt to the processes in turn.

    The batches do not depend on the number of processes, and all processes have equally many: the last batch comes
    again where one is missing.

    Args:
        lengths: tokens of each history, int `[num_users]`.
        max_tokens: of a batch.
        num_items: scored for each user; bounds a batch as well.
        rank, world_size: which process this is, of how many.
    """

    def __init__(self, lengths: np.ndarray, max_tokens: int, num_items: int, rank: int, world_size: int) -> None:
        most_users = max(_MOST_SCORES // num_items, 1)
        batches = list(length_sorted_batches(np.maximum(lengths, -(-max_tokens // most_users)), max_tokens))
        turns = range(rank, -(-len(batches) // world_size) * world_size, world_size)
        self.batches = [batches[min(turn, len(batches) - 1)] for turn in turns]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        return iter(self.batches)


@torch.no_grad()
def rank_sequences(
    model: RecformerForSeqRec,
    dataloader: DataLoader[Any],
    split: Sequences,
    accelerator: Accelerator,
    *,
    ties: Any,
    exclude_history: bool,
    top_k: int,
) -> tuple[Ranking, float]:
    """Ranks every user's target in the whole catalogue; a batch's scores are all that exists of them.

    Args:
        model: with item vectors.
        dataloader: batches of the split with `labels` and `user_index`.
        split: validation or test.
        accelerator: of the run.
        ties, exclude_history: the protocol ([`rank_targets`]).
        top_k: how many recommended items to keep of each user.

    Returns:
        The ranking, the same on every process, and the mean cross-entropy over users.
    """
    assert isinstance(dataloader.dataset, EvaluationSequences)
    parts: list[tuple[Any, ...]] = []
    with evaluating(model), accelerator.autocast():
        for batch in dataloader:
            users, labels = batch.pop("user_index"), batch.pop("labels")
            scores = model(**batch).scores
            losses = F.cross_entropy(scores, labels, reduction="none")
            excluded: Any = None
            if exclude_history:
                pairs = history_pairs(split, users.cpu().numpy())
                excluded = tuple(torch.from_numpy(each).to(scores.device) for each in pairs)
            ranks, candidates, recommended = rank_targets(scores, labels, ties=ties, excluded=excluded, top_k=top_k)
            kept = (users, ranks, candidates, recommended, labels, losses)
            parts.append(tuple(each.cpu().numpy() for each in kept))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    if accelerator.num_processes > 1:
        gathered = gather_object([columns])
        columns = [np.concatenate(column) for column in zip(*gathered, strict=True)]
    first = np.unique(columns[0], return_index=True)[1]
    *part, user_losses = (column[first] for column in columns)
    ranking = Ranking.from_parts([(part[0], part[1], part[2], part[3], part[4])], len(split))
    return ranking, float(user_losses.mean(dtype=np.float64))


def history_pairs(split: Sequences, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which items stand in the histories of a batch: rows of the batch and items, int64 `[total]` each."""
    lengths = split.lengths[users]
    places = slice_places(split.offsets[users], lengths)
    return np.repeat(np.arange(len(users)), lengths), split.items[places].astype(np.int64)
