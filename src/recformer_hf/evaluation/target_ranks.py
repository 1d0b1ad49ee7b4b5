"""`rank_targets`: turns a batch of scores into the rank of each target and the best items, on any device."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from .._renamed import renamed_names
from ..encoder.inputs import check_range

TieOrder = Literal["average", "optimistic", "pessimistic"]
"""Where a target stands among candidates with the same score: in their middle, before them, or behind them."""


def rank_targets(
    scores: Tensor,
    targets: Tensor,
    *,
    ties: TieOrder = "average",
    excluded: tuple[Tensor, Tensor] | None = None,
    candidates: Tensor | None = None,
    top_k: int = 10,
) -> tuple[Tensor, Tensor, Tensor]:
    """Rank each row's target among its candidates: by default all items.

    Works on any device and never synchronises with it.

    Args:
        scores (`Tensor` `[batch, num_items]`): higher is better.
        targets (`Tensor`, int `[batch]`): the item that came next.
        ties: where the target stands among candidates with the same score: in their middle (`"average"`, the mean of
            their places, which may end in one half), before them (`"optimistic"`, as in the public replication) or
            behind them (`"pessimistic"`).
        excluded (pair of `Tensor`, int `[n]`): (batch row, item) pairs that are excluded from the candidates; pairs may
            repeat.
        candidates (`Tensor`, int `[batch, n]`): the only candidates of each row, padded with -1; items may repeat.
        top_k (`int`): how many items to recommend.

    Returns:
        ranks: float64 `[batch]`, from 1; infinite where the target is not a candidate, and NaN where a score is NaN.
        num_candidates: int64 `[batch]`.
        recommended: int32 `[batch, top_k]`, best first, the lowest row first among equal scores; padded with -1.
            Candidates with a score of `-inf` are not recommended.

    Raises:
        ValueError: for other shapes, an unknown `ties`, or items outside the catalogue (checked on the CPU only, since
            reading them from a GPU would synchronise).
    """
    if ties not in get_args(TieOrder):
        raise ValueError(f"ties is {ties!r}; expected one of {', '.join(get_args(TieOrder))}.")
    if scores.ndim != 2 or targets.shape != scores.shape[:1] or top_k < 1:
        raise ValueError(
            f"Expected scores [batch, num_items], targets [batch], and top_k of at least 1, got {list(scores.shape)}, "
            f"{list(targets.shape)} and {top_k}."
        )
    scores = scores.detach()
    if not scores.is_floating_point():
        scores = scores.double()  # integers have no -inf to mask with
    num_items = scores.shape[1]
    targets = targets.to(scores.device).long()[:, None]
    check_range("targets", targets, num_items, "num_items")
    is_candidate = _candidate_mask(scores, excluded, candidates)

    target_scores = scores.gather(1, targets)
    higher, equal = scores > target_scores, scores == target_scores
    broken = scores.amax(1).isnan()  # a maximum is NaN if any score is
    if is_candidate is None:  # the most common case does without masks as large as the scores
        num_candidates = torch.full_like(targets[:, 0], num_items)
    else:
        higher, equal = higher & is_candidate, equal & is_candidate
        num_candidates = _row_counts(is_candidate)
        scores = scores.masked_fill(~is_candidate, float("-inf"))
    # `num_equal` counts the target itself, which is why 1 is subtracted below.
    behind = {"optimistic": 0.0, "average": 0.5, "pessimistic": 1.0}[ties]
    num_higher, num_equal = (_row_counts(found).double() for found in (higher, equal))
    ranks = 1 + num_higher + behind * (num_equal - 1)
    if is_candidate is not None:
        ranks = ranks.masked_fill(~is_candidate.gather(1, targets)[:, 0], float("inf"))
    return ranks.masked_fill(broken, float("nan")), num_candidates, _best_items(scores, top_k)


def _row_counts(mask: Tensor) -> Tensor:
    """How often each row is true, int64 `[batch]`."""
    if mask.device.type == "cpu":  # numpy takes a sixth of the time of a sum by torch
        return torch.from_numpy(np.count_nonzero(mask.numpy(), axis=1))
    return mask.sum(1)


def _candidate_mask(scores: Tensor, excluded: tuple[Tensor, Tensor] | None, candidates: Tensor | None) -> Tensor | None:
    """bool `[batch, num_items]`, or `None` if all items are candidates."""
    batch, num_items = scores.shape
    if excluded is None and candidates is None:
        return None
    if candidates is None:
        mask = torch.ones(batch, num_items, dtype=torch.bool, device=scores.device)
    else:
        if candidates.ndim != 2 or len(candidates) != batch:
            raise ValueError(f"candidates must be [{batch}, n], got {list(candidates.shape)}.")
        check_range("candidates", candidates.clamp_min(0), num_items, "num_items")
        # Column 0 takes the padding of -1 and is cut off again.
        padded = torch.zeros(batch, num_items + 1, dtype=torch.bool, device=scores.device)
        padded.scatter_(1, candidates.to(scores.device).long().clamp_min(-1) + 1, True)
        mask = padded[:, 1:]
    if excluded is not None:
        rows, items = (indices.to(scores.device).long() for indices in excluded)
        check_range("excluded items", items, num_items, "num_items")
        mask[rows, items] = False
    return mask


def _best_items(scores: Tensor, top_k: int) -> Tensor:
    """The items with the highest scores, int32 `[batch, top_k]`: of equal ones the lowest row first, -1 for `-inf`.

    `topk` alone takes any of the items that tie for the last places. Which ones it takes may differ between devices
    and batch sizes, so ties for the last places are resolved by row here.
    """
    k = min(top_k, scores.shape[1])
    best, items = scores.topk(min(k + 1, scores.shape[1]))
    tied = best[:, k - 1] == best[:, -1] if best.shape[1] > k else torch.zeros_like(best[:, 0], dtype=torch.bool)
    best, items = best[:, :k], items[:, :k]
    # Which rows have ties is not known of another device without synchronising.
    if scores.device.type != "cpu" or tied.float().mean() > 0.5:
        items = _lowest_rows(scores, best, items)
    elif tied.any():
        items[tied] = _lowest_rows(scores[tied], best[tied], items[tied])
    # In the order of rows first, so that the stable sort by score leaves equal scores in that order.
    items = items.sort(dim=1).values
    best, order = scores.gather(1, items).sort(dim=1, descending=True, stable=True)
    items = items.gather(1, order).masked_fill(best == float("-inf"), -1).int()
    return torch.nn.functional.pad(items, (0, top_k - k), value=-1)


def _lowest_rows(scores: Tensor, best: Tensor, items: Tensor) -> Tensor:
    """The items of the `best` scores, `[batch, k]`, with the lowest rows among those that tie with the last one."""
    batch, k = best.shape
    last = best[:, -1:]
    num_above = (best > last).sum(1, keepdim=True)
    # `topk` of these numbers takes the lowest rows among the items that tie with the last one.
    lowest_first = torch.arange(scores.shape[1], 0, -1, dtype=torch.int32, device=scores.device)
    tied = torch.where(scores == last, lowest_first, 0).topk(k).indices
    place = torch.arange(k, device=scores.device).expand(batch, k)
    return torch.where(place < num_above, items, tied.gather(1, (place - num_above).clamp_min(0)))


__getattr__ = renamed_names(__name__, {"Ties": "TieOrder"})

__all__ = ["TieOrder", "rank_targets"]
