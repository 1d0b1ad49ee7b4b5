"""The loss of item-item contrastive learning, over several processes and for batches that do not fit into memory."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from ...encoder.losses import contrastive_loss, mask_duplicates, similarity_scores
from ...encoder.outputs import RecformerForPreTrainingOutput

if TYPE_CHECKING:
    from accelerate import Accelerator

_TIE = 1e-4
"""Scores that differ by less are equal: it is more than their rounding error and less than what separates items."""


def rows_of_processes(rows: int, device: torch.device) -> list[int]:
    """How many rows each process has, in order of rank; `[rows]` if the run is not distributed."""
    if not _several_processes():
        return [rows]
    own = torch.tensor([rows], device=device)
    counts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, own)
    return torch.cat(counts).tolist()


def gather_rows(rows: Tensor, sizes: list[int]) -> Tensor:
    """Gathers the rows of all processes, in order of rank, and lets gradients through.

    Every process may use the result in a loss of its own. The gradient of a row is then the sum of its gradients in the
    losses of all processes.

    Args:
        rows (`Tensor` `[sizes[rank], ...]`): rows of this process.
        sizes: number of rows of each process ([`rows_of_processes`]).

    Returns:
        `[sum(sizes), ...]`.
    """
    if len(sizes) == 1:
        return rows
    if torch.is_grad_enabled() and rows.requires_grad:
        gathered: Tensor = _GatherRows.apply(rows, sizes)  # type: ignore[no-untyped-call]
        return gathered
    return _gathered(rows, sizes)


class _OwnRows(FunctionCtx):
    own: slice
    """Place of this process's rows among all rows."""


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _OwnRows, rows: Tensor, sizes: list[int]) -> Tensor:
        first = sum(sizes[: dist.get_rank()])
        ctx.own = slice(first, first + len(rows))
        return _gathered(rows, sizes)

    @staticmethod
    def backward(ctx: _OwnRows, *gradients: Tensor) -> tuple[Tensor, None]:
        # all_reduce works in place and only on contiguous tensors, and the incoming gradient is not this function's.
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.own], None


def _gathered(rows: Tensor, sizes: list[int]) -> Tensor:
    """Pads the rows to the largest size and cuts them again: `all_gather` takes tensors of equal shapes only."""
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows.detach()
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def _several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def pair_loss(
    contexts: Tensor, items: Tensor, target_ids: Tensor, temperature: float, sizes: list[int] | None = None
) -> tuple[Tensor, Tensor]:
    """Contrastive loss of this process's contexts, with the items of all processes as negatives.

    Args:
        contexts (`Tensor` `[batch, hidden_size]`): vectors of the contexts.
        items (`Tensor` `[batch, hidden_size]`): vectors of the target items, in the order of their contexts.
        target_ids (`Tensor`, int `[batch]`): ids of the target items. An item that occurs twice is not a negative of
            itself.
        temperature: divisor of the cosines.
        sizes: number of rows of each process; if `None`, only this process's items are negatives.

    Returns:
        two scalars: the sum of the losses over the contexts, and how many contexts rank their own item first among all
        items but its duplicates. Items that tie for the first place share it, as items of equal text do: an encoder
        that gives all items one vector has 1 context of each batch right.
    """
    sizes = [len(items)] if sizes is None else sizes
    first = sum(sizes[: dist.get_rank()]) if len(sizes) > 1 else 0
    scores = similarity_scores(contexts, gather_rows(items, sizes), temperature)
    scores = mask_duplicates(scores, gather_rows(target_ids, sizes), first)
    loss = contrastive_loss(scores, reduction="sum", first_positive=first)
    with torch.no_grad():
        nearest = scores >= scores.amax(1, keepdim=True) - _TIE
        own = nearest.diagonal(first) / nearest.sum(1)
    return loss, own.sum()


