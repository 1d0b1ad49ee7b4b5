"""How weights lie in memory, on CPUs whose products depend on it: a saved model then gives the bits of the one it was.

torch begins a tensor at a multiple of 64 bytes, but loaded weights are maps of a file and begin anywhere in it. Some
kernels (MKL's for SSE4.2, for one) group their sums by the address: products of the same numbers then differ in the
last place.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

ALIGNMENT = 64
"""Bytes: what torch aligns tensors of its own making to."""


def align_weights(model: nn.Module) -> None:
    """Copies weights that begin elsewhere to where torch would have put them, if this CPU's products depend on it."""
    for weight in model.parameters():
        if weight.device.type == "cpu" and weight.data_ptr() % ALIGNMENT and products_depend_on_alignment():
            weight.data = weight.data.clone()


@cache
def products_depend_on_alignment() -> bool:
    """Whether float32 products with a matrix that begins 56 bytes behind a multiple of 64 have other bits."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for width in (32, 64, 768):
            matrix = torch.randn(96, width, generator=generator, dtype=torch.float32, device="cpu")
            moved = _moved(matrix, 56)
            for rows in (1, 2, 3, 17, 64):
                other = torch.randn(rows, width, generator=generator, dtype=torch.float32, device="cpu")
                pairs = ((other @ m.T, m @ other.T, m @ other[0]) for m in (matrix, moved))
                if not all(torch.equal(ours, theirs) for ours, theirs in zip(*pairs, strict=True)):
                    return True
    return False


def _moved(tensor: Tensor, offset: int) -> Tensor:
    """A copy that begins `offset` bytes behind a multiple of 64."""
    buffer = torch.empty(tensor.numel() + 2 * ALIGNMENT // 4, dtype=torch.float32, device="cpu")
    start = (offset - buffer.data_ptr()) % ALIGNMENT // 4
    return buffer[start : start + tensor.numel()].view(tensor.shape).copy_(tensor)


__all__ = ["align_weights", "products_depend_on_alignment"]
