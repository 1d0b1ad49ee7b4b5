"""Moves weights to where torch would put them, so that a loaded model gives the same bits as the saved one on any CPU.

torch begins a tensor at a multiple of 64 bytes, but loaded weights are mapped from a file and may begin anywhere in it.
Some kernels (for example MKL's for SSE4.2) group their sums by address, so products of the same numbers may differ in
the last place.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from ..plain_modules import is_plain_tensor

ALIGNMENT = 64
"""Bytes to which torch aligns the tensors that it allocates."""


def align_weights(model: nn.Module) -> None:
    """Copies weights that begin elsewhere to where torch would have put them, if this CPU's products depend on it."""
    for weight in model.parameters():
        if not is_plain_tensor(weight):  # quantised or offloaded: it has no address of its own
            continue
        if weight.device.type == "cpu" and weight.data_ptr() % ALIGNMENT and products_depend_on_alignment():
            weight.data = weight.data.clone()


@cache
def products_depend_on_alignment() -> bool:
    """Whether float32 products change in the last place when a matrix begins 56 bytes past a multiple of 64."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for width in (32, 64, 768):
            matrix = torch.randn(96, width, generator=generator, dtype=torch.float32, device="cpu")
            moved = moved_copy(matrix, 56)
            for rows in (1, 2, 3, 17, 64):
                other = torch.randn(rows, width, generator=generator, dtype=torch.float32, device="cpu")
                pairs = ((other @ m.T, m @ other.T, m @ other[0]) for m in (matrix, moved))
                if not all(torch.equal(ours, theirs) for ours, theirs in zip(*pairs, strict=True)):
                    return True
    return False


def moved_copy(tensor: Tensor, offset: int) -> Tensor:
    """A copy that begins `offset` bytes past a multiple of 64."""
    buffer = torch.empty(tensor.numel() + 2 * ALIGNMENT // 4, dtype=torch.float32, device="cpu")
    start = (offset - buffer.data_ptr()) % ALIGNMENT // 4
    return buffer[start : start + tensor.numel()].view(tensor.shape).copy_(tensor)


__all__ = ["align_weights", "products_depend_on_alignment"]
