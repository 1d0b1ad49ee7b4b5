"""oneDNN: only where it is exact, and no setting of torch left changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F

from recformer_hf.encoder.cpu import onednn
from recformer_hf.encoder.cpu.linear import linear

needs_onednn = pytest.mark.skipif(
    not onednn.is_exact(), reason="oneDNN does not keep float32 here, or cannot be asked for"
)


def test_the_settings_of_torch_are_as_before(layer, hidden):
    before = torch.get_float32_matmul_precision()
    linear(hidden.requires_grad_(), layer.weight, layer.bias).sum().backward()
    assert torch.get_float32_matmul_precision() == before
    if hasattr(torch.backends.mkldnn, "matmul"):
        assert torch.backends.mkldnn.matmul.fp32_precision == "none"


@needs_onednn
def test_threads_leave_the_setting_as_it_was(layer, hidden):
    before = torch.backends.mkldnn.matmul.fp32_precision
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: linear(hidden, layer.weight, layer.bias), range(400)))
    assert torch.backends.mkldnn.matmul.fp32_precision == before


@needs_onednn
def test_products_keep_float32(layer, hidden):
    with onednn.products_for(hidden):
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"  # which it is allowed, and does not use
        found = hidden @ layer.weight.T
    exact = hidden.double() @ layer.weight.double().T
    assert (found - exact).norm() < 1e-6 * exact.norm()


@pytest.mark.parametrize("exact", [True, False])
def test_which_tensors_it_serves(hidden, exact, monkeypatch):
    monkeypatch.setattr(onednn, "is_exact", lambda: exact)
    assert onednn.serves_float32(hidden) == exact
    assert not onednn.serves_float32(hidden.double())
    assert not onednn.serves_float32(hidden.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not onednn.serves_float32(hidden)
    assert onednn.compiles_by_shape(torch.float32) == exact
    assert onednn.compiles_by_shape(torch.bfloat16)
    assert not onednn.compiles_by_shape(torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_the_fused_kernel_is_a_linear_layer_with_its_activation(layer, hidden, dtype, activation):
    kernel = onednn.fused_linear_for(hidden.to(dtype))
    if kernel is None:
        pytest.skip("there is no fused kernel for this type here")
    layer, hidden = layer.to(dtype), hidden.to(dtype)
    with torch.no_grad():
        found = kernel(hidden, layer.weight, layer.bias, activation, [], "none")
        expected = F.linear(hidden.double(), layer.weight.double(), layer.bias.double())
    expected = F.gelu(expected) if activation == "gelu" else expected
    assert (found - expected).abs().max() < (1e-5 if dtype == torch.float32 else 5e-2)
