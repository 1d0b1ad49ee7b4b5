"""The losses of pretraining and finetuning, as functions of vectors and scores."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-8
"""Vectors shorter than this have a cosine near 0 with everything, as in `torch.nn.functional.cosine_similarity`."""


def similarity_scores(users: Tensor, items: Tensor, temperature: float | Tensor) -> Tensor:
    """Cosine similarity over temperature of every user with every item (Recformer, equation 9), as one product.

    Args:
        users (`Tensor` `[num_users, hidden_size]`): user vectors, of any length.
        items (`Tensor` `[num_items, hidden_size]`): item vectors, of any length.
        temperature (`float` or scalar `Tensor`, positive): divides the cosine.

    Returns:
        scores `[num_users, num_items]` in at least float32.
    """
    # bfloat16 would round scores near 1 / temperature = 20 to multiples of 0.125.
    wide = torch.promote_types(users.dtype, torch.float32)
    users, items = F.normalize(users.to(wide), dim=-1, eps=EPSILON), items.to(wide)
    # The items' norms divide the product: a normalised copy of a large catalogue never exists.
    norms = torch.linalg.vector_norm(items, dim=-1).clamp_min(EPSILON)
    with torch.autocast(users.device.type, enabled=False):
        scores: Tensor = torch.matmul(users, items.T) / (norms * temperature)
    return scores


def candidate_scores(users: Tensor, candidates: Tensor, temperature: float | Tensor) -> Tensor:
    """Cosine similarity over temperature of every user with its own candidates.

    Args:
        users (`Tensor` `[num_users, hidden_size]`): user vectors.
        candidates (`Tensor` `[num_users, num_candidates, hidden_size]`): vectors of each user's candidates.
        temperature (`float` or scalar `Tensor`, positive): divides the cosine.

    Returns:
        scores `[num_users, num_candidates]` in at least float32.
    """
    wide = torch.promote_types(users.dtype, torch.float32)
    users = F.normalize(users.to(wide), dim=-1, eps=EPSILON)
    candidates = F.normalize(candidates.to(wide), dim=-1, eps=EPSILON)
    with torch.autocast(users.device.type, enabled=False):
        return torch.matmul(candidates, users[:, :, None]).squeeze(-1) / temperature


def contrastive_loss(
    scores: Tensor, target_ids: Tensor | None = None, reduction: str = "mean", first_positive: int = 0
) -> Tensor:
    """Item-item contrastive loss (Recformer, equation 7): each context against the batch's positive items.

    Args:
        scores (`Tensor` `[batch, num_positives]`): score of each context with each positive; row `i`'s own positive is
            column `first_positive + i`.
        target_ids (`Tensor` `[num_positives]`, *optional*): which item each column is. An item that is the positive of
            several rows is not a negative of any of them: its other columns leave the denominator.
        reduction: `"mean"`, `"sum"` or `"none"`, over the batch.
        first_positive (`int`, defaults to 0): column of the first row's positive; above 0 if columns of other processes
            come first.

    Returns:
        the loss; uniform scores give `log(num_positives)`.
    """
    if target_ids is not None:
        scores = mask_duplicates(scores, target_ids, first_positive)
    own = torch.arange(first_positive, first_positive + scores.shape[0], device=scores.device)
    return F.cross_entropy(scores, own, reduction=reduction)


def mask_duplicates(scores: Tensor, target_ids: Tensor, first_positive: int = 0) -> Tensor:
    """Sets the scores of [`contrastive_loss`] to -inf wherever a row's own item stands in another column."""
    rows = torch.arange(scores.shape[0], device=scores.device)
    own = rows + first_positive
    duplicate = target_ids[own, None] == target_ids[None, :]
    duplicate[rows, own] = False
    return scores.masked_fill(duplicate, float("-inf"))


def item_pair_loss(
    vectors: Tensor, first: Tensor, second: Tensor, together: Tensor, corrections: Tensor, temperature: float | Tensor
) -> Tensor:
    """Cross-entropy of telling the second item of a pair from the other items of the batch by their vectors.

    Args:
        vectors (`Tensor` `[num_items, hidden_size]`): vectors of the batch's items, of any length.
        first, second (`Tensor`, int64 `[num_pairs]`): rows of `vectors`.
        together (`Tensor`, bool `[num_items, num_items]`): for each item those that are no candidates, itself among
            them; but the second item of a pair always is one.
        corrections (`Tensor`, float `[num_items]`): added to the scores of each item, for sampling.
        temperature (`float` or scalar `Tensor`, positive): divides the cosine.

    Returns:
        the mean over pairs, a scalar.
    """
    scores = similarity_scores(vectors[first], vectors, temperature) + corrections
    left_out = together[first]
    left_out[torch.arange(len(first), device=scores.device), second] = False
    return F.cross_entropy(scores.masked_fill(left_out, float("-inf")), second)


def draw_negatives(labels: Tensor, num_items: int, num_negatives: int) -> Tensor:
    """Draws negatives uniformly from the catalogue, except each row's target, with torch's generator.

    Args:
        labels (`Tensor`, integer `[batch]`): target of each row.
        num_items (`int`): size of the catalogue, at least 2.
        num_negatives (`int`): negatives per row; the same item may be drawn more than once.

    Returns:
        item rows `[batch, num_negatives]`, never the row's own label.
    """
    # Drawn from one item fewer; the rows from the target on move up by one, so no draw has to be repeated or discarded.
    drawn = torch.randint(num_items - 1, (labels.shape[0], num_negatives), device=labels.device)
    return drawn + (drawn >= labels[:, None])


def masked_token_losses(logits: Tensor, labels: Tensor, in_context: Tensor) -> tuple[Tensor, Tensor]:
    """Masked-language-modelling loss of the contexts and of the items, each the mean over its own masked tokens.

    Args:
        logits (`Tensor` `[num_masked, vocab_size]`): predictions at the masked tokens.
        labels (`Tensor` `[num_masked]`): the original tokens.
        in_context (`Tensor`, bool `[num_masked]`): True for a token of a context, False for one of an item.

    Returns:
        the loss of the contexts and that of the items; a side without masked tokens contributes 0.
    """
    losses = F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels, reduction="none")
    sides = torch.stack([in_context, ~in_context]).to(losses.dtype)
    # Elementwise, because autocast would compute a matrix product in 16 bits.
    means = (sides * losses).sum(1) / sides.sum(1).clamp_min(1)
    return means[0], means[1]
