"""The memory of a finished run: counted on the training sequences, its weights chosen on the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from accelerate.utils import gather_object

from ...data.sequences import Sequences
from ...memory.memory import Memory
from ...memory.weights import Candidates
from ...modeling_recformer import RecformerForSeqRec
from ..model_ranking import RankingLoader, model_scores

if TYPE_CHECKING:
    from accelerate import Accelerator


@torch.no_grad()
def fit_memory(
    model: RecformerForSeqRec, train: Sequences, validation: RankingLoader | None, accelerator: Accelerator
) -> Memory:
    """The memory of a trained model.

    Args:
        model: with item vectors. Its own memory, if it has one, is not used.
        train: the sequences that are counted; rows of the model's items.
        validation: batches of the split on which the weights are chosen; None: they keep their defaults.
        accelerator: accelerator of the run, whose processes share the validation users.

    Returns:
        the memory, the same on every process. On these users, the mixture with the model is not worse than the model or
        a part of the memory alone, except for the 0.3 % that a larger cold factor may cost.
    """
    memory = Memory.fit(train.items, train.offsets, len(model.item_embeddings), vectors=model.item_embeddings)
    if validation is None:
        return memory
    found: list[tuple[int, Candidates]] = []
    for users, labels, scores in model_scores(model, validation, accelerator):
        histories = [validation.split.history(user) for user in users.tolist()]
        found.append((int(users[0]), memory.candidates(histories, labels.cpu().numpy(), scores)))
    if accelerator.num_processes > 1:
        found = gather_object(found)
    return memory.tuned(Candidates.joined(_each_batch_once(found)))


def _each_batch_once(found: Sequence[tuple[int, Candidates]]) -> list[Candidates]:
    """Batches in an order that does not depend on who scored them; the last one may have been repeated."""
    by_first_user = dict(found)
    return [by_first_user[user] for user in sorted(by_first_user)]


__all__ = ["fit_memory"]
