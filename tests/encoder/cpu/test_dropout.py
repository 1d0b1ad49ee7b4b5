"""Dropout on a CPU: the share of dropped elements, and gradients."""

from __future__ import annotations

import pytest
import torch

from recformer_hf.encoder.cpu.dropout import draw_mask, dropout, dropout_add


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_a_mask_drops_its_share(probability):
    torch.manual_seed(0)
    keep, factor = draw_mask((1000, 999), probability)
    assert keep.dtype == torch.uint8
    assert keep.max() == 1
    dropped = 1 - keep.double().mean().item()
    assert abs(dropped - probability) < 5 * (probability * (1 - probability) / keep.numel()) ** 0.5
    assert factor == pytest.approx(1 / (1 - probability), rel=1e-3)


def test_a_mask_whatever_the_default_device():
    with torch.device("meta"):
        assert draw_mask((3, 5), 0.5)[0].device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_a_sum_with_dropout_is_dropout_and_a_sum(dtype):
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(50, 8, generator=generator).to(dtype).requires_grad_()
    residual = torch.randn(50, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    results = []
    for together in (True, False):
        torch.manual_seed(0)
        total = dropout_add(hidden, residual, 0.3) if together else dropout(hidden, 0.3) + residual
        results.append((total, *torch.autograd.grad(total.square().sum(), [hidden, residual])))
    assert (results[0][0] == residual).any()  # something was dropped
    for ours, expected in zip(*results, strict=True):
        assert ours.dtype == expected.dtype
        torch.testing.assert_close(ours, expected, **({} if dtype == torch.float64 else {"atol": 0.05, "rtol": 0.02}))


def test_what_is_kept_is_scaled_and_has_the_gradient():
    torch.manual_seed(0)
    hidden = torch.ones(40, 50, requires_grad=True)
    output = dropout(hidden, 0.25)
    output.sum().backward()
    assert output.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert torch.equal(hidden.grad, output.detach())
