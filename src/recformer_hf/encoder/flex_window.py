"""Window attention by torch's `flex_attention`: a compiled block-sparse kernel for CUDA."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from .packing import SequenceLayout

FLEX_BLOCK = 128
"""Tokens in a block of `flex_attention`'s masks: its own default."""


def flex_window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: SequenceLayout,
    num_heads: int,
    half_window: int,
    dropout: float,
) -> tuple[Tensor, None]:
    """Window attention by `flex_attention`; see `eager_window_attention` for arguments and result."""
    assert dropout == 0, "select_implementation refuses dropout"
    mask = layout.derive(("flex_mask", half_window), lambda: flex_block_mask(layout, half_window))
    q, k, v = (x.unflatten(1, (num_heads, -1)).transpose(0, 1)[None] for x in (query, key, value))
    output = _flex_attention(query.device.type)(q, k, v, block_mask=mask)
    return output[0].transpose(0, 1).flatten(1), None


def flex_block_mask(layout: SequenceLayout, half: int) -> BlockMask:
    """Which blocks of keys each block of queries needs, and which token sees which in those blocks.

    It is computed from where the sequences begin. Unlike `create_block_mask`, this allocates nothing of size
    `total_tokens` squared and waits for no device: 8,192 tokens took 1 GB there and take 6 MB here.
    """
    sequence_ids, positions, total = layout.sequence_ids, layout.positions, layout.total_tokens

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        near = ((query - key).abs() <= half) | (positions[key] == 0)
        return (sequence_ids[query] == sequence_ids[key]) & near

    blocks = torch.arange(-(-total // FLEX_BLOCK), device=layout.device)
    starts = blocks * FLEX_BLOCK
    # Of the sequences that begin before a block, only the one of its first query reaches into it; any other <s> is
    # inside.
    first = layout.first_tokens[sequence_ids[starts]]
    lowest = torch.maximum(first, starts - half) // FLEX_BLOCK
    highest = (starts + FLEX_BLOCK - 1 + half).clamp(max=total - 1) // FLEX_BLOCK
    needed = (blocks >= lowest[:, None]) & (blocks <= highest[:, None]) | (blocks == (first // FLEX_BLOCK)[:, None])
    counts = needed.sum(1, dtype=torch.int32)
    indices = needed.int().argsort(dim=1, descending=True, stable=True).int()
    return BlockMask.from_kv_blocks(
        counts[None, None], indices[None, None], BLOCK_SIZE=FLEX_BLOCK, mask_mod=sees, seq_lengths=(total, total)
    )


@cache
def _flex_attention(device_type: str) -> Callable[..., Tensor]:
    # Uncompiled, it materialises all scores, which is only useful for tests on a machine without a GPU.
    function: Callable[..., Tensor] = flex_attention
    return torch.compile(function, dynamic=True) if device_type == "cuda" else function


__all__ = ["FLEX_BLOCK", "flex_block_mask", "flex_window_attention"]
