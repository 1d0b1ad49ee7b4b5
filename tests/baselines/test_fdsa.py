"""baselines/fdsa.py: vanilla attention by hand, and the network against torch's own layers with the same weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import Tensor

from recformer_hf import ItemCatalog
from recformer_hf.baselines import FDSA, FDSAConfig
from recformer_hf.baselines.fdsa import Stream, VanillaAttention, attribute_table
from recformer_hf.baselines.shared.attributes import ItemAttributes
from tests.baselines.shared.test_transformer import torchs as torchs_encoder
from tests.support.neural_baselines import packed, small_baseline, with_items
from tests.support.training import small_dataset

TORCHS = {"num_layers": 2, "hidden_size": 12, "num_heads": 3, "intermediate_size": 20}
"""What `torchs_encoder` is made for."""


class TestVanillaAttention:
    """Three attributes of width 2, and the row of items that have none."""

    @pytest.fixture
    def attention(self) -> VanillaAttention:
        attention = VanillaAttention(3, 2)
        attention.table.weight.data = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [5.0, 7.0]])
        attention.scores.weight.data = torch.tensor([[0.5, 1.0]])
        return attention

    def test_by_hand(self, attention):
        # <w, a_0> = .5, <w, a_1> = 2, <w, a_2> = 2.5
        e = [math.exp(score) for score in (0.5, 2.0, 2.5)]
        attributes = torch.tensor([[0, 1, 2], [0, 2, -1]])
        expected = [[each / sum(e) for each in e], [e[0] / (e[0] + e[2]), e[2] / (e[0] + e[2]), 0.0]]
        torch.testing.assert_close(attention.weights(attributes), torch.tensor(expected))
        first, second = expected
        vectors = [
            [first[0] * 1 + first[2] * 3, first[1] * 2 + first[2] * 1],
            [second[0] * 1 + second[1] * 3, second[1] * 1],
        ]
        torch.testing.assert_close(attention(attributes), torch.tensor(vectors))

    def test_one_attribute_has_the_weight_1(self, attention):
        attributes = torch.tensor([[1, -1], [3, -1]])
        assert attention.weights(attributes).tolist() == [[1.0, 0.0], [1.0, 0.0]]
        assert attention(attributes).tolist() == [[0.0, 2.0], [5.0, 7.0]]

    def test_equal_scores_give_the_mean(self, attention):
        attention.scores.weight.data.zero_()
        torch.testing.assert_close(attention(torch.tensor([[0, 1, 2]])), torch.tensor([[4 / 3, 1.0]]))

    def test_gradients_are_those_of_the_formula(self, attention):
        attributes, outer = torch.tensor([[0, 1, 2], [0, 2, -1]]), torch.tensor([[1.0, -2.0], [0.5, 3.0]])
        (attention(attributes) * outer).sum().backward()
        found = [weight.grad.clone() for weight in attention.parameters()]
        attention.zero_grad()
        table, w = attention.table.weight, attention.scores.weight[0]
        total = torch.zeros(())
        for row, own in zip(outer, ([0, 1, 2], [0, 2]), strict=True):
            total = total + (torch.softmax(table[own] @ w, 0)[:, None] * table[own]).sum(0) @ row
        total.backward()
        for grad, weight in zip(found, attention.parameters(), strict=True):
            torch.testing.assert_close(grad, weight.grad)


class TestModel:
    def stream(self, stream: Stream, vectors: Tensor) -> Tensor:
        """One stream over one sequence by torch's own layers."""
        length = len(vectors)
        hidden = stream.norm(vectors + stream.position_embeddings.weight[:length])
        mask = torch.nn.Transformer.generate_square_subsequent_mask(length)
        return torchs_encoder(stream.transformer, "gelu", "post").eval()(hidden[None], mask)[0]

    def test_scores_are_those_of_torchs_layers_with_the_same_weights(self):
        model, histories = with_items("fdsa", **TORCHS), [[3, 0, 3, 7], [1]]
        attributes = ItemAttributes.of(small_dataset().catalog, min_items=2)
        found = model.scores([np.array(history) for history in histories])
        table, w = model.features.table.weight, model.features.scores.weight[0]
        for row, history in enumerate(histories):
            features = []
            for item in history:
                own = table[attributes.ids[attributes.offsets[item] : attributes.offsets[item + 1]]]
                features.append(torch.softmax(own @ w, 0) @ own)
            a = self.stream(model.item_stream, model.item_embeddings.weight[history])
            b = self.stream(model.feature_stream, torch.stack(features))
            h = model.join.weight @ torch.cat([a[-1], b[-1]]) + model.join.bias
            torch.testing.assert_close(found[row], model.item_embeddings.weight @ h, atol=1e-5, rtol=1e-5)

    def test_no_place_sees_a_later_one(self):
        model = with_items("fdsa")
        whole = model.encode(packed([3, 0, 3, 7], [5, 6]))
        changed = model.encode(packed([3, 0, 9, 9], [5, 6]))
        torch.testing.assert_close(whole[[0, 1, 4, 5]], changed[[0, 1, 4, 5]])
        assert not torch.allclose(whole[2:4], changed[2:4])

    def test_joined_states_have_dropout(self):
        model, histories = with_items("fdsa", dropout=0.5), packed(*[[3, 0, 3, 7]] * 100)
        states = model.train().encode(histories)
        assert (states == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)  # 6,400 numbers
        assert model.eval().encode(histories).all()

    def test_attributes_matter(self):
        model, history = with_items("fdsa"), [np.array([3, 0, 3, 7])]
        before = model.scores(history)
        model.item_attributes[7] = model.config.num_attributes
        assert not torch.allclose(before, model.scores(history))


