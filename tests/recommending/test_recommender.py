"""The methods of a recommender: they survive saving, processes and copies."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch

from recformer_hf import ItemCatalog, RecformerForSeqRec
from recformer_hf.explaining import explain
from tests.support.heads import trained
from tests.support.shop import ITEMS, MORE
from tests.support.training_processes import run_code


class TestRecommender:
    def test_with_catalog_is_a_model_of_its_own(self, encoder, model, tokenizer):
        assert encoder.config.num_items == 0
        assert encoder.catalog is None
        assert model.recformer is encoder.recformer
        assert list(model.catalog.ids) == list(ITEMS)
        other = model.with_catalog(ItemCatalog.from_items(MORE), tokenizer)
        assert (model.config.num_items, other.config.num_items) == (32, 2)
        assert other.recommend([["n1"]], tokenizer, 1).item_ids == [["n2"]]
        assert not other.training
        assert not any(weight.is_meta for weight in other.state_dict().values())
        rows = [{"item_id": key, **item} for key, item in MORE.items()]
        assert model.with_catalog(rows, tokenizer).catalog == other.catalog

    def test_a_temperature_that_was_changed_to_nothing_possible(self, model, tokenizer):
        model.config.temperature = float("nan")
        with pytest.raises(ValueError, match="temperature must be positive and finite, got nan"):
            model.recommend([["rkA"]], tokenizer)

    def test_a_copy_follows_its_own_configuration(self, model, tokenizer):
        other = copy.copy(model)
        other.config.temperature = 2 * model.config.temperature
        ours, theirs = (each.recommend([["rkA"]], tokenizer, 3).scores for each in (model, other))
        torch.testing.assert_close(theirs, ours / 2)
        assert other.scoring_head.config is other.config
        assert model.scoring_head.config is model.config

    def test_a_number_of_items_that_was_changed_by_hand(self, model, tokenizer, tmp_path):
        """Such a model could be saved, but not loaded."""
        model.config.num_items = 10
        for use in (lambda: model.recommend([["rkA"]], tokenizer), lambda: model.save_pretrained(tmp_path / "x")):
            with pytest.raises(ValueError, match=r"config\.num_items is 10, but the model has 32 item embeddings"):
                use()
        assert not (tmp_path / "x").exists()

    def test_round_trip_after_every_change(self, model, tokenizer, tmp_path):
        model.add_items(MORE, tokenizer)
        model.remove_items(["rkA"])
        model.update_items({"n1": {"title": "green boat"}}, tokenizer)
        model.save_pretrained(tmp_path)
        loaded = RecformerForSeqRec.from_pretrained(tmp_path)
        assert loaded.catalog == model.catalog
        ours, theirs = (m.recommend([["n1", "gmN"]], tokenizer) for m in (loaded, model))
        assert ours.item_ids == theirs.item_ids
        assert torch.equal(ours.scores, theirs.scores)

    @pytest.mark.parametrize("kernels", [{}, {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}], ids=["own", "oldest"])
    def test_same_recommendations_in_a_fresh_process(self, model, tokenizer, tmp_path, kernels):
        """To the last bit; also with kernels whose sums depend on where in memory a matrix begins."""
        items, histories = tmp_path / "items.json", tmp_path / "histories.json"
        items.write_text(json.dumps(ITEMS))
        mixed = [["rkA", "gmN", {"title": "tent", "brand": "Acme"}], ["wtA"], list(ITEMS)]
        histories.write_text(json.dumps(mixed))
        model.save_pretrained(tmp_path / "encoder")
        tokenizer.save_pretrained(tmp_path / "encoder")
        script = f"""
            import json, torch
            from pathlib import Path
            from recformer_hf import RecformerForSeqRec, RecformerTokenizer
            torch.set_num_threads({torch.get_num_threads()})
            tokenizer = RecformerTokenizer.from_pretrained(source)
            model = RecformerForSeqRec.from_pretrained(source)
            if target:  # as after training: weights that are no longer where they were loaded
                for weight in model.parameters():
                    weight.data = weight.data.clone()
                model = model.with_catalog(json.loads(Path({str(items)!r}).read_text()), tokenizer)
                model.save_pretrained(target)
                tokenizer.save_pretrained(target)
            histories = json.loads(Path({str(histories)!r}).read_text())
            one = model.recommend(histories[:1], tokenizer, 8, exclude_history=False).to_dicts()
            more = model.recommend(histories, tokenizer, 8, exclude_history=False).to_dicts()
            Path({str(tmp_path / "answers.json")!r}).write_text(json.dumps(one + more))
        """

        def answers(source, target) -> list:
            code = f"source, target = {str(source)!r}, {str(target)!r}\n{textwrap.dedent(script)}"
            if kernels:  # the library reads its environment once
                subprocess.run([sys.executable, "-c", code], env={**os.environ, **kernels}, check=True)
            else:
                run_code(code, 1)
            found = json.loads((tmp_path / "answers.json").read_text())
            (tmp_path / "answers.json").unlink()
            return found

        trained = answers(tmp_path / "encoder", tmp_path / "shop")
        assert answers(tmp_path / "shop", "") == trained
        assert trained[0][0]["attributes"] == ITEMS[trained[0][0]["item_id"]]
        expected = model.recommend(mixed, tokenizer, 8, exclude_history=False)
        assert [[item["item_id"] for item in answer] for answer in trained[1:]] == expected.item_ids


class TestExplain:
    def test_delegates_to_the_room_that_explains(self, model, tokenizer):
        history = ["rkA", {"title": "tent"}]
        found = model.explain(history, tokenizer, "gmN", words=False)
        expected = explain(model, tokenizer, history, "gmN", words=False)
        assert found.to_dict() == expected.to_dict()
        top = model.explain_top(history, tokenizer, 2, attributes=False, words=False)
        assert [each.item_id for each in top] == model.recommend([history], tokenizer, 2).item_ids[0]

    def test_code_of_a_checkpoint_without_the_package(self, model, tokenizer, monkeypatch):
        monkeypatch.setitem(sys.modules, "recformer_hf.explaining", None)
        with pytest.raises(ImportError, match=r"Explanations need the package.*pip install recformer-hf"):
            model.explain(["rkA"], tokenizer)


class TestSetItemEmbeddings:
    def test_arrays(self, model):
        catalog, vectors = model.catalog, model.item_embeddings.detach().clone()
        model.set_item_embeddings(vectors.double().numpy(), catalog)
        assert torch.equal(model.item_embeddings, vectors)
        assert model.item_embeddings.dtype == torch.float32
        assert model.catalog is catalog

    @pytest.mark.parametrize("wrong", [[[0.0] * 64], None, "vectors"])
    def test_other_kinds(self, model, wrong):
        with pytest.raises(
            TypeError, match=r"must be a tensor or a numpy array of numbers, got a .*model\.encode_items"
        ):
            model.set_item_embeddings(wrong)


class TestEqualItems:
    """Rows with the vector of an earlier item, found once for each state of the weights."""

    def test_items_of_equal_text(self, encoder, tokenizer):
        shop = encoder.with_catalog({"a": {"title": "mug"}, "b": {"title": "tent"}, "c": {"title": "mug"}}, tokenizer)
        assert shop.equal_items.tolist() == [[2], [0]]
        assert shop.equal_items is shop.equal_items
        shop.remove_items(["a"])
        assert shop.equal_items.shape == (2, 0)
        shop.set_item_embeddings(shop.item_embeddings[[1, 0, 1, 1]])
        assert shop.equal_items.tolist() == [[2, 3], [0, 0]]

    def test_residuals_tell_them_apart(self, tokenizer):
        items = {"a": {"title": "mug"}, "b": {"title": "tent"}, "c": {"title": "mug"}}
        model = trained(items, tokenizer, "residuals")
        assert model.equal_items.shape == (2, 0)
        with torch.no_grad():
            model.item_residuals.zero_()
        assert model.equal_items.tolist() == [[2], [0]]


def test_vectors_of_the_inference_mode_can_be_part_of_a_graph(model, tokenizer):
    model = trained(model.catalog, tokenizer, "items")
    with torch.inference_mode():
        model.recommend([["rkA"]], tokenizer)
    assert not model.item_vectors.is_inference()


class TestItemVectors:
    """They are computed once for each state of what they are computed from."""

    HISTORIES = [["rkA", "gmN"], ["wtA"]]

    def test_of_a_projection_that_is_another_module(self, tokenizer):
        """LoRA and quantisation put one there, whose numbers change without a change of its weights."""

        class Scaled(torch.nn.Linear):
            scale = 1.0

            def forward(self, x):
                return self.scale * super().forward(x)

        model = trained(ITEMS, tokenizer, "narrow")
        plain = model.scoring_head.projection
        before = model.item_vectors
        model.scoring_head.projection = other = Scaled(plain.in_features, plain.out_features).eval()
        other.load_state_dict(plain.state_dict())
        assert torch.equal(model.item_vectors, before)
        other.scale = 2.0
        texts = model.item_vectors - model.item_residuals
        torch.testing.assert_close(texts, 2 * (before - model.item_residuals), atol=1e-5, rtol=1e-5)
        expected = model.recommend(self.HISTORIES, tokenizer, 5)
        model.scoring_head.projection = plain
        with torch.no_grad():
            for weight in plain.parameters():
                weight.mul_(2)
        found = model.recommend(self.HISTORIES, tokenizer, 5)
        assert found.item_ids == expected.item_ids
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=1e-5)

    def test_quantised(self, tokenizer):
        model = trained(ITEMS, tokenizer, "narrow")
        expected = model.recommend(self.HISTORIES, tokenizer, 5)
        quantised = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
        found = quantised.recommend(self.HISTORIES, tokenizer, 5)
        assert found.item_ids[0][0] == expected.item_ids[0][0]
        torch.testing.assert_close(found.scores, expected.scores, atol=1.0, rtol=0)
        assert not torch.equal(found.scores, expected.scores)

    def test_averaged_weights_that_are_swapped_in(self, tokenizer):
        """Many write them through `.data`, which torch does not count."""
        model = trained(ITEMS, tokenizer, "narrow")
        model.build_index("bfloat16")
        before, index = model.item_vectors, model.index
        assert model.train().eval().index is index
        model.item_residuals.data.zero_()
        model.train().eval()
        assert not torch.equal(model.item_vectors, before)
        assert model.index is not index
