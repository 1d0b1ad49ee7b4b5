"""Linear layers through oneDNN: the same numbers, only where they may be, and nothing left changed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recformer_hf import linear_recformer
from recformer_hf.linear_recformer import apply_linear, apply_linear_gelu, is_plain_linear


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(96, 160)


@pytest.fixture
def hidden() -> torch.Tensor:
    return torch.randn(300, 96, generator=torch.Generator().manual_seed(1))


needs_onednn = pytest.mark.skipif(
    not linear_recformer._onednn_is_exact(), reason="oneDNN does not keep float32 here, or cannot be asked for"
)


def test_forward_and_backward_equal_the_modules(layer, hidden):
    results = []
    for function in (apply_linear, lambda module, x: module(x)):
        layer.zero_grad()
        x = hidden.clone().requires_grad_()
        output = function(layer, x)
        output.square().sum().backward()
        results.append([output.detach(), x.grad, layer.weight.grad.clone(), layer.bias.grad.clone()])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


@needs_onednn
def test_gradient_is_exact_for_frozen_parts(layer, hidden):
    layer.weight.requires_grad_(False)
    x = hidden.clone().requires_grad_()
    apply_linear(layer, x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand_as(x), atol=1e-5, rtol=1e-5)
    assert layer.weight.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_gelu(layer, hidden, dtype):
    layer, hidden = layer.to(dtype), hidden.to(dtype)
    with torch.no_grad():
        fused = apply_linear_gelu(layer, hidden)
        if fused is None:
            pytest.skip("no fused kernel here")
        expected = nn.functional.gelu(layer.double()(hidden.double()))
    assert (fused.double() - expected).abs().max() < (1e-5 if dtype == torch.float32 else 2e-2)
    assert apply_linear_gelu(layer.to(dtype), hidden) is None  # with gradients: not fused


def test_the_settings_of_torch_are_as_before(layer, hidden):
    before = torch.get_float32_matmul_precision()
    apply_linear(layer, hidden.requires_grad_()).sum().backward()
    assert torch.get_float32_matmul_precision() == before
    if hasattr(torch.backends.mkldnn, "matmul"):
        assert torch.backends.mkldnn.matmul.fp32_precision == "none"


@needs_onednn
def test_threads_leave_the_setting_as_it_was(layer, hidden):
    from concurrent.futures import ThreadPoolExecutor

    before = torch.backends.mkldnn.matmul.fp32_precision
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: apply_linear(layer, hidden), range(400)))
    assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_wrapped_and_hooked_modules_go_their_own_way(layer, hidden):
    class Scaled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    scaled = Scaled(96, 160)
    scaled.load_state_dict(layer.state_dict())
    assert not is_plain_linear(scaled)
    torch.testing.assert_close(apply_linear(scaled, hidden), 2 * layer(hidden))

    seen = []
    handle = layer.register_forward_hook(lambda *_: seen.append(True))
    assert not is_plain_linear(layer)
    apply_linear(layer, hidden)
    with torch.no_grad():
        assert apply_linear_gelu(layer, hidden) is None
    assert seen == [True]
    handle.remove()
    assert is_plain_linear(layer)
    layer.forward = lambda x: x  # as offloading does
    assert apply_linear(layer, hidden) is hidden


def test_autocast_is_obeyed(layer, hidden):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert apply_linear(layer, hidden).dtype == torch.bfloat16
        with torch.no_grad():
            assert apply_linear_gelu(layer, hidden) is None


def test_without_onednn(layer, hidden, monkeypatch):
    monkeypatch.setattr(linear_recformer, "_onednn_is_exact", lambda: False)
    assert torch.equal(apply_linear(layer, hidden), layer(hidden))