class TestAttributes:
    CATALOG = ItemCatalog.from_items({
        "a": {"title": "x", "brand": "opi", "category": "nails"},
        "b": {"title": "y", "category": "nails"},
        "c": {"title": "z", "brand": "opi", "category": "rare"},
        "d": {"title": "u"},
    })  # fmt: skip

    def test_table(self):
        attributes = ItemAttributes.of(self.CATALOG, min_items=2)
        assert attributes.names == ["brand: opi", "category: nails"]
        table = attribute_table(attributes)
        assert table.tolist() == [[0, 1], [1, -1], [0, -1], [2, -1]]
        assert table.dtype == np.int32

    def test_are_those_of_the_catalogue(self, tmp_path):
        model = small_baseline("fdsa")
        model.take_catalog(self.CATALOG)
        assert (model.config.num_attributes, model.config.most_attributes) == (2, 2)
        assert len(model.features.table.weight) == 3
        model.save_pretrained(tmp_path)
        assert FDSA.from_pretrained(tmp_path).item_attributes.tolist() == model.item_attributes.tolist()

    def test_chosen_fields(self):
        model = small_baseline("fdsa", attribute_fields=["brand"])
        model.take_catalog(self.CATALOG)
        assert model.item_attributes.tolist() == [[0], [1], [0], [1]]

    def test_a_catalogue_without_attributes(self):
        catalog = ItemCatalog.from_items({f"i{row}": {"title": f"t{row:03d}"} for row in range(60)})
        model = small_baseline("fdsa")
        model.take_catalog(catalog)
        assert model.item_attributes.tolist() == [[0]] * 60
        assert model.scores([np.array([3, 0])]).isfinite().all()


def test_defaults_are_the_papers_but_for_the_loss():
    config = FDSA().config
    assert (config.num_layers, config.num_heads, config.loss) == (2, 2, "ce")
    assert FDSA(hidden_size=24).item_stream.transformer.layers[0].feed_forward[0].out_features == 96


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": 0}, "num_layers must be positive and finite, got 0"),
        ({"intermediate_size": 0}, "intermediate_size must be positive and finite, got 0"),
        ({"most_attributes": 0}, "most_attributes must be positive and finite, got 0"),
        ({"hidden_size": 10, "num_heads": 3}, r"hidden_size \(10\) must be a multiple of num_heads \(3\)"),
    ],
)
def test_unfit_settings_are_refused(settings, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        FDSAConfig(**settings)
