"""Linear layers through oneDNN: product, bias and activation in one kernel, and exact float32 in training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..autograd import Context
from .onednn import fused_linear_for, onednn_products, products_for, serves_float32


def linear(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`F.linear(hidden, weight, bias)` on a CPU: float32 forward and backward, 16-bit types in inference.

    Args:
        hidden (`Tensor` `[num_rows, in_features]`): the input.
        weight (`Tensor` `[out_features, in_features]`), bias (`Tensor` `[out_features]`): of any floating-point type.

    Returns:
        `[num_rows, out_features]`.
    """
    if not torch.is_grad_enabled():
        return linear_without_gradient(hidden, weight.to(hidden.dtype), bias.to(hidden.dtype))
    if serves_float32(hidden):
        output: Tensor = _OneDnnLinear.apply(hidden, weight, bias)  # type: ignore[no-untyped-call]
        return output
    return F.linear(hidden, weight, bias)


def linear_without_gradient(hidden: Tensor, weight: Tensor, bias: Tensor, activation: str = "none") -> Tensor:
    """A linear layer and its activation (`"none"` or `"gelu"`), all of one dtype, where no gradient is recorded.

    Where oneDNN's fused kernel can be used, it computes everything; elsewhere, bias and activation take another pass
    over the output.
    """
    kernel = fused_linear_for(hidden)
    if kernel is not None:
        return kernel(hidden, weight, bias, activation, [], "none")
    with products_for(hidden):
        output = F.linear(hidden, weight, bias)
    if activation == "gelu":
        # In place, because the pages of a fresh tensor of this size cost more than the arithmetic.
        torch.ops.aten.gelu_(output)
    return output


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        return linear_without_gradient(hidden, weight, bias)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight = ctx.saved_tensors
        with onednn_products():
            return linear_gradients(gradients[0].contiguous(), hidden, weight, ctx.needs_input_grad)


def linear_gradients(
    gradient: Tensor, hidden: Tensor, weight: Tensor, needed: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of a linear layer's input, weight and bias; None for each that is not `needed`."""
    return (
        torch.mm(gradient, weight) if needed[0] else None,
        torch.mm(gradient.T, hidden) if needed[1] else None,
        gradient.sum(0) if needed[2] else None,
    )


__all__ = ["linear", "linear_gradients", "linear_without_gradient"]
