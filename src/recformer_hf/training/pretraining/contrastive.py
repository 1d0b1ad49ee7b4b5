"""Item-item contrastive learning over several processes, and over batches that do not fit into memory."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from ...encoder.losses import contrastive_loss, mask_duplicates, similarity_scores

if TYPE_CHECKING:
    from accelerate import Accelerator

_TIE = 1e-4
"""Scores nearer than this are equal: more than their rounding, less than what tells items apart."""


def rows_of_processes(rows: int, device: torch.device) -> list[int]:
    """How many rows each process has, in order of rank; `[rows]` without processes."""
    if not _several_processes():
        return [rows]
    own = torch.tensor([rows], device=device)
    counts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, own)
    return torch.cat(counts).tolist()


def gather_rows(rows: Tensor, sizes: list[int]) -> Tensor:
    """The rows of all processes, in order of rank, with their gradient.

    Every process may use the result in a loss of its own; the gradient of a row is then the sum of what all of their
    losses give it.

    Args:
        rows (`Tensor` `[sizes[rank], ...]`): of this process.
        sizes: rows of each process (`rows_of_processes`).

    Returns:
        `[sum(sizes), ...]`.
    """
    if len(sizes) == 1:
        return rows
    if torch.is_grad_enabled() and rows.requires_grad:
        return _GatherRows.apply(rows, sizes)
    return _gathered(rows, sizes)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        first = sum(sizes[: dist.get_rank()])
        ctx.own = slice(first, first + len(rows))
        return _gathered(rows, sizes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.own], None


def _gathered(rows: Tensor, sizes: list[int]) -> Tensor:
    """Collectives take equal shapes: rows are padded to the longest and cut again."""
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
        contexts, items (`Tensor` `[batch, hidden_size]`): vectors of the contexts and of their own items.
        target_ids (`Tensor`, int `[batch]`): which item each is; the same item twice is no negative of itself.
        temperature: what cosines are divided by.
        sizes: rows of each process; `None` leaves other processes out.

    Returns:
        the sum of the losses over the contexts, and how many of them have their own item first among all items (a
        duplicate of it left out), scalars. Items that tie for the first place share it, as those of equal text do: an
        encoder that gives all items one vector has 1 of each batch right.
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
        value (scalar): what to backpropagate.
        sums (`Tensor` `[3]`): contrastive loss, MLM loss of contexts and of items, each as a sum on this process.
        correct (scalar): contexts whose own item comes first (`pair_loss`).
        outputs: of the model; of the last chunk, where there are several.
    """

    value: Tensor
    sums: Tensor
    correct: Tensor
    outputs: Any


def loss_at_once(model: Any, batch: dict[str, Any], scales: Tensor, temperature: float) -> PretrainingLoss:
    """The loss of a packed batch, the items of all processes being its negatives.

    Args:
        model: a [`RecformerForPretraining`], as it is wrapped for training.
        batch: of [`PretrainingCollator`].
        scales (`Tensor` `[3]`): what each of `sums` is multiplied by.
        temperature: what cosines are divided by.
    """
    outputs = model(**batch)
    sizes = rows_of_processes(len(batch["target_ids"]), scales.device)
    contrastive, correct = pair_loss(
        outputs.context_embeds, outputs.item_embeds, batch["target_ids"], temperature, sizes
    )
    sums = torch.stack([contrastive, *mlm_sums(outputs, loss_counts(batch))])
    return PretrainingLoss((sums * scales).sum(), sums.detach(), correct, outputs)


def loss_in_chunks(
    model: Any, batch: dict[str, Any], scales: Tensor, temperature: float, *, chunk_size: int, accelerator: Accelerator
) -> PretrainingLoss:
    """The same, with the activations of one chunk at a time in memory (gradient caching).

    First come the vectors of all pairs, without gradient, the loss, and its gradient with respect to the vectors; then
    every chunk again, with the gradient of its vectors and its part of the MLM losses. Backward of all chunks but the
    last has happened when this returns; `value` is the loss of the whole batch with the last chunk's gradient.

    Args:
        model, batch, scales, temperature: as in [`loss_at_once`].
        chunk_size: pairs of one forward.
        accelerator: of the run; gradients are synchronized with the last chunk's.
    """
    sizes = rows_of_processes(len(batch["target_ids"]), scales.device)
    chunks = split_pairs(batch, min(-(-max(sizes) // chunk_size), min(sizes)))  # as many on every process
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
    return PretrainingLoss(value + (total - value).detach(), sums, correct, outputs)


def loss_counts(batch: dict[str, Any]) -> Tensor:
    """What the terms of the pretraining loss are means over: float32 `[3]`.

    Contexts, masked tokens of contexts, masked tokens of items. Nothing waits for the device.
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


def mlm_sums(outputs: Any, counts: Tensor) -> list[Tensor]:
    """MLM losses of contexts and items as sums over their masked tokens, from the model's means and `loss_counts`."""
    if outputs.mlm_context_loss is None:
        return [counts.new_zeros(()), counts.new_zeros(())]
    return [outputs.mlm_context_loss * counts[1], outputs.mlm_item_loss * counts[2]]


def vectors_without_gradient(
    model: Any, chunks: list[dict[str, Any]], device: torch.device
) -> tuple[Tensor, Tensor, list[RandomState]]:
    """First pass of the cached loss: vectors of all pairs, and the random state that each chunk began with.

    The masked copies go along, so that dropout draws for the originals exactly what it will draw in the second pass;
    none of their tokens is predicted.

    Returns:
        contexts and items `[batch, hidden_size]`, which collect a gradient, and the states.
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
    """Cuts a packed batch of contexts and items into chunks of nearly as many pairs each.

    Composing is a pure function of each pair, so the chunks are what a collator would have made of fewer users.

    Args:
        batch: of [`PretrainingCollator`].
        num_chunks: at most the number of pairs.
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
    """torch's generators of the CPU and of a device, as they are now."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.of_cpu = torch.get_rng_state()
        self.of_device = None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)

    def restore(self) -> None:
        """Makes the generators draw from here on again."""
        torch.set_rng_state(self.of_cpu)
        if self.of_device is not None:
            torch.get_device_module(self.device).set_rng_state(self.of_device, self.device)
