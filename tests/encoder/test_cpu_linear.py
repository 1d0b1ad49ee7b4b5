"""Linear layers through oneDNN: the same numbers, only where they may be, and nothing left changed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recformer_hf.encoder import cpu_linear
from recformer_hf.encoder.cpu_linear import apply_feed_forward, apply_linear, is_plain_linear


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(96, 160)


@pytest.fixture
def hidden() -> torch.Tensor:
    return torch.randn(300, 96, generator=torch.Generator().manual_seed(1))


needs_onednn = pytest.mark.skipif(
    not cpu_linear._onednn_is_exact(), reason="oneDNN does not keep float32 here, or cannot be asked for"
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


def test_inference_in_bfloat16_is_the_modules(layer, hidden):
    layer, hidden = layer.to(torch.bfloat16), hidden.to(torch.bfloat16)
    with torch.no_grad():
        torch.testing.assert_close(apply_linear(layer, hidden), layer(hidden), rtol=1e-2, atol=1e-2)


class TestFeedForward:
    """As the two layers with GELU between them, for every dtype, and for whatever part of it trains."""

    @pytest.fixture
    def layers(self) -> nn.ModuleList:
        torch.manual_seed(0)
        return nn.ModuleList([nn.Linear(96, 160), nn.Linear(160, 96)])

    @staticmethod
    def gradients(function, layers, hidden) -> list[torch.Tensor | None]:
        layers.zero_grad()
        x = hidden.clone().requires_grad_(hidden.requires_grad)
        output = function(x)
        (output.double() * torch.linspace(-1, 1, 96)).sum().backward()
        return [output.detach(), x.grad, *(weight.grad for weight in layers.parameters())]

    @pytest.mark.parametrize("frozen", [[], ["0.weight", "0.bias"], ["1.weight", "1.bias"], ["hidden"], ["0.bias"]])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
    def test_output_and_gradients(self, layers, hidden, dtype, frozen):
        layers.to(dtype)
        for name, weight in layers.named_parameters():
            weight.requires_grad_(name not in frozen)
        hidden = hidden.to(dtype).requires_grad_("hidden" not in frozen)
        found = self.gradients(lambda x: apply_feed_forward(*layers, x), layers, hidden)
        expected = self.gradients(lambda x: layers[1](nn.functional.gelu(layers[0](x))), layers, hidden)
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}[dtype]
                assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()
                assert ours.dtype == theirs.dtype

    def test_under_autocast_weights_keep_their_type(self, layers, hidden):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = apply_feed_forward(*layers, hidden.bfloat16())
            expected = layers[1](nn.functional.gelu(layers[0](hidden.bfloat16())))
        output.sum().backward()
        assert (output - expected).abs().max() <= 2e-2 * expected.abs().max()
        assert all(weight.grad.dtype == torch.float32 for weight in layers.parameters())

    @pytest.mark.parametrize("block_bytes", [12 * 2**20, 160 * 4 * 7, 1], ids=["one block", "few rows", "a row"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
    def test_inference_in_blocks(self, layers, hidden, dtype, block_bytes, monkeypatch):
        monkeypatch.setattr(cpu_linear, "_BLOCK_BYTES", block_bytes)
        layers.to(dtype)
        with torch.no_grad():
            found = apply_feed_forward(*layers, hidden.to(dtype))
            layers.double()
            expected = layers[1](nn.functional.gelu(layers[0](hidden.to(dtype).double())))
        assert found.dtype == dtype
        assert (found - expected).abs().max() < {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}[dtype]

    @pytest.mark.parametrize("exact", [True, False])
    def test_inference_without_the_fused_kernel(self, layers, hidden, exact, monkeypatch):
        with torch.no_grad():
            expected = layers[1](nn.functional.gelu(layers[0](hidden)))
            monkeypatch.setattr(cpu_linear, "_fused_linear", lambda dtype: None)
            if not exact:
                monkeypatch.setattr(cpu_linear, "_onednn_is_exact", lambda: False)
            torch.testing.assert_close(apply_feed_forward(*layers, hidden), expected, atol=1e-5, rtol=1e-5)

    def test_inference_under_autocast(self, layers, hidden):
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            found = apply_feed_forward(*layers, hidden.bfloat16())
            expected = layers[1](nn.functional.gelu(layers[0](hidden.bfloat16())))
        assert found.dtype == torch.bfloat16
        assert (found - expected).abs().max() <= 2e-2 * expected.abs().max()

    def test_inference_of_no_rows(self, layers, hidden):
        with torch.no_grad():
            assert apply_feed_forward(*layers, hidden[:0]).shape == (0, 96)

    def test_wrapped_and_hooked_layers_and_constants_go_their_own_way(self, layers, hidden):
        layers[1].register_forward_hook(lambda *_: None)
        assert apply_feed_forward(*layers, hidden) is None
        with torch.no_grad():
            assert apply_feed_forward(*layers, hidden) is None
        layers.requires_grad_(False)
        layers[1]._forward_hooks.clear()
        assert apply_feed_forward(*layers, hidden) is None


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
        apply_linear(layer, hidden)
    assert seen == [True, True]
    handle.remove()
    assert is_plain_linear(layer)
    layer.forward = lambda x: x  # as offloading does
    assert apply_linear(layer, hidden) is hidden


def test_autocast_is_obeyed(layer, hidden):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert apply_linear(layer, hidden).dtype == torch.bfloat16
        with torch.no_grad():
            assert apply_linear(layer, hidden).dtype == torch.bfloat16


def test_without_onednn(layer, hidden, monkeypatch):
    monkeypatch.setattr(cpu_linear, "_onednn_is_exact", lambda: False)
    assert torch.equal(apply_linear(layer, hidden), layer(hidden))
