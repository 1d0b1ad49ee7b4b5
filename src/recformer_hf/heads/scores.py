"""Scores of a catalogue's items for histories, and the loss over them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..encoder.losses import EPSILON, candidate_scores, draw_negatives, similarity_scores
from .history_items import PADDING, Histories, bias_of_candidates, biased, items_of
from .scoring_head import ScoringHead


class Queries(NamedTuple):
    """What items are scored for.

    Args:
        vectors (`Tensor` `[num_queries, vector_size]`): the vectors of the histories.
        histories (*optional*): their items, for the history bias.
        corrections (`Tensor`, float32 `[num_items]`, *optional*): added to the scores of sampled items in the loss.
    """

    vectors: Tensor
    histories: Histories | None = None
    corrections: Tensor | None = None


def scores_of_all(head: ScoringHead, queries: Queries, items: Tensor, equal_items: Tensor | None = None) -> Tensor:
    """Scores of the whole catalogue: cosine / temperature, and the history bias where there is one.

    Args:
        head: with the temperature and the bias.
        queries: the histories.
        items (`Tensor` `[num_items, vector_size]`): `ScoringHead.item_vectors` of the catalogue.
        equal_items (`Tensor`, int64 `[2, num_repeated]`, *optional*): rows of items whose vectors are equal to that of
            an earlier item, and the first such item of each: they get its cosine. The matrix product alone may round
            theirs differently, and so put items of equal text in an order.

    Returns:
        float32 `[num_queries, num_items]`.
    """
    if head.training and head.history_transformer is not None:
        scores = _training_scores(queries.vectors, items, head.temperature)
    else:
        scores = similarity_scores(queries.vectors, items, head.temperature)
    if equal_items is not None:
        scores[:, equal_items[0]] = scores[:, equal_items[1]]
    if head.history_bias is not None:
        scores = biased(scores, items_of(_histories_of(queries)), head.history_bias)
    return scores


def _training_scores(users: Tensor, items: Tensor, temperature: Tensor | float) -> Tensor:
    """[`similarity_scores`], as a product that autocast may compute in 16 bits, and whose gradients are cheap.

    A two-level head has a score for every pair of a target and an item, so their matrix takes most of a step. Nothing
    but the product itself passes over it: both sides have their scale before.
    """
    users = F.normalize(users.float(), dim=-1, eps=EPSILON) / temperature
    return torch.matmul(users, F.normalize(items.float(), dim=-1, eps=EPSILON).T).float()


def scores_of_some(head: ScoringHead, queries: Queries, items: Tensor, candidates: Tensor) -> Tensor:
    """[`scores_of_all`] for each query's own candidates.

    Args:
        candidates (`Tensor`, int64 `[num_queries, num_candidates]`): rows of the catalogue.

    Returns:
        float32 `[num_queries, num_candidates]`.
    """
    scores = candidate_scores(queries.vectors, items[candidates], head.temperature)
    if head.history_bias is not None:
        scores = scores + bias_of_candidates(candidates, _histories_of(queries), head.history_bias)
    return scores


def _histories_of(queries: Queries) -> Histories:
    """The histories that a bias is for.

    Raises:
        ValueError: if they are missing, or not those of the vectors.
    """
    histories, found = queries.histories, len(queries.vectors)
    if histories is None:
        raise ValueError(
            "This model has a history bias, so it needs to know the items of each history: pass history_rows, int "
            "[batch, length], rows of the catalogue, oldest first, padded with -1 at the end."
        )
    if len(histories.places) != found:
        raise ValueError(f"history_rows are of {len(histories.places)} histories, but the batch has {found}.")
    return histories


def scores_and_loss(
    head: ScoringHead,
    queries: Queries,
    items: Tensor,
    candidates: Tensor | None,
    labels: Tensor | None,
    num_negatives: int | None,
    negatives: Tensor | None,
    equal_items: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """What `RecformerForSeqRec.forward` returns, whose arguments these are.

    Returns:
        the scores, None with sampled negatives; and the loss, None without labels.
    """
    labels, candidates, negatives = (None if x is None else x.long() for x in (labels, candidates, negatives))
    if labels is not None and num_negatives:
        negatives = draw_negatives(labels, len(items), num_negatives)
    if negatives is not None and labels is not None:
        sampled = _scores_of_sampled(head, queries, items, labels, negatives)
        return None, F.cross_entropy(sampled, torch.zeros_like(labels))  # the target is column 0
    if candidates is not None:
        scores = scores_of_some(head, queries, items, candidates)
        target = None if labels is None else (candidates == labels[:, None]).int().argmax(1)
    else:
        scores, target = scores_of_all(head, queries, items, equal_items), labels
        if queries.corrections is not None and target is not None:
            # `items` are a sample, whose scores are of no use to a caller.
            return None, F.cross_entropy(scores + queries.corrections, target)
    return scores, None if target is None else F.cross_entropy(scores, target)


def _scores_of_sampled(head: ScoringHead, queries: Queries, items: Tensor, labels: Tensor, negatives: Tensor) -> Tensor:
    """Scores of each target (column 0), its negatives and, with a history bias, the items of its history.

    Few of the drawn negatives are items of the history, so without these the bias would hardly be trained.
    """
    candidates = torch.cat([labels[:, None], negatives], dim=1)
    if head.history_bias is None:
        return scores_of_some(head, queries, items, candidates)
    owners, newest = _histories_of(queries).places.unbind(1)
    history = _histories_of(queries).rows[owners].long()
    places = torch.arange(history.shape[1], device=history.device)
    unseen = places > newest[:, None]
    history = history.masked_fill(unseen, PADDING)
    # An item counts once: as the target, else as an item of the history, at its first place in it.
    again = (history[:, :, None] == history[:, None, :]).tril(-1).any(2)
    left_out = torch.cat(
        [
            torch.zeros_like(unseen[:, :1]),
            (negatives[:, :, None] == history[:, None, :]).any(2),
            unseen | again | (history == labels[:, None]),
        ],
        dim=1,
    )
    candidates = torch.cat([candidates, history.clamp_min(0)], dim=1)
    return scores_of_some(head, queries, items, candidates).masked_fill(left_out, float("-inf"))


class BatchItems(NamedTuple):
    """A batch that counts among some items instead of the whole catalogue, or as it was if `rows` is None.

    Args:
        rows (`Tensor`, int64 `[num_rows]`): the items, as rows of the catalogue, ascending.
        histories, labels: the queries and their targets, as places in `rows`.
        negatives: those of each query.
        corrections (`Tensor`, float32 `[num_rows]`): what the loss adds to the scores of `rows`.
    """

    rows: Tensor | None
    histories: Histories | None
    labels: Tensor | None
    negatives: Tensor | None
    corrections: Tensor | None


def items_of_batch(
    histories: Histories | None, labels: Tensor | None, negatives: Tensor | None, frequencies: Tensor | None
) -> BatchItems:
    """The items that a batch with shared negatives is scored against: all of its own and the negatives, each once.

    Popular items are in most batches, so the sample has more of them than the catalogue. The loss therefore subtracts
    from a score the logarithm of the chance that the item is in the sample, which makes it an estimate of the loss over
    the catalogue (sampled softmax; Bengio and Senécal 2008).

    Args:
        histories (*optional*): the queries.
        labels (`Tensor`, int `[num_queries]`): their targets.
        negatives (`Tensor`, int `[num_negatives]`): rows of the catalogue that all queries share. Without them, or with
            negatives of each query, `[num_queries, num_negatives]`, nothing changes.
        frequencies (`Tensor`, float `[num_items]`, *optional*): share of each item among the items of all batches. By
            default no score is corrected.

    Raises:
        ValueError: if fewer than two items have a frequency above 0.
    """
    if labels is None or negatives is None or negatives.ndim != 1:
        return BatchItems(None, histories, labels, negatives, None)
    parts = [labels.long(), negatives.long()]
    if histories is not None:
        # Padding stands for an item that is there anyway: its number is then not read from an accelerator.
        padding = histories.rows == PADDING
        parts.append(torch.where(padding, labels[0], histories.rows).long().flatten())
    rows, places = torch.unique(torch.cat(parts), return_inverse=True)
    labels_of, _, *history = places.split([len(part) for part in parts])
    if histories is not None:
        history_rows = history[0].view_as(padding).masked_fill(padding, PADDING)
        histories = Histories(history_rows, histories.places)
    corrections = torch.zeros(len(rows), device=rows.device)
    if frequencies is not None:
        # A sequence of n items has n - 1 places with a target, so about as many items as targets and sequences.
        drawn = len(labels) + (1 if histories is None else len(histories.rows))
        known = int((frequencies > 0).sum())  # negatives are drawn from these
        if known < 2:
            raise ValueError(
                f"frequencies are above 0 for {known} items; expected at least 2, from which negatives are drawn."
            )
        missing = drawn * torch.log1p(-frequencies[rows].double()) + len(negatives) * math.log1p(-1 / known)
        corrections = -torch.log(-torch.expm1(missing)).float()
    return BatchItems(rows, histories, labels_of, None, corrections)


def encodes_items(rows: Tensor | None, num_texts: int | None) -> bool:
    """Whether a two-level model encodes the texts of a batch's items instead of looking their vectors up.

    Args:
        rows (`Tensor`, int `[num_rows]`, *optional*): the items of the batch; None: the whole catalogue.
        num_texts (`int`, *optional*): how many texts the batch has.

    Raises:
        ValueError: if there are texts, but not one for each item.
    """
    if rows is None or num_texts is None:
        return False
    if num_texts != len(rows):
        raise ValueError(
            f"The batch has {len(rows)} items in histories, labels and negatives, but input_ids have {num_texts} "
            "texts; expected the text of each of these items, in the order of the catalogue."
        )
    return True


__all__ = [
    "BatchItems",
    "Queries",
    "encodes_items",
    "items_of_batch",
    "scores_and_loss",
    "scores_of_all",
    "scores_of_some",
]
