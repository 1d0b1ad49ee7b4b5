"""baselines/shared/model.py: what holds for every neural baseline, whatever its network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from recformer_hf import ItemCatalog
from recformer_hf.baselines import NEURAL, SASRec
from recformer_hf.baselines.shared.collators import NextItemCollator
from recformer_hf.baselines.shared.losses import bpr_max, full_cross_entropy, sampled_softmax, top1_max
from recformer_hf.data.torch_datasets import TrainingSequences
from recformer_hf.evaluation import rank_split
from tests.support.neural_baselines import SMALL, packed, small_baseline, with_items
from tests.support.training import same_state, small_dataset, state_of

EVERY = pytest.mark.parametrize("name", sorted(NEURAL))
HISTORIES = [np.array([3, 0, 3]), np.array([1]), np.arange(20)]


def test_every_baseline_has_small_settings():
    assert sorted(SMALL) == sorted(NEURAL)
    assert [model.config_class.model_type for model in NEURAL.values()] == list(NEURAL)


@EVERY
class TestScores:
    def test_a_history_has_the_same_scores_in_any_batch(self, name):
        model = with_items(name)
        together = model.scores(HISTORIES)
        assert together.shape == (3, len(small_dataset().catalog))
        assert together.dtype == torch.float32
        for row, history in enumerate(HISTORIES):
            torch.testing.assert_close(model.scores([history])[0], together[row])

    def test_histories_matter_and_of_long_ones_the_newest_items(self, name):
        model = with_items(name)
        scores = model.scores(HISTORIES)
        assert not torch.allclose(scores[0], scores[1])
        torch.testing.assert_close(model.scores([HISTORIES[2][-model.config.max_length :]])[0], scores[2])

    def test_the_model_stays_in_its_mode(self, name):
        model = with_items(name, dropout=0.5).train()
        assert torch.equal(model.scores(HISTORIES), model.scores(HISTORIES))
        assert all(module.training for module in model.modules())

    def test_autocast_does_not_round_them(self, name):
        """Scores of bfloat16 have 256 values between two powers of 2, so that many items would be level."""
        with torch.autocast("cpu", torch.bfloat16):
            scores = with_items(name).scores(HISTORIES)
        assert scores.dtype == torch.float32
        assert (scores != scores.bfloat16()).float().mean() > 0.9

    def test_it_is_a_scorer(self, name):
        ranking = rank_split(with_items(name).fit(small_dataset()), small_dataset().validation)
        assert len(ranking) == len(small_dataset().validation)

    def test_unfit_histories_are_refused(self, name):
        model = with_items(name)
        with pytest.raises(ValueError, match="History 1 is empty"):
            model.scores([np.array([1]), np.array([], np.int64)])
        with pytest.raises(ValueError, match="History 0 is empty; expected at least one item in each"):
            model.scores([np.array([], np.int64)])
        with pytest.raises(ValueError, match="rows from 0 to 60, but the model's catalogue has 60 items"):
            model.scores([np.array([0, 60])])
        for history in (["a"], "a", 3, [0.5], [[0]]):
            with pytest.raises(TypeError, match=r"History 1 is .*; expected rows of the cat.*recommend takes ids"):
                model.scores([np.array([0]), history])

    def test_no_histories_have_no_scores(self, name):
        assert with_items(name).scores([]).shape == (0, 60)


@EVERY
class TestFiles:
    def test_a_saved_model_scores_alike_and_knows_its_items(self, name, tmp_path):
        model = with_items(name)
        model.save_pretrained(tmp_path)
        loaded = NEURAL[name].from_pretrained(tmp_path)
        assert not loaded.is_new
        assert loaded.catalog == small_dataset().catalog
        assert torch.equal(loaded.scores(HISTORIES), model.scores(HISTORIES))
        assert loaded.fit(small_dataset()) is loaded  # nothing is trained
        assert same_state(state_of(loaded), state_of(model))

    def test_auto_classes_load_it(self, name, tmp_path):
        model = with_items(name)
        model.save_pretrained(tmp_path)
        assert type(AutoConfig.from_pretrained(tmp_path)) is NEURAL[name].config_class
        loaded = AutoModel.from_pretrained(tmp_path)
        assert type(loaded) is NEURAL[name]
        assert torch.equal(loaded.scores(HISTORIES), model.scores(HISTORIES))

    def test_it_is_pushed_with_its_catalogue(self, name, hub, tmp_path):
        model = with_items(name)
        model.push_to_hub("someone/model")
        assert {"config.json", "model.safetensors", "item_catalog.arrow"} <= set(hub.repositories["someone/model"])
        loaded = NEURAL[name].from_pretrained("someone/model", cache_dir=tmp_path)
        assert loaded.catalog == small_dataset().catalog
        assert torch.equal(loaded.scores(HISTORIES), model.scores(HISTORIES))

    def test_damaged_weights_are_named(self, name, tmp_path):
        model = with_items(name)
        weight = next(iter(model.parameters()))
        weight.data.view(-1)[0] = float("nan")
        model.save_pretrained(tmp_path)
        with pytest.raises(ValueError, match="holds NaN or infinite values in"):
            NEURAL[name].from_pretrained(tmp_path)
        (tmp_path / "model.safetensors").write_bytes(b"half a file")
        with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
            NEURAL[name].from_pretrained(tmp_path)

    def test_a_model_without_items_leaves_no_catalogue_of_another(self, name, tmp_path):
        with_items(name).save_pretrained(tmp_path)
        small_baseline(name).save_pretrained(tmp_path)
        assert not (tmp_path / "item_catalog.arrow").is_file()


@EVERY
class TestItems:
    def test_another_catalogue_is_refused(self, name):
        other = small_dataset(num_items=50)
        with pytest.raises(ValueError, match="has another catalogue, of 60 items, not the dataset's 50"):
            with_items(name).fit(other)

    def test_without_a_catalogue_nobody_knows_the_items(self, name, tmp_path):
        with_items(name).save_pretrained(tmp_path)
        (tmp_path / "item_catalog.arrow").unlink()
        loaded = NEURAL[name].from_pretrained(tmp_path)
        assert loaded.scores(HISTORIES).shape == (3, 60)
        with pytest.raises(ValueError, match="has no catalogue that names its 60 items"):
            loaded.fit(small_dataset())
        loaded.catalog = small_dataset().catalog
        assert loaded.fit(small_dataset()) is loaded
        with pytest.raises(ValueError, match="The catalogue has 50 items, but the model has 60"):
            loaded.catalog = small_dataset(num_items=50).catalog

    def test_settings_without_an_effect_are_refused(self, name):
        model = NEURAL[name]
        with pytest.raises(TypeError, match="has no setting 'hiden_size'; did you mean hidden_size"):
            model(hiden_size=32)
        with pytest.raises(TypeError, match=r"has no setting 'xyzzy'; help\(.*Config\) lists its fields"):
            model(xyzzy=32)
        with pytest.raises(TypeError, match=r"got a configuration and, besides, hidden_size, dropout\. Set these in"):
            model(model.config_class(), hidden_size=32, dropout=0.0)

    def test_a_new_model_has_no_items(self, name):
        with pytest.raises(ValueError, match="has no items yet"):
            small_baseline(name).scores(HISTORIES)

    def test_taking_other_items_is_said_and_the_same_ones_change_nothing(self, name, caplog):
        model = with_items(name)
        before = state_of(model)
        model.take_datasets([small_dataset()], pretraining=False)
        assert same_state(state_of(model), before)
        model.take_datasets([small_dataset(num_items=50)], pretraining=False)
        assert model.config.num_items == 50
        assert "had 60 other items" in caplog.text
        assert model.scores(HISTORIES).shape == (3, 50)


class TestLoss:
    """The one implementation, with the smallest model."""

    def collated(self, **settings):
        model = with_items("sasrec", dropout=0.0, **settings)
        data = TrainingSequences([small_dataset().train])
        counts = np.bincount(small_dataset().train.items, minlength=60)
        batch = NextItemCollator(model.config, counts, seed=0)(data[[(0, 0, row) for row in range(5)]])
        states = model.encode(packed(*np.split(batch["history_rows"].numpy(), np.cumsum(batch["lengths"])[:-1])))
        return model, batch, states

    def test_full_cross_entropy(self):
        model, batch, states = self.collated()
        expected = full_cross_entropy(states, model.item_embeddings.weight, batch["labels"])
        assert torch.equal(model(**batch).loss, expected)

    @pytest.mark.parametrize(
        ("loss", "function"), [("sampled_softmax", sampled_softmax), ("bpr_max", bpr_max), ("top1_max", top1_max)]
    )
    def test_shared_negatives(self, loss, function):
        model, batch, states = self.collated(num_negatives=30, batch_negatives=True, loss="sampled_softmax")
        model.config.__dict__["loss"] = loss  # whichever losses SASRec itself has
        scores = states @ model.item_embeddings.weight.T
        labels, negatives = batch["labels"], batch["negatives"]
        found = function(
            scores[torch.arange(len(labels)), labels], scores[:, negatives], labels[:, None] == negatives[None]
        )
        torch.testing.assert_close(model(**batch).loss, found)

    def test_own_negatives_and_no_calibration_make_gbce_bce(self):
        model, batch, _ = self.collated(loss="bce", num_negatives=4)
        loss = model(**batch).loss
        model.config.loss, model.config.calibration = "gbce", 0.0
        torch.testing.assert_close(model(**batch).loss, loss)
        model.config.calibration = 0.75
        assert model(**batch).loss.item() < loss.item()

    def test_scores_of_a_binary_loss_start_in_the_optimum_of_a_model_that_knows_nothing(self):
        for loss, calibration in (("bce", 0.0), ("gbce", 0.75)):
            model, batch, _ = self.collated(loss=loss, num_negatives=50, calibration=calibration)
            shift = torch.zeros((), requires_grad=True)
            model.item_vectors = lambda: torch.zeros(60, 16)
            model.item_bias = lambda shift=shift: shift.expand(60)
            batch["negatives"] = torch.where(  # none is a target by accident
                batch["negatives"] == batch["labels"][:, None], (batch["labels"][:, None] + 1) % 60, batch["negatives"]
            )
            model(**batch).loss.backward()
            assert abs(shift.grad.item()) < 1e-6

    def test_chosen_places(self):
        model, batch, states = self.collated()
        places = torch.tensor([4, 0, 7])
        batch["labels"] = batch["labels"][places]
        expected = full_cross_entropy(states[places], model.item_embeddings.weight, batch["labels"])
        torch.testing.assert_close(model(**batch, places=places).loss, expected)

    def test_targets_of_a_batch(self):
        assert SASRec.num_targets({"labels": torch.zeros(7), "lengths": torch.ones(2)}) == 7
        assert SASRec.num_targets({"lengths": torch.ones(2)}) == 2

    def test_outputs_as_a_tuple(self):
        model, batch, _ = self.collated()
        assert torch.equal(model(**batch, return_dict=False)[0], model(**batch).loss)


class TestIdsAlone:
    def test_several_shops_or_another_one_are_refused(self):
        model = with_items("sasrec")
        with pytest.raises(
            ValueError, match="SASRec knows items by their ids alone, so it trains on one dataset; got 2"
        ):
            model.take_datasets([small_dataset(), small_dataset()], pretraining=False)
        assert model.zero_shot(small_dataset()) is model
        with pytest.raises(ValueError, match="cannot rank another catalogue"):
            model.zero_shot(small_dataset(num_items=50))
        with pytest.raises(ValueError, match="SASRec has no pretraining"):
            model.pretraining_collator([small_dataset()], 0)

    def test_anything_but_a_catalogue_is_refused(self):
        with pytest.raises(TypeError, match="A model's catalogue is an ItemCatalog, got a dict"):
            with_items("sasrec").catalog = {}
        assert isinstance(with_items("sasrec").catalog, ItemCatalog)