@dataclass(frozen=True)
class PretrainingLoss:
    """The loss of a batch.

    Args:
        value (scalar): loss to backpropagate.
        sums (`Tensor` `[3]`): contrastive loss, MLM loss of contexts, MLM loss of items, each summed on this process.
        correct (scalar): number of contexts that rank their own item first ([`pair_loss`]).
        outputs: outputs of the model; for a batch in chunks, those of the last chunk.
    """

    value: Tensor
    sums: Tensor
    correct: Tensor
    outputs: RecformerForPreTrainingOutput


def loss_at_once(model: nn.Module, batch: dict[str, Any], scales: Tensor, temperature: float) -> PretrainingLoss:
    """The loss of a packed batch, with the items of all processes as negatives.

    Args:
        model: a [`RecformerForPretraining`], or its wrapper for training.
        batch: batch of a [`PretrainingCollator`].
        scales (`Tensor` `[3]`): factors of the three `sums`.
        temperature: divisor of the cosines.
    """
    outputs = model(**batch)
    sizes = rows_of_processes(len(batch["target_ids"]), scales.device)
    contrastive, correct = pair_loss(
        outputs.context_embeds, outputs.item_embeds, batch["target_ids"], temperature, sizes
    )
    sums = torch.stack([contrastive, *mlm_sums(outputs, loss_counts(batch))])
    return PretrainingLoss((sums * scales).sum(), sums.detach(), correct, outputs)


