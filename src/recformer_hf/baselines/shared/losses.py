"""Losses over scores of items. Each is a plain function, and returns the mean over targets.

Notation: s+ is the score of a target, s_j that of its negative j, N the number of items of the catalogue. Where
negatives are given, `accidental` marks those that are the target itself; they count nowhere.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.utils import logging

logger = logging.get_logger(__name__)

MOST_SCORES = 2**25
"""Scores of the whole catalogue that are in memory together: 128 MiB in float32, and as much for their gradient."""


def full_cross_entropy(states: Tensor, items: Tensor, labels: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy over the whole catalogue: mean of log sum_i exp(s_i) - s+.

    If all scores together would take more than `MOST_SCORES`, targets are taken in chunks, and the backward pass
    computes the scores of a chunk again. Memory then does not grow with the number of targets. Without targets it is 0.

    Args:
        states (`Tensor` `[num_targets, width]`): vectors of the histories.
        items (`Tensor` `[num_items, width]`): vectors of the catalogue.
        labels (`Tensor`, int64 `[num_targets]`): rows of the targets.
        bias (`Tensor` `[num_items]`, *optional*): added to the scores.
    """
    chunk = max(1, MOST_SCORES // len(items))
    if len(states) <= chunk:
        return _summed_cross_entropy(states, items, labels, bias) / max(len(states), 1)
    logger.warning_once(
        f"A softmax over {len(items):,} items takes the scores of {chunk:,} of {len(states):,} targets at a time, and "
        "computes them again in the backward pass: a step is slow. loss='sampled_softmax' compares a target with a few "
        "hundred items."
    )
    sums = [
        checkpoint(_summed_cross_entropy, *part, bias, use_reentrant=False)
        for part in zip(states.split(chunk), [items] * -(-len(states) // chunk), labels.split(chunk), strict=True)
    ]
    return torch.stack(sums).sum() / len(states)


def _summed_cross_entropy(states: Tensor, items: Tensor, labels: Tensor, bias: Tensor | None) -> Tensor:
    scores = F.linear(states, items, bias)
    return F.cross_entropy(scores.float(), labels, reduction="sum")


def binary_cross_entropy(targets: Tensor, negatives: Tensor, accidental: Tensor, beta: float = 1.0) -> Tensor:
    """Binary cross-entropy: mean of -[beta log sigma(s+) + sum_j log(1 - sigma(s_j))] / k over targets.

    With one negative (k = 1) and beta 1, that is the loss of SASRec (Kang and McAuley 2018). With the beta of
    [`gbce_beta`], it is gBCE (Petrov and Macdonald 2023, "gSASRec").

    Args:
        targets (`Tensor` `[num_targets]`): s+.
        negatives (`Tensor` `[num_targets, k]`): s_j.
        accidental (`Tensor`, bool `[num_targets, k]`): negatives that are the target.
        beta (`float`): power of the target's probability.
    """
    wrong = F.softplus(negatives.float()).masked_fill(accidental, 0.0).sum(1)
    return ((beta * F.softplus(-targets.float()) + wrong) / negatives.shape[1]).mean()


def gbce_beta(num_negatives: int, num_items: int, calibration: float) -> float:
    """The beta of gBCE: alpha (t (1 - 1/alpha) + 1/alpha), with the sampling rate alpha = k / (N - 1).

    Sampling few negatives makes a model overconfident; beta < 1 takes it back (Petrov and Macdonald 2023).

    Args:
        num_negatives: k.
        num_items: N; with one item, which has no negatives, alpha is 1.
        calibration: t in [0, 1]. 0 gives 1, which is the plain binary cross-entropy; 1 gives alpha, which makes scores
            as calibrated as without sampling.
    """
    alpha = min(num_negatives / max(num_items - 1, 1), 1.0)
    return alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)


def sampled_softmax(targets: Tensor, negatives: Tensor, accidental: Tensor, log_counts: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy over a target and its negatives: mean of log(exp(s+) + sum_j exp(s_j - log c_j)) - s+.

    Args:
        targets (`Tensor` `[num_targets]`): s+.
        negatives (`Tensor` `[num_targets, k]`): s_j.
        accidental (`Tensor`, bool `[num_targets, k]`): negatives that are the target.
        log_counts (`Tensor` `[k]`, *optional*): log c_j, where c_j says how often item j is expected among the k
            negatives (the logQ correction; Bengio and Senécal 2008). The sum is then an unbiased estimate of that over
            the catalogue. By default no correction is made.
    """
    wrong = negatives.float() if log_counts is None else negatives.float() - log_counts
    scores = torch.cat([targets.float()[:, None], wrong.masked_fill(accidental, -math.inf)], 1)
    return (scores.logsumexp(1) - targets.float()).mean()


def bpr_max(targets: Tensor, negatives: Tensor, accidental: Tensor, regularization: float = 1.0) -> Tensor:
    """BPR-max: mean of -log sum_j w_j sigma(s+ - s_j) + lambda sum_j w_j s_j^2, with w = softmax over the negatives.

    From Hidasi and Karatzoglou 2018, "Recurrent neural networks with top-k gains for session-based recommendations".

    Args:
        targets (`Tensor` `[num_targets]`): s+.
        negatives (`Tensor` `[num_targets, k]`): s_j.
        accidental (`Tensor`, bool `[num_targets, k]`): negatives that are the target.
        regularization (`float`): lambda.
    """
    scores, log_weights = _weighted(negatives, accidental)
    # log sum_j w_j sigma(...), where the weights of low scores would underflow
    ranking = (log_weights + F.logsigmoid(targets.float()[:, None] - scores)).logsumexp(1)
    return (regularization * (log_weights.exp() * scores**2).sum(1) - ranking).mean()


def top1_max(targets: Tensor, negatives: Tensor, accidental: Tensor) -> Tensor:
    """TOP1-max: mean of sum_j w_j (sigma(s_j - s+) + sigma(s_j^2)), with w = softmax over the negatives.

    From the same paper as [`bpr_max`], with the same arguments.
    """
    scores, log_weights = _weighted(negatives, accidental)
    above = torch.sigmoid(scores - targets.float()[:, None]) + torch.sigmoid(scores**2)
    return (log_weights.exp() * above).sum(1).mean()


def _weighted(negatives: Tensor, accidental: Tensor) -> tuple[Tensor, Tensor]:
    """Scores in float32, and the logarithm of their softmax without those that are the target."""
    scores = negatives.float()
    # Not -inf: if all negatives of a target were the target, that would be NaN.
    return scores, torch.log_softmax(scores.masked_fill(accidental, torch.finfo(torch.float32).min), 1)


__all__ = [
    "binary_cross_entropy",
    "bpr_max",
    "full_cross_entropy",
    "gbce_beta",
    "sampled_softmax",
    "top1_max",
]
