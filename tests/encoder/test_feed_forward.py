"""The feed-forward in one piece: output and gradients of the two layers with GELU between them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.activations import GELUActivation

from recformer_hf.encoder import kernels
from recformer_hf.encoder.cpu import onednn
from recformer_hf.encoder.kernels import feed_forward


@pytest.fixture(autouse=True)
def never_the_plain_way(monkeypatch):
    monkeypatch.setattr(kernels, "linear", lambda *_: pytest.fail("the plain way was taken"))


@pytest.fixture
def hidden() -> torch.Tensor:
    return torch.randn(300, 96, generator=torch.Generator().manual_seed(1))


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
        found = self.gradients(lambda x: feed_forward(layers[0], GELUActivation(), layers[1], x), layers, hidden)
        expected = self.gradients(lambda x: layers[1](nn.functional.gelu(layers[0](x))), layers, hidden)
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}[dtype]
                assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()
                assert ours.dtype == theirs.dtype

    def test_under_autocast_weights_keep_their_type(self, layers, hidden):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = feed_forward(layers[0], GELUActivation(), layers[1], hidden.bfloat16())
            expected = layers[1](nn.functional.gelu(layers[0](hidden.bfloat16())))
        output.sum().backward()
        assert (output - expected).abs().max() <= 2e-2 * expected.abs().max()
        assert all(weight.grad.dtype == torch.float32 for weight in layers.parameters())

    @pytest.mark.parametrize("block_bytes", [12 * 2**20, 160 * 4 * 7, 1], ids=["one block", "few rows", "a row"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
    def test_inference_in_blocks(self, layers, hidden, dtype, block_bytes, monkeypatch):
        monkeypatch.setattr("recformer_hf.encoder.feed_forward.BLOCK_BYTES", block_bytes)
        layers.to(dtype)
        hidden = hidden[:20] if block_bytes == 1 else hidden
        with torch.no_grad():
            found = feed_forward(layers[0], GELUActivation(), layers[1], hidden.to(dtype))
            layers.double()
            expected = layers[1](nn.functional.gelu(layers[0](hidden.to(dtype).double())))
        assert found.dtype == dtype
        assert (found - expected).abs().max() < {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}[dtype]

    @pytest.mark.parametrize("exact", [True, False])
    def test_inference_without_the_fused_kernel(self, layers, hidden, exact, monkeypatch):
        with torch.no_grad():
            expected = layers[1](nn.functional.gelu(layers[0](hidden)))
            monkeypatch.setattr(onednn, "_fused_linear", lambda dtype: None)
            if not exact:
                monkeypatch.setattr(onednn, "is_exact", lambda: False)
            torch.testing.assert_close(
                feed_forward(layers[0], GELUActivation(), layers[1], hidden), expected, atol=1e-5, rtol=1e-5
            )

    def test_inference_under_autocast(self, layers, hidden):
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            found = feed_forward(layers[0], GELUActivation(), layers[1], hidden.bfloat16())
            expected = layers[1](nn.functional.gelu(layers[0](hidden.bfloat16())))
        assert found.dtype == torch.bfloat16
        assert (found - expected).abs().max() <= 2e-2 * expected.abs().max()

    def test_inference_of_no_rows(self, layers, hidden):
        with torch.no_grad():
            assert feed_forward(layers[0], GELUActivation(), layers[1], hidden[:0]).shape == (0, 96)
