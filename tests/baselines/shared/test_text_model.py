"""baselines/shared/text_model.py: text vectors in a model, several shops, and other catalogues."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from recformer_hf.baselines import NEURAL, BaselineTrainer, default_arguments, train_baseline
from recformer_hf.baselines.shared import text_model
from recformer_hf.baselines.shared.losses import sampled_softmax
from recformer_hf.baselines.shared.text_model import ShopRows, TextConfig
from recformer_hf.baselines.shared.text_vectors import prepared, text_vectors
from recformer_hf.data.torch_datasets import TrainingSequences
from recformer_hf.evaluation import rank_split
from tests.support.neural_baselines import packed, small_baseline, small_baseline_arguments, with_items
from tests.support.pretraining import domain
from tests.support.training import same_state, small_dataset, state_of, weights_of

TEXT = pytest.mark.parametrize("name", ["unisrec", "zesrec"])
HISTORIES = [np.array([3, 0, 3]), np.array([1])]
SHOPS = [domain("garden"), domain("music")]
GIVEN = np.random.default_rng(0).normal(size=(60, 7)).astype(np.float32)


def pretraining(name: str, folder, **settings) -> BaselineTrainer:
    arguments = {"eval_strategy": "no", "learning_rate": 1e-2} | settings
    target = small_dataset() if arguments["eval_strategy"] != "no" else None
    return BaselineTrainer(
        small_baseline(name), small_baseline_arguments(folder, **arguments), train_datasets=SHOPS, pretraining=True,
        eval_dataset=target,
    )  # fmt: skip


@TEXT
class TestTextVectors:
    def test_a_model_has_those_of_its_catalogue_whatever_is_drawn(self, name, tmp_path):
        model = with_items(name)
        expected = prepared(text_vectors(small_dataset().catalog, width=24), 0.25)
        assert torch.equal(model.text_vectors, expected)
        model.draw_weights()
        assert torch.equal(model.text_vectors, expected)
        model.save_pretrained(tmp_path)
        assert torch.equal(NEURAL[name].from_pretrained(tmp_path).text_vectors, expected)

    def test_given_ones_decide_the_width(self, name, tmp_path):
        catalog = small_dataset().catalog
        model = small_baseline(name, whitening=None).with_text_vectors(catalog, GIVEN)
        model.fit(small_dataset(), output_dir=tmp_path, num_train_epochs=1, use_cpu=True, report_to="none")
        torch.testing.assert_close(model.text_vectors, prepared(GIVEN, None))
        loaded = NEURAL[name].from_pretrained(tmp_path)
        assert (loaded.config.text_size, loaded.config.text_encoder) == (7, "given")
        assert torch.equal(loaded.scores(HISTORIES), model.scores(HISTORIES))

    def test_given_ones_have_to_fit(self, name):
        with pytest.raises(ValueError, match="59 vectors for 60 items; expected as many"):
            small_baseline(name).with_text_vectors(small_dataset().catalog, GIVEN[1:])
        with pytest.raises(ValueError, match=r"must be \[num_items, width\] and finite"):
            small_baseline(name).with_text_vectors(small_dataset().catalog, GIVEN * np.nan)
        model = small_baseline(name).with_text_vectors(small_dataset().catalog, GIVEN)
        with pytest.raises(ValueError, match=r"has no text vectors of this catalogue of 50 items.*with_text_vectors"):
            model.take_catalog(SHOPS[0].catalog)
        trained = with_items(name).with_text_vectors(SHOPS[0].catalog, GIVEN[:50])
        with pytest.raises(ValueError, match="was trained on text vectors of width 24, but these are of width 7"):
            trained.zero_shot(SHOPS[0])
        assert trained.config.num_items == 60  # nothing changed


@TEXT
class TestZeroShot:
    def test_the_same_items_are_the_same_model(self, name):
        model = with_items(name)
        assert model.zero_shot(small_dataset()) is model

    def test_scores_are_those_of_the_texts_in_their_order(self, name):
        """The shop of the same items in another order: ranked alike, and nothing of a single item is left."""
        model = with_items(name)
        order = np.random.default_rng(1).permutation(60)
        dataset = type(small_dataset())(
            small_dataset().catalog.select(order), small_dataset().train, None, None, {"name": "x"}
        )
        torch.manual_seed(5)
        found = model.zero_shot(dataset)
        assert torch.equal(torch.rand(2), torch.manual_seed(5) and torch.rand(2))
        histories = [np.argsort(order)[history] for history in HISTORIES]
        table = model.item_embeddings
        if table is not None:
            table.weight.data.zero_()
        torch.testing.assert_close(found.scores(histories), model.scores(HISTORIES)[:, order], atol=1e-4, rtol=1e-4)
        assert found.fit(dataset) is found

    def test_a_pretrained_model_ranks_without_training(self, name, tmp_path):
        pretraining(name, tmp_path).train()
        model = NEURAL[name].from_pretrained(tmp_path)
        assert model.config.num_items == 0
        assert model.catalog is None
        found = model.zero_shot(small_dataset())
        assert len(rank_split(found, small_dataset().validation)) == 48
        before = state_of(found)
        assert same_state(state_of(found.fit(small_dataset())), before)


@TEXT
class TestPretraining:
    def test_lowers_the_loss_and_ends_in_a_model_without_items(self, name, tmp_path):
        trainer = pretraining(name, tmp_path, num_train_epochs=12)
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert losses[-1] < 0.95 * losses[0]
        assert not (tmp_path / "item_catalog.arrow").is_file()
        trainer.finish()
        assert "pretrained on" in (tmp_path / "README.md").read_text("utf-8")

    def test_resumes_to_the_last_bit_whatever_is_ranked_between(self, name, tmp_path):
        settings = {"save_strategy": "steps", "save_steps": 3, "save_total_limit": None, "eval_strategy": "epoch"}
        pretraining(name, tmp_path / "whole", **settings).train()
        again = pretraining(name, tmp_path / "part", num_train_epochs=2, **settings)
        again.train()
        checkpoint = sorted((tmp_path / "part").glob("checkpoint-*"), key=lambda path: int(path.name[11:]))[0]
        resumed = pretraining(name, tmp_path / "part", **settings)
        resumed.train(resume_from_checkpoint=str(checkpoint))
        assert weights_of(tmp_path / "part") == weights_of(tmp_path / "whole")

    def test_is_followed_by_training(self, name, tmp_path):
        model = small_baseline(name)
        args = default_arguments(
            model, tmp_path, learning_rate=0.0, report_to="none", use_cpu=True, num_train_epochs=1, disable_tqdm=True
        )
        train_baseline(
            model, small_dataset(), args, pretraining_datasets=SHOPS,
            pretraining_arguments={"num_train_epochs": 1, "per_device_train_batch_size": 16},
        )  # fmt: skip
        pretrained = NEURAL[name].from_pretrained(tmp_path / "pretraining")
        assert model.config.num_items == 60
        assert len(model.shop_vectors) == 0
        for key, value in pretrained.named_parameters():
            if "embeddings" not in key:
                assert torch.equal(value, model.get_parameter(key)), key

    def test_of_a_model_with_items_drops_them(self, name):
        model = with_items(name)
        model.take_datasets(SHOPS, pretraining=True)
        assert (model.config.num_items, model.catalog, len(model.text_vectors)) == (0, None, 0)
        assert model.shop_starts == [0, 50, 100]
        first = prepared(text_vectors(SHOPS[1].catalog, width=24), 0.25)
        assert torch.equal(model.shop_vectors[50:100], first)


def test_rows_of_shops():
    batch = TrainingSequences([shop.train for shop in SHOPS])[[(0, 1, 3), (0, 0, 2)]]
    second, first = SHOPS[1].train[3].history, SHOPS[0].train[2].history
    assert ShopRows([50, 60])(batch).tolist() == [*(second + 50), *first]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "temperature must be positive and finite, got 0"),
        ({"text_size": 0}, "text_size must be positive and finite, got 0"),
        ({"whitening": 2}, r"whitening must lie in \[0, 1\], got 2"),
    ],
)
def test_unfit_settings_are_refused(settings, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        TextConfig(**settings)


class TestItemVectors:
    def test_are_kept_until_a_weight_or_the_mode_changes(self, monkeypatch):
        model = with_items("zesrec")
        computed = []
        whole = type(model).item_vectors_of
        monkeypatch.setattr(
            type(model), "item_vectors_of", lambda self, rows=None: computed.append(1) or whole(self, rows)
        )
        first = model.scores(HISTORIES)
        assert torch.equal(model.scores(HISTORIES), first)
        assert len(computed) == 1
        with torch.no_grad():
            model.universal.weight += 1
        assert not torch.allclose(model.scores(HISTORIES), first)
        model.eval()
        model.scores(HISTORIES)
        assert len(computed) == 3
        assert model.item_vectors().requires_grad  # outside of scoring

    @TEXT
    def test_are_computed_anew_after_autocast(self, name):
        model = with_items(name)
        with torch.autocast("cpu", torch.bfloat16):
            model.scores(HISTORIES)
        assert torch.equal(model.scores(HISTORIES), with_items(name).scores(HISTORIES))

    def test_large_catalogues_are_computed_in_parts(self, monkeypatch):
        model = with_items("unisrec", use_ids=True)
        first = model.scores(HISTORIES)
        monkeypatch.setattr(text_model, "ITEMS_AT_ONCE", 7)
        model.eval()
        torch.testing.assert_close(model.scores(HISTORIES), first)

    @TEXT
    def test_sampled_losses_read_only_the_items_that_count(self, name):
        model = with_items(name, loss="sampled_softmax", num_negatives=20, logq_correction=True)
        batch = model.training_collator([small_dataset()], 0)(TrainingSequences([small_dataset().train])[[(0, 0, 1)]])
        states, items = model.encode(packed(batch["history_rows"].tolist())), model.item_vectors_of()
        labels, negatives = batch["labels"], batch["negatives"]
        scores = states @ items.T
        expected = sampled_softmax(
            scores.gather(1, labels[:, None])[:, 0],
            scores[:, negatives],
            labels[:, None] == negatives,
            batch["log_counts"],
        )
        torch.testing.assert_close(model(**batch).loss, expected, atol=1e-5, rtol=1e-5)
        del model.text_vectors  # the rest of the catalogue has no vectors
        rows = torch.cat([batch["history_rows"], labels, negatives])
        model.text_vectors = torch.full((60, 24), torch.nan)
        model.text_vectors[rows] = prepared(text_vectors(small_dataset().catalog, width=24), 0.25)[rows]
        torch.testing.assert_close(model(**batch).loss, expected, atol=1e-5, rtol=1e-5)


@TEXT
def test_training_computes_the_vectors_of_a_large_catalogue_in_parts(name, monkeypatch):
    model = with_items(name, dropout=0.5)
    batch = {"history_rows": packed(*HISTORIES).rows, "lengths": packed(*HISTORIES).lengths}
    labels = torch.tensor([5, 7, 9, 11])

    def trained(training: bool) -> list[torch.Tensor]:
        model.train(training).zero_grad()
        torch.manual_seed(0)
        loss = model(**batch, labels=labels).loss
        loss.backward()
        return [loss.detach(), *(weight.grad for weight in model.parameters() if weight.grad is not None)]

    whole = trained(False)
    monkeypatch.setattr(text_model, "ITEMS_AT_ONCE", 7)
    torch.testing.assert_close(trained(False), whole)
    again = trained(True)  # the backward pass draws the same dropout and noise as the forward pass
    monkeypatch.setattr(text_model, "checkpoint", lambda function, part, use_reentrant: function(part))
    torch.testing.assert_close(trained(True), again)


def test_cosines_or_products():
    model = with_items("unisrec", temperature=0.5)
    states, items = torch.randn(3, 16), torch.randn(4, 16)
    cosines = torch.cosine_similarity(states[:, None], items[None], dim=-1)
    torch.testing.assert_close(model.states_to_score(states) @ model.items_to_score(items).T, cosines / 0.5)
    model.config.temperature = None
    assert model.states_to_score(states) is states
    assert model.items_to_score(items) is items
