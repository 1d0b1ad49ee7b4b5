"""The blocked window in inference through torch's CPU flash kernel, which reads overlapping views without copies."""

from __future__ import annotations

from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from ..window_blocks import WindowBlocks


class FlashKernel(Protocol):
    """Attention that returns its output and the log-sum-exp of the scores."""

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, dropout: float, causal: bool, /, *, attn_mask: Tensor
    ) -> tuple[Tensor, Tensor]: ...


def flash_window(
    flash: FlashKernel, query: Tensor, key: Tensor, value: Tensor, blocks: WindowBlocks, num_heads: int
) -> Tensor:
    """Window attention without a gradient, `[num_rows, hidden_size]` from three of that shape.

    The kernel reads overlapping views, so keys and values are not copied three times. All heads of a block lie together
    in memory. The log-sum-exp lets the `<s>` out of the window join the softmax afterwards: it gets the weight
    `sigmoid(score - lse)`, and the window the rest.
    """
    queries, keys, values, first_keys, first_values = (
        each.transpose(0, 1)
        for each in (
            blocks.split_queries(query, num_heads),
            blocks.window_view(key, num_heads),
            blocks.window_view(value, num_heads),
            blocks.first_of(key, num_heads),
            blocks.first_of(value, num_heads),
        )
    )
    output, lse = flash(queries, keys, values, 0.0, False, attn_mask=blocks.bias(query.dtype)[:, None])
    score = torch.matmul(queries, first_keys.transpose(-1, -2)).squeeze(-1).to(lse.dtype) * queries.shape[-1] ** -0.5
    weight = torch.sigmoid(score - lse).masked_fill_(~blocks.far[:, None], 0.0).unsqueeze(-1).to(output.dtype)
    return blocks.join_queries(torch.lerp(output, first_values, weight).transpose(0, 1))


@cache
def flash_kernel() -> FlashKernel | None:
    """torch's CPU flash kernel with log-sum-exp: a private operator, used only if a self-test passes."""
    try:
        kernel: FlashKernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        # dtype and device are named, because the first caller may have set other defaults, or have autocast on.
        query = torch.linspace(-1, 1, 2 * 2 * 4 * 8, dtype=torch.float32, device="cpu").view(2, 2, 4, 8)
        buffer = torch.linspace(1, -1, 8 * 16, dtype=torch.float32, device="cpu").cos()
        keys = buffer.as_strided((2, 2, 6, 8), (2 * 16, 8, 16, 1))
        bias = torch.zeros(2, 1, 4, 7, dtype=torch.float32, device="cpu")
        bias = bias.masked_fill_(torch.arange(7, device="cpu") == 2, torch.finfo(torch.float32).min)[..., :6]
        with torch.autocast("cpu", enabled=False):
            output, lse = kernel(query, keys, keys, 0.0, False, attn_mask=bias)
            scores = query @ keys.transpose(-1, -2) * 8**-0.5 + bias
            expected, expected_lse = scores.softmax(-1) @ keys, scores.logsumexp(-1)
        if torch.allclose(output, expected, atol=1e-5) and torch.allclose(lse, expected_lse, atol=1e-5):
            return kernel
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        pass
    return None


__all__ = ["FlashKernel", "flash_kernel", "flash_window"]
