"""Window attention in blocks of half a window (`sdpa`): linear in the number of tokens, on every device."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from .autograd import Context
from .kernels import keep_mask, masked, window_inference
from .packing import SequenceLayout
from .window_blocks import WindowBlocks


def blocked_window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: SequenceLayout,
    num_heads: int,
    half_window: int,
    dropout: float,
) -> tuple[Tensor, None]:
    """Window attention in blocks; see `eager_window_attention` for arguments and result.

    It also takes rows after the last token, and gives them finite values.
    """
    blocks = WindowBlocks.of(layout, half_window, len(query))
    with_gradient = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    if not (with_gradient or dropout):
        return window_inference(query, key, value, blocks, num_heads), None
    blocks.bias(query.dtype)  # cached before a compiler traces the function below
    output: Tensor = BlockedWindow.apply(query, key, value, blocks, num_heads, dropout)  # type: ignore[no-untyped-call]
    return output, None


class _WindowContext(Context, Protocol):
    blocks: WindowBlocks
    num_heads: int
    factor: float


class BlockedWindow(torch.autograd.Function):
    """Window attention for training.

    Instead of both the probabilities `P` and the dropout mask `K`, it keeps only `P - 2 P∘K`, whose positive entries
    are the dropped ones.
    """

    @staticmethod
    def forward(
        ctx: _WindowContext, query: Tensor, key: Tensor, value: Tensor, blocks: WindowBlocks, heads: int, p: float
    ) -> Tensor:
        queries = blocks.split_queries(query * _scale(query, heads), heads)
        near, far = blocks.probabilities(queries, blocks.windows_by_head(key, heads), blocks.first_of(key, heads))
        kept_near, kept_far, factor = near, far, 1.0
        if p:
            (near_mask, factor), (far_mask, _) = (keep_mask(each.shape, p, each.device) for each in (near, far))
            kept_near, kept_far = masked(near, near_mask), masked(far, far_mask)
        output = torch.matmul(kept_near, blocks.windows_by_head(value, heads))
        output.addcmul_(kept_far, blocks.first_of(value, heads))
        output = blocks.join_queries(output).mul_(factor)
        signed = near.sub(kept_near, alpha=2), far.sub(kept_far, alpha=2)
        ctx.save_for_backward(query, key, value, output, *signed)
        ctx.blocks, ctx.num_heads, ctx.factor = blocks, heads, factor
        return output

    @staticmethod
    def backward(ctx: _WindowContext, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, near, far = ctx.saved_tensors
        blocks, heads = ctx.blocks, ctx.num_heads
        # The gradient of a softmax subtracts Σ_j P_j dL/dP_j: the product of the output with its gradient.
        gradient = gradients[0]
        mean = blocks.split_queries(gradient * output, heads).sum(-1, keepdim=True)
        given = blocks.split_queries(gradient * ctx.factor, heads).contiguous()
        window, first = blocks.windows_by_head(value, heads), blocks.first_of(value, heads)
        kept_near, kept_far = near.clamp(max=0), far.clamp(max=0)  # both are negated, and so is all that follows
        value_gradient = blocks.add_windows(
            torch.matmul(kept_near.transpose(-1, -2), given), torch.matmul(kept_far.transpose(-1, -2), given)
        )
        near_gradient = torch.matmul(given, window.transpose(-1, -2)).mul_(kept_near).addcmul_(near.abs(), mean)
        far_gradient = torch.matmul(given, first.transpose(-1, -2)).mul_(kept_far).addcmul_(far.abs(), mean)
        window, first = blocks.windows_by_head(key, heads), blocks.first_of(key, heads)
        query_gradient = torch.matmul(near_gradient, window).addcmul_(far_gradient, first)
        queries = blocks.split_queries(query * _scale(query, heads), heads).contiguous()
        key_gradient = blocks.add_windows(
            torch.matmul(near_gradient.transpose(-1, -2), queries),
            torch.matmul(far_gradient.transpose(-1, -2), queries),
        )
        query_gradient = blocks.join_queries(query_gradient).mul_(-_scale(query, heads))
        return query_gradient, key_gradient.neg_(), value_gradient.neg_(), None, None, None


def _scale(query: Tensor, num_heads: int) -> float:
    return float((query.shape[1] // num_heads) ** -0.5)


__all__ = ["blocked_window_attention"]
