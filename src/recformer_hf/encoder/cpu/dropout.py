"""Dropout whose masks are cheap to draw on a CPU, where `bernoulli_` costs more than the work that it masks."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..autograd import Context

_STEPS = 1 << 16  # values of an int16


def draw_mask(shape: tuple[int, ...], probability: float) -> tuple[Tensor, float]:
    """Draws a dropout mask that is determined by torch's own generator, so that seeds and checkpointing work as usual.

    Each 64-bit random number serves four elements, with the probability rounded to a multiple of 2^-16. This is eight
    times faster than `bernoulli_`. Half of the remaining time is saved by asking torch's generator, which draws in one
    thread, only for the seed of a faster one.

    Args:
        shape: shape of the mask.
        probability (`float` in (0, 1)): share of elements to drop.

    Returns:
        the mask, uint8, 1 where an element is kept, and the factor that keeps the expectation.
    """
    dropped = min(max(round(probability * _STEPS), 0), _STEPS - 1)
    count = math.prod(shape)
    lanes = _random_lanes((count + 3) // 4)
    # Bytes, because products with a bool tensor are several times slower on a CPU.
    keep = torch.empty(shape, dtype=torch.uint8, device="cpu")
    torch.ge(lanes[:count].view(shape), dropped - _STEPS // 2, out=keep)
    return keep, _STEPS / (_STEPS - dropped)


def _random_lanes(words: int) -> Tensor:
    """Uniform over all values of an int16, `[4 * words]`."""
    if torch.compiler.is_compiling():  # a compiler cannot trace NumPy's generators
        return torch.empty(words, dtype=torch.int64, device="cpu").random_(-(2**63), None).view(torch.int16)
    seed = int(torch.randint(2**63 - 1, (), device="cpu"))
    generator = np.random.Generator(np.random.SFC64(seed))
    drawn = generator.integers(-(2**63), 2**63 - 1, words, dtype=np.int64, endpoint=True)
    return torch.from_numpy(drawn.view(np.int16))


def masked(values: Tensor, keep: Tensor) -> Tensor:
    """`values * keep`, computed in a copy of the mask: a product of two types would allocate yet another tensor."""
    return keep.to(values.dtype).mul_(values)


def dropout(hidden: Tensor, probability: float) -> Tensor:
    """`F.dropout(hidden, probability)` with a mask from [`draw_mask`]."""
    output: Tensor = _Dropout.apply(hidden, probability)  # type: ignore[no-untyped-call]
    return output


def dropout_add(hidden: Tensor, residual: Tensor, probability: float) -> Tensor:
    """`residual + dropout(hidden, probability)` in one pass; the residual may be wider than `hidden`."""
    output: Tensor = _DropoutAdd.apply(hidden, residual, probability)  # type: ignore[no-untyped-call]
    return output


class _ScaleContext(Context, Protocol):
    scale: float


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _ScaleContext, hidden: Tensor, probability: float) -> Tensor:
        keep, ctx.scale = draw_mask(hidden.shape, probability)
        ctx.save_for_backward(keep)
        return masked(hidden, keep).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: _ScaleContext, *gradients: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return masked(gradients[0], keep).mul_(ctx.scale), None


class _SumContext(_ScaleContext, Protocol):
    dtype: torch.dtype


class _DropoutAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _SumContext, hidden: Tensor, residual: Tensor, probability: float) -> Tensor:
        keep, ctx.scale = draw_mask(hidden.shape, probability)
        ctx.save_for_backward(keep)
        ctx.dtype = hidden.dtype
        if hidden.dtype == residual.dtype:
            return torch.addcmul(residual, hidden, keep.to(hidden.dtype), value=ctx.scale)
        return torch.add(residual, masked(hidden, keep), alpha=ctx.scale)

    @staticmethod
    def backward(ctx: _SumContext, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (keep,) = ctx.saved_tensors
        return masked(gradients[0].to(ctx.dtype), keep).mul_(ctx.scale), gradients[0], None


__all__ = ["draw_mask", "dropout", "dropout_add", "masked"]
