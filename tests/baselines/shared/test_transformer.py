"""baselines/shared/transformer.py against torch's own layers with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recformer_hf.baselines.shared.transformer import Block, GatedBlock, ItemTransformer
from tests.support.neural_baselines import packed

WIDTH, HEADS = 12, 3
HISTORIES = packed([1, 2, 3, 4], [5], [6, 7])
DIFFERENT = packed([1, 2, 3, 4], range(30), [5], range(12), [6, 7], range(9))
"""They are padded in three parts."""


def torchs(ours: ItemTransformer, activation: str, norm: str) -> nn.TransformerEncoder:
    """torch's encoder with the weights of ours."""
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 20, 0.0, activation, batch_first=True, norm_first=norm == "pre", layer_norm_eps=1e-5
    )
    theirs = nn.TransformerEncoder(layer, len(ours.layers), ours.norm, enable_nested_tensor=False)
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        assert isinstance(mine, Block)
        other.self_attn.in_proj_weight.data = mine.attention.query_key_value.weight.data
        other.self_attn.in_proj_bias.data = mine.attention.query_key_value.bias.data
        other.self_attn.out_proj.load_state_dict(mine.attention.out.state_dict())
        other.linear1.load_state_dict(mine.feed_forward[0].state_dict())
        other.linear2.load_state_dict(mine.feed_forward[3].state_dict())
        other.norm1.load_state_dict(mine.attention_norm.state_dict())
        other.norm2.load_state_dict(mine.feed_forward_norm.state_dict())
    return theirs


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("histories", [HISTORIES, DIFFERENT], ids=["one part", "three parts"])
def test_equals_torchs_encoder(activation, norm, causal, training, histories):
    torch.manual_seed(0)
    ours = ItemTransformer(WIDTH, 2, HEADS, 20, 0.0, activation=activation, norm=norm).train(training)
    for weight in ours.parameters():
        weight.data = torch.randn_like(weight) * 0.5
    theirs = torchs(ours, activation, norm).train(training)
    hidden = torch.randn(len(histories.rows), WIDTH)
    mask = nn.Transformer.generate_square_subsequent_mask(histories.longest) if causal else None
    expected = theirs(histories.padded(hidden), mask, (~histories.mask).float() * -1e9 if causal else ~histories.mask)
    torch.testing.assert_close(ours(hidden, histories, causal), histories.packed(expected), atol=1e-6, rtol=1e-5)


def test_gated_block_by_its_formula():
    torch.manual_seed(0)
    model = ItemTransformer(WIDTH, 1, HEADS, 20, 0.0, block="ligr").eval()
    block = model.layers[0]
    assert isinstance(block, GatedBlock)
    x = torch.randn(7, WIDTH)
    h = x + torch.sigmoid(block.attention_gate(x)) * block.attention(block.attention_norm(x), HISTORIES, True)
    u = block.feed_forward_norm(h)
    first, second = block.inner.weight.split(20)
    bias = block.inner.bias.split(20)
    network = block.outer(nn.functional.silu(u @ first.T + bias[0]) * (u @ second.T + bias[1]))
    expected = model.norm(h + torch.sigmoid(block.feed_forward_gate(h)) * network)
    torch.testing.assert_close(model(x, HISTORIES), expected)


@pytest.mark.parametrize("block", ["standard", "ligr"])
def test_dropout_is_drawn_in_training_alone(block):
    model = ItemTransformer(WIDTH, 1, HEADS, 20, 0.5, block=block)
    hidden = torch.randn(7, WIDTH)
    assert not torch.equal(model(hidden, HISTORIES), model(hidden, HISTORIES))
    model.eval()
    assert torch.equal(model(hidden, HISTORIES), model(hidden, HISTORIES))


def test_unfit_settings_are_refused():
    with pytest.raises(ValueError, match=r"The width \(10\) must be a multiple of the number of heads \(3\)"):
        ItemTransformer(10, 1, 3, 20, 0.0)
    with pytest.raises(ValueError, match="LiGR blocks are pre-norm, got norm='post'"):
        ItemTransformer(12, 1, 3, 20, 0.0, block="ligr", norm="post")
