"""Linear layers on a CPU: the numbers of torch's own, forward and backward."""

from __future__ import annotations

import pytest
import torch

from recformer_hf.encoder.cpu import onednn
from recformer_hf.encoder.cpu.linear import linear

needs_onednn = pytest.mark.skipif(
    not onednn.is_exact(), reason="oneDNN does not keep float32 here, or cannot be asked for"
)


def test_forward_and_backward_equal_the_modules(layer, hidden):
    results = []
    for function in (lambda module, x: linear(x, module.weight, module.bias), lambda module, x: module(x)):
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
    linear(x, layer.weight, layer.bias).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand_as(x), atol=1e-5, rtol=1e-5)
    assert layer.weight.grad is None


def test_inference_in_bfloat16_is_the_modules(layer, hidden):
    layer, hidden = layer.to(torch.bfloat16), hidden.to(torch.bfloat16)
    with torch.no_grad():
        torch.testing.assert_close(linear(hidden, layer.weight, layer.bias), layer(hidden), rtol=1e-2, atol=1e-2)


def test_autocast_is_obeyed(layer, hidden):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(hidden, layer.weight, layer.bias).dtype == torch.bfloat16
        with torch.no_grad():
            assert linear(hidden, layer.weight, layer.bias).dtype == torch.bfloat16


def test_without_onednn(layer, hidden, monkeypatch):
    monkeypatch.setattr(onednn, "is_exact", lambda: False)
    assert torch.equal(linear(hidden, layer.weight, layer.bias), layer(hidden))
