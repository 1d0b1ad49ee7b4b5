"""The operations of the encoder that have a faster implementation than the plain expression of torch.

Each function computes the plain expression in its docstring, and falls back to it. The faster implementations, most of
them for CPUs only, are in `cpu/` and `feed_forward.py`; a reader of the model need not open them.
`python -m benchmarks.ablation` measures what each of them gains.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import GELUActivation

from .cpu.alignment import align_weights
from .cpu.dropout import draw_mask, masked
from .cpu.dropout import dropout as cpu_dropout
from .cpu.dropout import dropout_add as cpu_dropout_add
from .cpu.flash import flash_kernel, flash_window
from .cpu.linear import linear as cpu_linear
from .cpu.onednn import compiles_by_shape
from .cpu.rows import rows_to_run
from .feed_forward import RecomputingFeedForward, feed_forward_in_blocks
from .plain_modules import is_plain_linear, is_untouched
from .window_blocks import WindowBlocks


def _runs_on_cpu(device: torch.device) -> bool:
    """Whether to use the implementations for CPUs. A compiler fuses the plain expressions itself."""
    return device.type == "cpu" and not torch.compiler.is_compiling()


def linear(module: nn.Module, hidden: Tensor) -> Tensor:
    """`module(hidden)`, for an `nn.Linear` or whatever stands in its place.

    Args:
        module: the linear layer.
        hidden (`Tensor` `[num_rows, in_features]`): its input.

    Returns:
        `[num_rows, out_features]`.
    """
    # The backward pass for CPUs multiplies plain matrices; other modules (LoRA, quantised, hooked) have to be called.
    if hidden.ndim == 2 and _runs_on_cpu(hidden.device) and is_plain_linear(module):
        return cpu_linear(hidden, module.weight, module.bias)
    output: Tensor = module(hidden)
    return output


def feed_forward(first: nn.Module, activation: nn.Module, second: nn.Module, hidden: Tensor) -> Tensor:
    """`second(activation(first(hidden)))`; with GELU, training keeps less of it and CPUs run it block by block.

    Args:
        first, second: the two linear layers.
        activation: the activation between them.
        hidden (`Tensor` `[num_rows, hidden_size]`): their input, in the dtype to compute in.

    Returns:
        `[num_rows, hidden_size]`.
    """
    if (
        is_plain_linear(first)
        and is_plain_linear(second)
        and is_untouched(activation, GELUActivation)
        and not torch.compiler.is_compiling()
    ):
        weights = (first.weight, first.bias, second.weight, second.bias)
        # Each case that is not taken here has nothing to gain: inference on a GPU, and a forward pass of frozen
        # weights.
        if not torch.is_grad_enabled():
            if hidden.device.type == "cpu":
                return feed_forward_in_blocks(hidden, *(weight.to(hidden.dtype) for weight in weights))
        elif hidden.requires_grad or any(weight.requires_grad for weight in weights):
            output: Tensor = RecomputingFeedForward.apply(hidden, *(weight.to(hidden.dtype) for weight in weights))  # type: ignore[no-untyped-call]
            return output
    return linear(second, activation(linear(first, hidden)))


def dropout(hidden: Tensor, probability: float, training: bool) -> Tensor:
    """`F.dropout(hidden, probability, training)`, with masks that are cheap to draw on a CPU."""
    if training and probability and _runs_on_cpu(hidden.device):
        return cpu_dropout(hidden, probability)
    return F.dropout(hidden, probability, training)


def dropout_add(hidden: Tensor, residual: Tensor, probability: float, training: bool) -> Tensor:
    """`residual + F.dropout(hidden, probability, training)`, for a residual whose dtype is at least as wide as that of
    `hidden`."""
    if training and probability and _runs_on_cpu(hidden.device):
        return cpu_dropout_add(hidden, residual, probability)
    dropped = F.dropout(hidden, probability, training)
    if _runs_on_cpu(hidden.device) and dropped.dtype != residual.dtype:
        # The sum goes into the copy that the cast makes; a sum of two types would allocate another one.
        return dropped.to(residual.dtype).add_(residual)
    return dropped + residual


def keep_mask(shape: tuple[int, ...], probability: float, device: torch.device) -> tuple[Tensor, float]:
    """`torch.rand(shape) >= probability` as uint8, and `1 / (1 - probability)`: a dropout mask and its factor.

    Args:
        shape: shape of the mask.
        probability (`float` in (0, 1)): share of elements to drop.
        device: where to draw.
    """
    if device.type == "cpu":
        return draw_mask(shape, probability)
    return (torch.rand(shape, device=device) >= probability).to(torch.uint8), 1 / (1 - probability)


def window_inference(query: Tensor, key: Tensor, value: Tensor, blocks: WindowBlocks, num_heads: int) -> Tensor:
    """Attention of the window's blocks where no gradient is recorded.

    Args:
        query, key, value (`Tensor` `[num_rows, hidden_size]`): projections of the packed row.
        blocks: the blocks of the row.
        num_heads (`int`): heads of the layer.

    Returns:
        `[num_rows, hidden_size]`.
    """
    flash = flash_kernel() if query.device.type == "cpu" else None
    if flash is not None:
        return flash_window(flash, query, key, value, blocks, num_heads)
    scale = (query.shape[1] // num_heads) ** -0.5
    queries, first_keys = blocks.split_queries(query * scale, num_heads), blocks.first_of(key, num_heads)
    near, far = blocks.probabilities(queries, blocks.windows_by_head(key, num_heads), first_keys)
    output = torch.matmul(near, blocks.windows_by_head(value, num_heads))
    return blocks.join_queries(output.addcmul_(far, blocks.first_of(value, num_heads)))


def extra_rows(num_rows: int, dtype: torch.dtype, device: torch.device) -> int:
    """How many rows to run in addition to `num_rows`: 0 would do, but CPUs are faster with few distinct sizes.

    Args:
        num_rows (`int`): rows that are needed.
        dtype: what the linear layers compute in.
        device: where the rows are.
    """
    if not _runs_on_cpu(device):
        return 0
    return rows_to_run(num_rows, compiles_by_shape(dtype)) - num_rows


__all__ = [
    "align_weights",
    "dropout",
    "dropout_add",
    "extra_rows",
    "feed_forward",
    "keep_mask",
    "linear",
    "masked",
    "window_inference",
]
