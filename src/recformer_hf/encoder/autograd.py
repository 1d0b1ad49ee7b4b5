"""The context of an autograd function, typed: torch itself declares it as `Any`."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Context(Protocol):
    """What `torch.autograd.Function` gives to `forward` and `backward`; each function adds attributes of its own."""

    needs_input_grad: tuple[bool, ...]
    """Whether each argument of `forward` needs a gradient; known in `backward`."""
    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


__all__ = ["Context"]
