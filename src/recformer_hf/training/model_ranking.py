"""All processes together rank a model's catalogue for the users of a split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from accelerate.utils import gather_object
from torch import Tensor

from ..data.sequences import Sequences
from ..encoder.packing import length_sorted_batches
from ..evaluation.ranking import RankedBatch, Ranking, RankingProtocol, TieOrder, join_parts, rank_batch
from ..modeling_recformer import RecformerForSeqRec
from ..recommending.vectors import equal_rows, evaluating
from .batches import Batch

if TYPE_CHECKING:
    from accelerate import Accelerator

_MOST_SCORES = 2**25
"""Scores of one forward pass: 128 MiB in float32."""


class RankingBatches:
    """Rows of a split in length-sorted batches, which the processes take in turn.

    The batches do not depend on the number of processes. All processes have the same number of them, because the
    processes of a sharded model must run it together; if one is missing, the last batch is repeated.

    Args:
        lengths: tokens of each history, int `[num_users]`.
        max_tokens: most tokens of a batch.
        num_items: number of items scored for each user, which also limits a batch.
        rank, world_size: which process this is, of how many.
    """

    def __init__(self, lengths: np.ndarray, max_tokens: int, num_items: int, rank: int, world_size: int) -> None:
        most_users = max(_MOST_SCORES // num_items, 1)
        # Batches are limited by tokens alone, so every history counts as long enough that `most_users` fill a batch.
        batches = list(length_sorted_batches(np.maximum(lengths, -(-max_tokens // most_users)), max_tokens))
        turns = range(rank, -(-len(batches) // world_size) * world_size, world_size)
        self.batches = [batches[min(turn, len(batches) - 1)] for turn in turns]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.batches)


class RankingLoader(Protocol):
    """Composed batches of a split that is ranked, and the split."""

    split: Sequences

    def __iter__(self) -> Iterator[Batch]: ...


@torch.no_grad()
def model_scores(
    model: RecformerForSeqRec, loader: RankingLoader, accelerator: Accelerator
) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """What the model alone says of every item, for the users of this process; the last batch may be repeated.

    Args:
        model: with item vectors. It is in evaluation mode until the last batch.
        loader: batches of a validation or test split with `labels` and `user_index`.
        accelerator: accelerator of the run.

    Yields:
        int `[batch]` rows of the split, int64 `[batch]` targets, and float32 `[batch, num_items]` scores.
    """
    model.item_store.forget_check()  # fused optimizers change weights without telling torch
    with evaluating(model), accelerator.autocast():
        # Not `model.equal_items`, which would not notice that a sharded matrix has changed.
        equal = torch.stack(equal_rows(model.item_vectors))
        for batch in loader:
            users, labels = batch.pop("user_index").cpu().numpy(), batch.pop("labels")
            yield users, labels, model(**batch, equal_items=equal).scores


def rank_sequences(
    model: RecformerForSeqRec,
    loader: RankingLoader,
    accelerator: Accelerator,
    protocols: Sequence[RankingProtocol],
    *,
    ties: TieOrder,
    top_k: int,
) -> tuple[dict[RankingProtocol, Ranking], float]:
    """[`rank_scored`] with the scores of a model, mixed with its memory if it has one.

    Args:
        model: with item vectors.
        loader: batches of a validation or test split with `labels` and `user_index`.
        accelerator, protocols, ties, top_k: as in [`rank_scored`].
    """

    def scored() -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
        for users, labels, scores in model_scores(model, loader, accelerator):
            if model.memory is not None:
                scores = model.memory.mixed(scores, [loader.split.history(user) for user in users.tolist()])
            yield users, labels, scores

    return rank_scored(scored(), loader.split, accelerator, protocols, ties=ties, top_k=top_k)


@torch.no_grad()
def rank_scored(
    scored: Iterable[tuple[np.ndarray, Tensor, Tensor]],
    split: Sequences,
    accelerator: Accelerator,
    protocols: Sequence[RankingProtocol],
    *,
    ties: TieOrder,
    top_k: int,
) -> tuple[dict[RankingProtocol, Ranking], float]:
    """Ranks every user's target in the whole catalogue. No more than one batch's scores exist at a time.

    Args:
        scored: batches of this process: int `[batch]` rows of the split, int64 `[batch]` targets, and float32
            `[batch, num_items]` scores. A batch may be repeated.
        split: the validation or test split.
        accelerator: accelerator of the run.
        protocols: whether histories are kept, excluded, or both; each is encoded once for all of them.
        ties: as in [`rank_targets`].
        top_k: how many recommended items to keep for each user.

    Returns:
        The ranking of each protocol, the same on every process, and the mean cross-entropy over users.
    """
    parts: list[dict[RankingProtocol, RankedBatch]] = []
    losses: list[tuple[np.ndarray, np.ndarray]] = []
    for users, labels, scores in scored:
        parts.append(rank_batch(scores, split, users, protocols, ties=ties, top_k=top_k))
        losses.append((users, F.cross_entropy(scores, labels, reduction="none").cpu().numpy()))
    if accelerator.num_processes > 1:
        parts, losses = gather_object(parts), gather_object(losses)
    users, user_losses = (np.concatenate(column) for column in zip(*losses, strict=True))
    # In the order of users, and in float64, so that the mean does not depend on how batches were distributed.
    first = np.unique(users, return_index=True)[1]  # the last batch may be repeated
    return join_parts(parts, protocols, len(split)), float(user_losses[first].mean(dtype=np.float64))
