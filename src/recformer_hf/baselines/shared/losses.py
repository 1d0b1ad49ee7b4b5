"""Losses over scores of items. Each is a plain function, and returns the mean over targets.

Notation: s+ is the score of a target, s_j that of its negative j, N the number of items of the catalogue. Where
negatives are given, `accidental` marks those that are the target itself; they count nowhere.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers.utils import logging

logger = logging.get_logger(__name__)

MOST_SCORES = {"cpu": 2**20}
"""Scores that are in memory together, by the kind of device: as many as stay in a processor's cache, 4 MiB in float32.
Any other device takes `2**25`."""
FEWEST_TARGETS = 32
"""Targets whose scores are in memory together, however large the catalogue is. One alone would be slow."""


def full_cross_entropy(states: Tensor, items: Tensor, labels: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy over the whole catalogue: mean of log sum_i exp(s_i) - s+.

    Only some targets have scores at a time (`MOST_SCORES`), and the forward pass computes the gradients from them. So
    memory does not grow with the number of targets, and nothing is computed twice. Without targets it is 0.

    Args:
        states (`Tensor` `[num_targets, width]`): vectors of the histories.
        items (`Tensor` `[num_items, width]`): vectors of the catalogue.
        labels (`Tensor`, int64 `[num_targets]`): rows of the targets.
        bias (`Tensor` `[num_items]`, *optional*): added to the scores.
    """
    if len(items) > 2**18:
        logger.warning_once(
            f"A softmax over {len(items):,} items is computed for every target: a step is slow. "
            "loss='sampled_softmax' compares a target with a few hundred items."
        )
    summed: Tensor = _SummedCrossEntropy.apply(states, items, labels, bias)  # type: ignore[no-untyped-call]
    return summed / max(len(states), 1)


class _SummedCrossEntropy(torch.autograd.Function):
    """The sum over targets. The gradient of a target's loss by its scores is softmax(s) - 1 at the target."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, items: Tensor, labels: Tensor, bias: Tensor | None) -> Tensor:
        kind = states.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
        exact = torch.promote_types(dtype, torch.float32)
        left, right = states.to(dtype), items.to(dtype)
        of_states = torch.empty_like(left)
        of_items = torch.zeros_like(items, dtype=exact) if ctx.needs_input_grad[1] else None
        of_bias = None if bias is None else torch.zeros_like(bias, dtype=exact)
        summed = states.new_zeros((), dtype=exact)
        at_once = max(FEWEST_TARGETS, MOST_SCORES.get(kind, 2**25) // len(items))
        with torch.autocast(kind, enabled=False):
            for start in range(0, len(left), at_once):
                part, own = left[start : start + at_once], labels[start : start + at_once]
                scores = F.linear(part, right).to(exact)
                if bias is not None:
                    scores += bias
                highest, of_target = scores.amax(1, keepdim=True), scores.gather(1, own[:, None])
                scores.sub_(highest).exp_()
                total = scores.sum(1, keepdim=True)
                summed += (total.log() + highest - of_target).sum()
                gradient = scores.div_(total)
                gradient[torch.arange(len(own), device=own.device), own] -= 1
                if of_bias is not None:
                    of_bias += gradient.sum(0)
                gradient = gradient.to(dtype)
                of_states[start : start + at_once] = gradient @ right
                if of_items is not None and dtype == exact:
                    of_items.addmm_(gradient.T, part)
                elif of_items is not None:
                    of_items += gradient.T @ part
        ctx.save_for_backward(of_states.to(states.dtype), of_items, of_bias)
        return summed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_states, of_items, of_bias = (None if each is None else gradient * each for each in ctx.saved_tensors)
        return of_states, of_items, None, of_bias


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
