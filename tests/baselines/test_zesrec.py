"""baselines/zesrec.py against the paper's equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch.nn.functional import cross_entropy, layer_norm

from recformer_hf.baselines import ZESRec, ZESRecConfig
from recformer_hf.data.torch_datasets import TrainingSequences
from tests.baselines.shared.test_transformer import torchs as torchs_encoder
from tests.support.neural_baselines import packed, small_baseline, with_items
from tests.support.pretraining import domain
from tests.support.training import small_dataset

HISTORIES = [np.array([3, 0, 3, 7]), np.array([1])]
SHOPS = [domain("garden"), domain("music")]


def with_offsets(**settings) -> ZESRec:
    """A model whose offsets are not zero; products as in the paper."""
    model = with_items("zesrec", **{"temperature": None, "dropout": 0.0, **settings})
    model.item_embeddings.weight.data.normal_()
    return model


def latent(model: ZESRec) -> torch.Tensor:
    return model.text_vectors @ model.universal.weight.T + model.universal.bias + model.item_embeddings.weight


class TestScores:
    def test_recurrent(self):
        model = with_offsets(num_layers=2)
        items = latent(model)
        for row, history in enumerate(HISTORIES):
            states, _ = model.network(layer_norm(items[history], (16,))[None])
            torch.testing.assert_close(model.scores(HISTORIES)[row], states[0, -1] @ items.T, atol=1e-5, rtol=1e-5)

    def test_transformer(self):
        model = with_offsets(network="transformer", num_layers=2, hidden_size=12, num_heads=3)
        block = model.network.layers[0]
        assert block.feed_forward[0].out_features == 48
        model.network = type(model.network)(12, 2, 3, 20, 0.0).eval()
        encoder, items = torchs_encoder(model.network, "gelu", "pre").eval(), latent(model)
        for row, history in enumerate(HISTORIES):
            x = layer_norm(items[history], (12,)) + model.position_embeddings.weight[: len(history)]
            mask = torch.nn.Transformer.generate_square_subsequent_mask(len(history))
            h = encoder(x[None], mask)[0, -1]
            torch.testing.assert_close(model.scores(HISTORIES)[row], h @ items.T, atol=1e-5, rtol=1e-5)

    def test_without_offsets_items_of_equal_text_are_equal(self):
        model = with_items("zesrec", item_offsets=False)
        model.text_vectors[5] = model.text_vectors[9]
        scores = model.scores(HISTORIES)
        assert torch.equal(scores[:, 5], scores[:, 9])
        assert torch.unique(scores[0]).numel() > 50


class TestPrior:
    def test_a_new_model_has_no_offsets(self):
        assert not with_items("zesrec").item_embeddings.weight.any()
        assert with_items("zesrec", network="transformer").position_embeddings.weight.any()

    def test_loss_by_hand(self):
        model = with_offsets(prior_precision=3.0)
        data = TrainingSequences([small_dataset().train])
        batch = model.training_collator([small_dataset()], 0)(data[[(0, 0, row) for row in range(5)]])
        lengths = np.diff(small_dataset().train.offsets)
        assert batch["epoch_targets"] == sum(min(int(length), 7) - 1 for length in lengths)
        histories = packed(*np.split(batch["history_rows"].numpy(), np.cumsum(batch["lengths"])[:-1]))
        plain = cross_entropy(model.encode(histories) @ latent(model).T, batch["labels"])
        prior = 3 / 2 * (model.item_embeddings.weight**2).sum() / batch["epoch_targets"]
        torch.testing.assert_close(model(**batch).loss, plain + prior)

    def test_a_higher_precision_keeps_offsets_smaller(self):
        norms = []
        for precision in (0.0, 1e4):
            model = small_baseline("zesrec", prior_precision=precision).fit(
                small_dataset(), num_train_epochs=3, use_cpu=True, disable_tqdm=True, learning_rate=1e-2
            )
            norms.append(model.item_embeddings.weight.norm().item())
        assert norms[1] < 0.5 * norms[0]

    def test_sampled_softmax(self):
        model = with_offsets(loss="sampled_softmax", num_negatives=20)
        data = TrainingSequences([small_dataset().train])
        batch = model.training_collator([small_dataset()], 0)(data[[(0, 0, 1), (0, 0, 2)]])
        assert batch["negatives"].shape == (20,)
        assert model(**batch).loss.isfinite()


class TestShops:
    def batch(self, model: ZESRec) -> dict:
        model.take_datasets(SHOPS, pretraining=True)
        data = TrainingSequences([shop.train for shop in SHOPS])
        return model.pretraining_collator(SHOPS, 0)(data[[(0, 1, 3), (0, 0, 2), (0, 1, 5)]])

    def test_batches_have_one_shop_after_the_other(self):
        batch = self.batch(small_baseline("zesrec"))
        lengths = [len(shop.train[row].history) for shop, row in ((SHOPS[0], 2), (SHOPS[1], 3), (SHOPS[1], 5))]
        targets = [min(length, 7) - 1 for length in lengths]
        assert batch["lengths"].tolist() == targets
        assert batch["shop_targets"] == [targets[0], targets[1] + targets[2]]
        assert batch["labels"][: targets[0]].max() < 50 <= batch["labels"][targets[0] :].min()
        assert torch.equal(batch["labels"][: targets[0] - 1], batch["history_rows"][1 : targets[0]])

    def test_each_target_is_scored_among_its_own_shop(self):
        model = small_baseline("zesrec", temperature=None, dropout=0.0, prior_precision=2.0)
        batch = self.batch(model)
        assert model.config.num_source_items == 100
        model.source_embeddings.weight.data.normal_()
        items = model.shop_vectors @ model.universal.weight.T + model.universal.bias + model.source_embeddings.weight
        histories = packed(*np.split(batch["history_rows"].numpy(), np.cumsum(batch["lengths"])[:-1]))
        states = model.states(items[histories.rows], histories)
        first = batch["shop_targets"][0]
        losses = [
            cross_entropy(states[:first] @ items[:50].T, batch["labels"][:first], reduction="sum"),
            cross_entropy(states[first:] @ items[50:].T, batch["labels"][first:] - 50, reduction="sum"),
        ]
        prior = (model.source_embeddings.weight**2).sum() / batch["epoch_targets"]
        torch.testing.assert_close(model(**batch).loss, sum(losses) / len(batch["labels"]) + prior)

    def test_a_shop_that_is_not_in_the_batch(self):
        model = small_baseline("zesrec")
        self.batch(model)
        data = TrainingSequences([shop.train for shop in SHOPS])
        batch = model.pretraining_collator(SHOPS, 0)(data[[(0, 1, 3)]])
        assert batch["shop_targets"][0] == 0
        assert model(**batch).loss.isfinite()

    def test_pretraining_that_goes_on_keeps_the_offsets_of_the_same_shops_alone(self, tmp_path):
        model = small_baseline("zesrec")
        self.batch(model)
        model.source_embeddings.weight.data.normal_()
        model.save_pretrained(tmp_path)
        loaded = type(model).from_pretrained(tmp_path)
        loaded.take_datasets(SHOPS, pretraining=True)
        assert torch.equal(loaded.source_embeddings.weight, model.source_embeddings.weight)
        loaded.take_datasets(SHOPS[::-1], pretraining=True)  # as many items, but each is another one
        assert not loaded.source_embeddings.weight.any()

    def test_training_has_no_offsets_of_sources(self):
        model = small_baseline("zesrec")
        self.batch(model)
        model.take_datasets([small_dataset()], pretraining=False)
        assert model.source_embeddings is None
        assert model.config.num_source_items == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": 0}, "num_layers must be positive and finite, got 0"),
        ({"hidden_size": 10, "num_heads": 3}, r"hidden_size \(10\) must be a multiple of num_heads \(3\)"),
        ({"prior_precision": -1.0}, "prior_precision must not be negative or infinite, got -1.0"),
    ],
)
def test_unfit_settings_are_refused(settings, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        ZESRecConfig(**settings)
