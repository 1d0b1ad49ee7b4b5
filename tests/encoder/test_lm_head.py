"""The head that predicts masked words."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from recformer_hf.encoder.lm_head import RecformerLMHead
from tests.support.models import enliven, small_config


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_is_dense_gelu_norm_decoder(dtype):
    head = enliven(RecformerLMHead(small_config())).to(dtype)
    hidden = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))  # float32, as hidden states are
    with torch.no_grad():
        found = head(hidden)
        inner = F.gelu(F.linear(hidden.double(), head.dense.weight.double(), head.dense.bias.double()))
        weight, bias = head.layer_norm.weight.double(), head.layer_norm.bias.double()
        normed = F.layer_norm(inner, (64,), weight, bias, head.layer_norm.eps)
        expected = F.linear(normed, head.decoder.weight.double(), head.decoder.bias.double())
    assert found.shape == (5, 320)
    assert found.dtype == dtype
    assert (found - expected).abs().max() < (1e-4 if dtype == torch.float32 else 0.2)