def loss_in_chunks(
    model: nn.Module,
    batch: dict[str, Any],
    scales: Tensor,
    temperature: float,
    *,
    chunk_size: int,
    accelerator: Accelerator,
) -> PretrainingLoss:
    """The same loss with the activations of only one chunk at a time in memory (gradient caching, arXiv:2101.06983).

    The first pass computes the vectors of all pairs without gradient, the loss, and its gradient with respect to the
    vectors. The second pass runs every chunk again, with the gradient of its vectors and its part of the MLM losses.
    When this returns, the backward pass of all chunks but the last has run; `value` is the loss of the whole batch and
    carries the gradient of the last chunk.

    Args:
        model, batch, scales, temperature: as in [`loss_at_once`].
        chunk_size: most pairs of one forward pass.
        accelerator: accelerator of the run. Processes synchronize gradients in the backward pass of the last chunk.
    """
    sizes = rows_of_processes(len(batch["target_ids"]), scales.device)
    # The same number on every process: DDP expects all of them to run the model equally often.
    chunks = split_pairs(batch, min(-(-max(sizes) // chunk_size), min(sizes)))
    contexts, items, states = vectors_without_gradient(model, chunks, scales.device)
    contrastive, correct = pair_loss(contexts, items, batch["target_ids"], temperature, sizes)
    gradients = torch.autograd.grad(contrastive * scales[0], (contexts, items))
    sums = torch.stack([contrastive.detach(), *scales.new_zeros(2)])
    rows = [len(chunk["target_ids"]) for chunk in chunks]
    value = scales.new_zeros(())
    for chunk, state, *gradient in zip(chunks, states, *(each.split(rows) for each in gradients), strict=True):
        last = chunk is chunks[-1]
        with nullcontext() if last else accelerator.no_sync(model):
            state.restore()
            outputs = model(**chunk)
            mlm = torch.stack(mlm_sums(outputs, loss_counts(chunk)))
            value = (outputs.context_embeds * gradient[0]).sum() + (outputs.item_embeds * gradient[1]).sum()
            value = value + (mlm * scales[1:]).sum()
            sums[1:] += mlm.detach()
            if not last:
                accelerator.backward(value)
    total = (sums * scales).sum()
    # So far, `value` is a product with gradients and not a loss: only its gradient is kept.
    return PretrainingLoss(value + (total - value).detach(), sums, correct, outputs)


def loss_counts(batch: dict[str, Any]) -> Tensor:
    """What the three terms of the pretraining loss are averaged over, without waiting for the device.

    Returns:
        float32 `[3]`: the number of contexts, of masked tokens in contexts, and of masked tokens in items.
    """
    pairs, labels = len(batch["target_ids"]), batch.get("mlm_labels")
    counts = torch.full((3,), float(pairs), device=batch["input_ids"].device)
    if labels is None:
        counts[1:] = 0
    else:
        masked = labels[0] != -100
        in_context = torch.arange(len(masked), device=masked.device) < batch["cu_seqlens"][pairs]
        counts[1], counts[2] = (masked & in_context).sum(), (masked & ~in_context).sum()
    return counts


def mlm_sums(outputs: RecformerForPreTrainingOutput, counts: Tensor) -> list[Tensor]:
    """MLM losses of contexts and of items as sums over their masked tokens.

    Args:
        outputs: outputs of the model, whose losses are means.
        counts (`Tensor` `[3]`): [`loss_counts`] of the batch.
    """
    if outputs.mlm_context_loss is None or outputs.mlm_item_loss is None:
        return [counts.new_zeros(()), counts.new_zeros(())]
    return [outputs.mlm_context_loss * counts[1], outputs.mlm_item_loss * counts[2]]


def vectors_without_gradient(
    model: nn.Module, chunks: list[dict[str, Any]], device: torch.device
) -> tuple[Tensor, Tensor, list[RandomState]]:
    """First pass of the loss in chunks: vectors of all pairs, and the random state that each chunk started from.

    The masked copies are encoded too, although none of their tokens is predicted: only then does dropout draw the same
    numbers for the originals as in the second pass.

    Returns:
        vectors of contexts and of items, each `[batch, hidden_size]` and requiring a gradient, and the random states.
    """
    contexts, items, states = [], [], []
    with torch.no_grad():
        for chunk in chunks:
            states.append(RandomState(device))
            if "mlm_labels" in chunk:
                nothing = torch.full_like(chunk["mlm_labels"], -100)
                chunk = chunk | {"mlm_labels": nothing, "masked_rows": chunk["masked_rows"][:0]}
            outputs = model(**chunk)
            contexts.append(outputs.context_embeds)
            items.append(outputs.item_embeds)
    return torch.cat(contexts).requires_grad_(), torch.cat(items).requires_grad_(), states


def split_pairs(batch: dict[str, Any], num_chunks: int) -> list[dict[str, Any]]:
    """Splits a packed batch of contexts and items into chunks whose numbers of pairs differ by at most one.

    Every pair is composed independently of the others, so a chunk equals the batch that the collator makes of its users
    alone.

    Args:
        batch: batch of a [`PretrainingCollator`].
        num_chunks: number of chunks, at most the number of pairs.
    """
    bounds, pairs = batch["cu_seqlens"].tolist(), len(batch["target_ids"])
    cuts = [number * pairs // num_chunks for number in range(num_chunks + 1)]
    return [_take_pairs(batch, bounds, start, stop) for start, stop in pairwise(cuts)]


def _take_pairs(batch: dict[str, Any], bounds: list[int], start: int, stop: int) -> dict[str, Any]:
    pairs = len(batch["target_ids"])
    sides = [(start, stop), (pairs + start, pairs + stop)]
    lengths = [bounds[row + 1] - bounds[row] for first, last in sides for row in range(first, last)]
    chunk = {
        name: torch.cat([value[:, bounds[first] : bounds[last]] for first, last in sides], dim=1)
        for name, value in batch.items()
        if torch.is_tensor(value) and value.ndim == 2
    }
    ends = torch.tensor([0, *lengths]).cumsum(0)
    chunk["cu_seqlens"] = ends.to(batch["cu_seqlens"])
    if "mlm_labels" in chunk:
        chunk["masked_rows"] = (chunk["mlm_labels"][0] != -100).nonzero().squeeze(1)
    return chunk | {"max_seqlen": max(lengths), "target_ids": batch["target_ids"][start:stop]}


class RandomState:
    """A snapshot of torch's random generators on the CPU and on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.of_cpu = torch.get_rng_state()
        self.of_device = None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)

    def restore(self) -> None:
        """Puts the generators back to the snapshot, so that they draw the same again."""
        torch.set_rng_state(self.of_cpu)
        if self.of_device is not None:
            torch.get_device_module(self.device).set_rng_state(self.of_device, self.device)
