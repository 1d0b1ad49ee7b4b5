"""oneDNN on CPUs: whether its float32 products are exact here, how to ask for them, and its fused linear layer.

torch sends float32 products to its default library (MKL on most machines). oneDNN is faster on some processors: on an
AMD EPYC with AVX-512 it halves the time of encoding items. On processors with matrix units for bfloat16 (AMX) it would
round the numbers, so a self-test decides.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Protocol, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor


class FusedLinear(Protocol):
    """oneDNN's linear layer: input, weight, bias, and the name, the scalars and the algorithm of an activation."""

    def __call__(
        self, hidden: Tensor, weight: Tensor, bias: Tensor, activation: str, scalars: list[float], algorithm: str, /
    ) -> Tensor: ...


class _Placement(TypedDict):
    dtype: torch.dtype
    device: str


# The self-tests name dtype and device, because their first caller may have set other defaults.
_FLOAT32 = _Placement(dtype=torch.float32, device="cpu")


def serves_float32(hidden: Tensor) -> bool:
    """Whether to send the float32 products of this tensor to oneDNN."""
    return (
        hidden.dtype == torch.float32
        and hidden.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and is_exact()
    )


def products_for(hidden: Tensor) -> AbstractContextManager[None]:
    """A context in which products of this tensor go to oneDNN if it [`serves_float32`], else wherever torch sends
    them."""
    return onednn_products() if serves_float32(hidden) else nullcontext()


def fused_linear_for(hidden: Tensor) -> FusedLinear | None:
    """oneDNN's fused linear layer for this tensor, or None.

    float32 needs [`serves_float32`]; torch sends 16-bit products to oneDNN in any case.
    """
    if hidden.device.type == "cpu" and (hidden.dtype != torch.float32 or serves_float32(hidden)):
        return _fused_linear(hidden.dtype)
    return None


def compiles_by_shape(dtype: torch.dtype) -> bool:
    """Whether a CPU's products in this dtype go through oneDNN, which compiles a kernel for every new shape.

    It keeps a thousand of them. With a different number of rows in every batch, compiling took a quarter to a third of
    a training step in bfloat16 (MiniLM's size, 2,700 tokens), and memory kept growing.
    """
    return dtype in (torch.bfloat16, torch.float16) or (dtype == torch.float32 and is_exact())


_lock = threading.Lock()
_users_inside, _precision_before = 0, "none"


@contextmanager
def onednn_products() -> Iterator[None]:
    """Sends float32 products to oneDNN by allowing it to use bfloat16, which it does not, as [`is_exact`] has shown.

    The setting belongs to the process: the first thread to enter changes it, and the last one to leave restores it.
    Until then the older `torch.get_float32_matmul_precision()`, which does not know this setting, raises in any thread.
    """
    global _users_inside, _precision_before
    settings = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    with _lock:
        if _users_inside == 0:
            _precision_before = settings.fp32_precision
            settings.fp32_precision = "bf16"
        _users_inside += 1
    try:
        yield
    finally:
        with _lock:
            _users_inside -= 1
            if _users_inside == 0:
                settings.fp32_precision = _precision_before


@cache
def is_exact() -> bool:
    """Whether this torch can ask oneDNN for float32 products, and gets float32 ones on this processor."""
    try:
        generator = torch.Generator().manual_seed(0)
        a, b = (torch.randn(*shape, generator=generator, **_FLOAT32) for shape in ((96, 768), (768, 160)))
        with torch.autocast("cpu", enabled=False), onednn_products():
            product = a @ b
    except (AttributeError, RuntimeError, ValueError):  # torch before 2.9 does not have the setting
        return False
    exact = a.double() @ b.double()
    return bool(((product - exact).norm() / exact.norm()) < 1e-6)


@cache
def _fused_linear(dtype: torch.dtype) -> FusedLinear | None:
    """oneDNN's linear layer with an activation: a private operator of torch, used only if a self-test passes."""
    try:
        kernel: FusedLinear = torch.ops.mkldnn._linear_pointwise
        generator = torch.Generator().manual_seed(0)
        shapes = ((5, 64), (48, 64), (48,))
        hidden, weight, bias = (torch.randn(*shape, generator=generator, **_FLOAT32) for shape in shapes)
        hidden, weight, bias = hidden.to(dtype), (weight / 8).to(dtype), bias.to(dtype)
        with torch.inference_mode():
            found = [kernel(hidden, weight, bias, activation, [], "none") for activation in ("none", "gelu")]
        expected = F.linear(hidden.double(), weight.double(), bias.double())
        tolerance = 2e-2 if dtype.itemsize == 2 else 1e-5
        pairs = zip(found, (expected, F.gelu(expected)), strict=True)
        return kernel if all(float((one - two).abs().max()) < tolerance for one, two in pairs) else None
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        return None


__all__ = [
    "compiles_by_shape",
    "fused_linear_for",
    "is_exact",
    "onednn_products",
    "products_for",
    "serves_float32",
]
