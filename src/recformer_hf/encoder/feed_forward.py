"""The feed-forward of a layer, `second(GELU(first(hidden)))`, computed in one piece.

Two widths of hidden state meet here: the intermediate one is four times the other, so its tensors cost the most memory.
In training, fewer of them are kept; in inference on a CPU, they never exist as a whole.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .autograd import Context
from .cpu.linear import linear_gradients, linear_without_gradient
from .cpu.onednn import products_for

# Bytes of the first layer's output that exist at a time. The C library reuses buffers of up to 32 MiB; larger ones are
# fresh pages every time, which cost a tenth of the time of both products. Blocks of 6 to 24 MiB are equally fast.
BLOCK_BYTES = 12 * 2**20


def feed_forward_in_blocks(hidden: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
    """`[num_rows, hidden_size]` -> `[num_rows, hidden_size]`, without a gradient, one block of rows after another."""
    expanded_bytes = hidden.shape[0] * weight1.shape[0] * hidden.element_size()
    blocks = hidden.tensor_split(max(1, -(-expanded_bytes // BLOCK_BYTES)))
    outputs = [
        linear_without_gradient(linear_without_gradient(block, weight1, bias1, "gelu"), weight2, bias2)
        for block in blocks
    ]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


class RecomputingFeedForward(torch.autograd.Function):
    """Keeps the input of GELU but not its output, which the backward pass computes again.

    At base size, that is 3,840 numbers per token, where the two layers and GELU would keep 6,912.
    """

    @staticmethod
    def forward(ctx: Context, hidden: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
        expanded = linear_without_gradient(hidden, weight1, bias1)
        ctx.save_for_backward(hidden, expanded, weight1, weight2)
        return linear_without_gradient(F.gelu(expanded), weight2, bias2)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, expanded, weight1, weight2 = ctx.saved_tensors
        needed, gradient = ctx.needs_input_grad, gradients[0].contiguous()
        of_first: tuple[Tensor | None, ...] = (None, None, None)
        with products_for(hidden):
            # One buffer for all tensors of this size: the pages of a fresh one cost more than GELU's arithmetic.
            buffer = F.gelu(expanded) if needed[3] else torch.empty_like(expanded)
            of_second = torch.mm(gradient.T, buffer) if needed[3] else None, gradient.sum(0) if needed[4] else None
            if any(needed[:3]):
                inner = torch.mm(gradient, weight2, out=buffer)
                torch.ops.aten.gelu_backward.grad_input(inner, expanded, grad_input=inner)
                of_first = linear_gradients(inner, hidden, weight1, needed[:3])
        return *of_first, *of_second


__all__ = ["RecomputingFeedForward", "feed_forward_in_blocks"]
