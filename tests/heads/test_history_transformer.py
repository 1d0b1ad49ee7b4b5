import copy

import pytest
import torch
from torch import nn

from recformer_hf import RecformerConfig
from recformer_hf.heads.history_transformer import HistoryTransformer


@pytest.fixture
def transformer():
    torch.manual_seed(0)
    config = RecformerConfig(
        hidden_size=16, num_attention_heads=4, max_item_embeddings=9, sequence_head="two_level", head_dropout=0.0
    )
    return HistoryTransformer(config)


def test_no_place_sees_a_later_one(transformer):
    items = torch.randn(2, 6, 16)
    changed = items.clone()
    changed[:, 4:] = torch.randn(2, 2, 16)
    before, after = transformer(items), transformer(changed)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().min(-1).values.max() > 0


def test_a_prefix_has_the_vector_that_it_has_alone(transformer):
    items = torch.randn(1, 6, 16)
    whole = transformer(items)
    for length in range(1, 7):
        torch.testing.assert_close(transformer(items[:, :length])[:, -1], whole[:, length - 1])


def test_evaluation_computes_what_training_does(transformer):
    items = torch.randn(3, 5, 16)
    trained = transformer.train()(items)
    with torch.no_grad():
        torch.testing.assert_close(transformer.eval()(items), trained)


def test_layers_start_as_the_identity(transformer):
    transformer.init_weights()
    items = torch.randn(2, 4, 16)
    expected = transformer.norm(items) + transformer.position_embeddings.weight[:4]
    torch.testing.assert_close(transformer(items), expected)


def test_the_order_of_items_matters(transformer):
    items = torch.randn(1, 3, 16)
    assert (transformer(items)[:, -1] - transformer(items[:, [1, 0, 2]])[:, -1]).abs().max() > 1e-3


class Twice(nn.Linear):
    """A module in the place of a linear layer, as LoRA and quantisation put it there."""

    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("replaced", ["linear1", "linear2", "self_attn.out_proj"])
def test_modules_in_the_place_of_linear_layers_are_called(transformer, replaced):
    """In evaluation torch would read their weights instead, and in attention always."""
    expected, items = copy.deepcopy(transformer).eval(), torch.randn(2, 6, 16)
    for layer in expected.layers:
        for weight in layer.get_submodule(replaced).parameters():
            weight.data.mul_(2)
    for layer in transformer.layers:
        plain = layer.get_submodule(replaced)
        other = Twice(plain.in_features, plain.out_features)
        other.load_state_dict(plain.state_dict())
        layer.set_submodule(replaced, other)
    wanted = expected(items).detach()
    torch.testing.assert_close(transformer.train()(items), wanted)
    torch.testing.assert_close(transformer.eval()(items), wanted)
    with torch.no_grad():
        torch.testing.assert_close(transformer(items), wanted)


def test_another_attention_is_called_too(transformer):
    expected, items = transformer.eval()(torch.ones(1, 3, 16)).detach(), torch.ones(1, 3, 16)

    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.calls = inner, 0

        def forward(self, *args, **settings):
            self.calls += 1
            return self.inner(*args, **settings)

    for layer in transformer.layers:
        layer.self_attn = Wrapped(layer.self_attn)
    torch.testing.assert_close(transformer(items), expected)
    assert all(layer.self_attn.calls == 1 for layer in transformer.layers)
