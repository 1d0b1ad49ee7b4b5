import pytest
import torch

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
