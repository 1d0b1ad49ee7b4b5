"""Linear layers on CPUs: through oneDNN where its float32 products are exact, and faster than the default library's.

Bias, and in inference GELU, go into the product; in training the feed-forward keeps less. Everything else (GPUs but for
that, wrapped or hooked modules, compilation) takes the module's own way.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, TypeGuard, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kind = TypeVar("Kind", bound=nn.Module)


def is_untouched(module: nn.Module, kind: type[Kind]) -> TypeGuard[Kind]:
    """Whether a module is of exactly this kind, with nobody's hooks and its own `forward`: it need not be called."""
    return (
        type(module) is kind
        and "forward" not in module.__dict__
        and not (module._forward_hooks or module._forward_pre_hooks)
        and not (module._backward_hooks or module._backward_pre_hooks)
    )


def is_plain_linear(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether this is a floating-point `nn.Linear` with a bias that nobody wrapped, replaced or hooked."""
    return is_untouched(module, nn.Linear) and module.weight.is_floating_point() and module.bias is not None


def apply_linear(module: nn.Module, hidden: Tensor, weight: Tensor | None = None) -> Tensor:
    """`module(hidden)`, on a CPU through oneDNN: float32 forward and backward, 16-bit numbers in inference.

    Args:
        module: an `nn.Linear`, or whatever stands in its place.
        hidden (`Tensor` `[num_rows, in_features]`): its input; other shapes take the module's own way.
        weight (`Tensor` `[out_features, in_features]`, *optional*): the weight of a plain linear layer by another name,
            whose gradient goes another way.

    Returns:
        `[num_rows, out_features]`.
    """
    serves = hidden.ndim == 2 and hidden.device.type == "cpu" and not torch.compiler.is_compiling()
    if not (serves and is_plain_linear(module)):
        return module(hidden)
    weight = module.weight if weight is None else weight
    if not torch.is_grad_enabled() and _onednn_fuses(hidden):
        return _linear(hidden, weight.to(hidden.dtype), module.bias.to(hidden.dtype))
    apply = _OneDnnLinear.apply if _onednn_serves(hidden) else F.linear
    return apply(hidden, weight, module.bias)


def _linear(hidden: Tensor, weight: Tensor, bias: Tensor, activation: str = "none") -> Tensor:
    """A linear layer and its activation, all of one dtype, where no gradient is recorded.

    In one kernel of oneDNN where it serves: elsewhere bias and activation are passes of their own.
    """
    kernel = _fused_linear(hidden.dtype) if _onednn_fuses(hidden) else None
    if kernel is not None:
        return kernel(hidden, weight, bias, activation, [], "none")
    with _products_of(hidden):
        output = F.linear(hidden, weight, bias)
    # In place, because the pages of a fresh tensor of this size cost more than the arithmetic.
    return torch.ops.aten.gelu_(output) if activation == "gelu" else output


# Of what the first of the two layers gives, at a time. The C library keeps buffers of up to 32 MiB; larger ones are
# fresh pages every time, which cost a tenth of both products. Blocks of 6 to 24 MiB are equally fast.
_BLOCK_BYTES = 12 * 2**20


def apply_feed_forward(first: nn.Module, second: nn.Module, hidden: Tensor) -> Tensor | None:
    """`second(GELU(first(hidden)))`: in training it keeps less, in inference on a CPU it goes block by block.

    What training keeps is what goes into GELU and not what comes out of it: at base size 3,840 numbers of a token where
    the two layers and GELU keep 6,912, for GELU computed twice.

    Args:
        first, second: the two linear layers.
        hidden (`Tensor` `[num_rows, hidden_size]`): their input, in the dtype to compute in.

    Returns:
        `[num_rows, hidden_size]`, or None where the modules have to be called: wrapped ones, or on a GPU in inference.
    """
    if torch.compiler.is_compiling() or not (is_plain_linear(first) and is_plain_linear(second)):
        return None
    weights = (first.weight, first.bias, second.weight, second.bias)
    if torch.is_grad_enabled():
        if not (hidden.requires_grad or any(weight.requires_grad for weight in weights)):
            return None
        return _FeedForward.apply(hidden, *(weight.to(hidden.dtype) for weight in weights))
    if hidden.device.type != "cpu":
        return None
    return _feed_forward_in_blocks(hidden, *(weight.to(hidden.dtype) for weight in weights))


def _feed_forward_in_blocks(hidden: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
    expanded_bytes = hidden.shape[0] * weight1.shape[0] * hidden.element_size()
    blocks = hidden.tensor_split(max(1, -(-expanded_bytes // _BLOCK_BYTES)))
    outputs = [_linear(_linear(block, weight1, bias1, "gelu"), weight2, bias2) for block in blocks]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _onednn_fuses(hidden: Tensor) -> bool:
    """Whether to look for oneDNN's one kernel for this: 16-bit products are its own in any case."""
    return hidden.device.type == "cpu" and (hidden.dtype != torch.float32 or _onednn_serves(hidden))


def _onednn_serves(hidden: Tensor) -> bool:
    """Whether to send the float32 products of this to oneDNN."""
    return (
        hidden.dtype == torch.float32
        and hidden.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and _onednn_is_exact()
    )


def serves_by_shape(dtype: torch.dtype) -> bool:
    """Whether a CPU's products go through oneDNN, which compiles its kernels for every new shape and keeps a thousand.

    With the number of rows different in every batch that took a quarter to a third of a training step in bfloat16
    (MiniLM's size, 2,700 tokens), and memory without end.
    """
    return dtype in (torch.bfloat16, torch.float16) or (dtype == torch.float32 and _onednn_is_exact())


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        return _linear(hidden, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight = ctx.saved_tensors
        with _onednn_products():
            return _linear_gradients(gradients[0].contiguous(), hidden, weight, ctx.needs_input_grad)


def _linear_gradients(
    gradient: Tensor, hidden: Tensor, weight: Tensor, needed: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """Of a linear layer's input, weight and bias, those of them that are needed."""
    return (
        torch.mm(gradient, weight) if needed[0] else None,
        torch.mm(gradient.T, hidden) if needed[1] else None,
        gradient.sum(0) if needed[2] else None,
    )


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
        expanded = _linear(hidden, weight1, bias1)
        ctx.save_for_backward(hidden, expanded, weight1, weight2)
        return _linear(F.gelu(expanded), weight2, bias2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, expanded, weight1, weight2 = ctx.saved_tensors
        needed, gradient = ctx.needs_input_grad, gradients[0].contiguous()
        of_first: tuple[Tensor | None, ...] = (None, None, None)
        with _products_of(hidden):
            # One buffer for all that is of this size: the pages of a fresh one cost more than GELU's arithmetic.
            buffer = F.gelu(expanded) if needed[3] else torch.empty_like(expanded)
            of_second = torch.mm(gradient.T, buffer) if needed[3] else None, gradient.sum(0) if needed[4] else None
            if any(needed[:3]):
                inner = torch.mm(gradient, weight2, out=buffer)
                torch.ops.aten.gelu_backward.grad_input(inner, expanded, grad_input=inner)
                of_first = _linear_gradients(inner, hidden, weight1, needed[:3])
        return *of_first, *of_second


def _products_of(hidden: Tensor) -> AbstractContextManager[None]:
    """How this device multiplies what is of this dtype."""
    return _onednn_products() if _onednn_serves(hidden) else nullcontext()


_lock = threading.Lock()
_inside, _before = 0, "none"


@contextmanager
def _onednn_products() -> Iterator[None]:
    """Sends float32 products to oneDNN by allowing it bfloat16, which [`_onednn_is_exact`] has shown it not to use.

    The setting is the process's. The first thread in changes it, the last one out puts it back. Meanwhile the older
    `torch.get_float32_matmul_precision()`, which knows no such setting, raises in any thread.
    """
    global _inside, _before
    settings: Any = torch.backends.mkldnn
    with _lock:
        if _inside == 0:
            _before = settings.matmul.fp32_precision
            settings.matmul.fp32_precision = "bf16"
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                settings.matmul.fp32_precision = _before


# For the self-tests below: whoever comes first may have other defaults, or autocast on.
_FLOAT32: Any = {"dtype": torch.float32, "device": "cpu"}


@cache
def _onednn_is_exact() -> bool:
    """Whether oneDNN can be asked for, and keeps float32: on CPUs with matrix units for bfloat16 it would not."""
    try:
        generator = torch.Generator().manual_seed(0)
        a, b = (torch.randn(*shape, generator=generator, **_FLOAT32) for shape in ((96, 768), (768, 160)))
        with torch.autocast("cpu", enabled=False), _onednn_products():
            product = a @ b
    except (AttributeError, RuntimeError, ValueError):  # torch before 2.9 has no such setting
        return False
    exact = a.double() @ b.double()
    return bool(((product - exact).norm() / exact.norm()) < 1e-6)


@cache
def _fused_linear(dtype: torch.dtype) -> Any:
    """oneDNN's linear layer with an activation: a private operator, used only if it proves itself."""
    try:
        kernel = torch.ops.mkldnn._linear_pointwise
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
