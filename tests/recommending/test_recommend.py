"""Recommending for raw histories, similar items, and catalogues that change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recformer_hf import ItemCatalog, RecformerForSeqRec, RecformerTokenizer, UnknownItemError
from recformer_hf.recommending.item_store import CheckpointSource, ItemStore
from recformer_hf.recommending.recommend import _pairs
from recformer_hf.recommending.vectors import first_of_equal
from recformer_hf.tokenization_recformer import EncodedItems
from tests.support.models import enliven, small_config

ITEMS = {
    f"{colour[0]}{thing[0]}{brand[0]}": {"title": f"{colour} {thing}", "brand": brand}
    for colour in ("red", "green", "blue", "white")
    for thing in ("kettle", "mug", "spade with a spare grip and a very long handle", "tent")
    for brand in ("Acme", "Nordby")
}
MORE = {"n1": {"title": "yellow boat"}, "n2": {"title": "brass lamp", "brand": "Lumen"}}


@pytest.fixture(scope="module")
def tokenizer() -> RecformerTokenizer:
    return RecformerTokenizer.train_from_catalog(ITEMS.values(), vocab_size=320)


@pytest.fixture(scope="module")
def encoder() -> RecformerForSeqRec:
    return enliven(RecformerForSeqRec(small_config())).eval()


@pytest.fixture
def model(encoder, tokenizer) -> RecformerForSeqRec:
    return encoder.with_catalog(ITEMS, tokenizer)


def assert_close(ours, theirs):
    """To 1e-6 of unit vectors, in float32."""
    torch.testing.assert_close(F.normalize(ours, dim=-1), F.normalize(theirs, dim=-1), atol=1e-6, rtol=0)


class TestEncodeHistories:
    def test_is_the_forward_of_the_tokenized_history(self, model, tokenizer):
        histories = [["rkA", "gmN"], [ITEMS["wtA"]], ["bsN", ITEMS["rmA"], "gkA"] * 3]
        found = model.encode_histories(histories, tokenizer, max_tokens=50)
        texts = [[ITEMS[entry] if isinstance(entry, str) else entry for entry in history] for history in histories]
        with torch.no_grad():
            expected = model.recformer(**tokenizer(texts, padding=True, return_tensors="pt")).pooler_output
        assert_close(found, expected)
        assert found.dtype == torch.float32

    def test_a_history_of_one_is_that_item(self, model, tokenizer):
        assert_close(model.encode_histories([["rkA"]], tokenizer), model.item_embeddings[:1])

    def test_only_the_newest_items_count(self, model, tokenizer):
        history = ["rkA"] * 100
        assert_close(model.encode_histories([history], tokenizer), model.encode_histories([history[:50]], tokenizer))

    def test_numpy(self, model, tokenizer):
        found = model.encode_histories([["rkA"]], tokenizer, return_tensors="np")
        assert isinstance(found, np.ndarray)
        assert model.encode_histories([], tokenizer).shape == (0, 64)
        with pytest.raises(ValueError, match="return_tensors is 'tf'"):
            model.encode_histories([["rkA"]], tokenizer, return_tensors="tf")

    def test_whole_numbers_are_ids(self, encoder, tokenizer):
        model = encoder.with_catalog({7: {"title": "red mug"}, 8: {"title": "tent"}}, tokenizer)
        expected = model.encode_histories([["7", "8"]], tokenizer)
        for history in ([7, 8], np.array([7, 8]), np.array(["7", "8"])):
            assert torch.equal(model.encode_histories([history], tokenizer), expected)

    def test_blocks(self, model, tokenizer, monkeypatch):
        histories = [["rkA"] * count for count in (5, 1, 3, 2, 4)]
        expected = model.encode_histories(histories, tokenizer)
        monkeypatch.setattr("recformer_hf.recommending.vectors.HISTORY_BLOCK", 2)
        assert_close(model.encode_histories(histories, tokenizer), expected)

    @pytest.mark.parametrize(
        ("histories", "error", "message"),
        [
            ([["rkA"], []], ValueError, "History 1 is empty; it needs at least one item"),
            (
                [["rkA"], ["rkA", "rkZ"]],
                UnknownItemError,
                "Item 1 of history 1 is unknown: .*'rkZ'.*Closest: 'rkN'",
            ),
            ([["rkA", 3.5]], TypeError, "Item 1 of the history is a float, 3.5; expected a dictionary"),
            ([["rkA", True]], TypeError, "is a bool"),
            ([["rkA"], [{"title": " "}]], ValueError, "Item 0 of history 1 is empty"),
            ([["rkA"], [{"title": {}}]], TypeError, "Item 0 of history 1 has a value of type dict"),
            (["rkA"], TypeError, r"got a list of str. One history is \[history\]"),
            ("rkA", TypeError, "Expected a list of histories, got a str"),
            ([["rkA"], "rkA"], TypeError, "History 1 is a str"),
            ([["rkA"], None], TypeError, "History 1 is a NoneType"),
        ],
    )
    def test_bad_histories(self, model, tokenizer, histories, error, message):
        with pytest.raises(error, match=message):
            model.encode_histories(histories, tokenizer)

    def test_ids_need_a_catalogue(self, model, tokenizer):
        model.catalog = None
        model.encode_histories([[ITEMS["rkA"]]], tokenizer)
        with pytest.raises(ValueError, match=r"is the id 'rkA', but the model has no catalogue.*model.catalog ="):
            model.encode_histories([["rkA"]], tokenizer)

    def test_a_tokenizer_of_another_model(self, model, tokenizer):
        other = enliven(RecformerForSeqRec(small_config(vocab_size=270))).eval()
        with pytest.raises(ValueError, match="input_ids of this tokenizer must lie between 0 and 269"):
            other.encode_histories([[ITEMS["rkA"]]], tokenizer)

    def test_modules_keep_their_mode(self, model, tokenizer):
        model.train()
        model.recformer.embeddings.eval()
        model.encode_histories([["rkA"]], tokenizer)
        assert model.recformer.encoder.training
        assert not model.recformer.embeddings.training
        model.eval()


class TestItemVectors:
    """However the items come to be encoded, their vectors are the same."""

    def test_one_by_one_in_batches_in_another_order_and_added(self, encoder, model, tokenizer):
        items = list(ITEMS.values())
        together = model.item_embeddings.detach()
        assert_close(torch.cat([encoder.encode_items([item], tokenizer) for item in items]), together)
        assert_close(encoder.encode_items(items, tokenizer, max_tokens=40), together)
        assert_close(encoder.encode_items(items[::-1], tokenizer).flip(0), together)
        grown = encoder.with_catalog(dict(list(ITEMS.items())[:5]), tokenizer)
        grown.add_items(dict(list(ITEMS.items())[5:]), tokenizer)
        assert_close(grown.item_embeddings, together)
        assert grown.catalog == model.catalog

    def test_items_of_equal_text_have_the_very_same_vector(self, encoder, tokenizer):
        items = [*ITEMS.values()] * 5
        vectors = encoder.encode_items(items, tokenizer, max_tokens=50)
        assert torch.equal(vectors, vectors[:32].repeat(5, 1))
        recommender = encoder.with_catalog({f"i{row}": item for row, item in enumerate(items)}, tokenizer)
        scores = recommender(**tokenizer([[items[0]], items[5:9]], padding=True, return_tensors="pt")).scores
        assert torch.equal(scores, scores[:, :32].repeat(1, 5))  # so that they tie

    def test_what_is_cut_off_makes_no_difference_and_types_do(self):
        ids, types = [5, 6, 7, 5, 6, 8, 5, 6, 5, 6], [1, 2, 2, 1, 2, 2, 1, 2, 2, 2]
        encoded = EncodedItems(np.array(ids, np.int32), np.array(types, np.uint8), np.array([0, 3, 6, 8, 10]))
        assert first_of_equal(encoded, 1024).tolist() == [0, 1, 2, 3]
        assert first_of_equal(encoded, 3).tolist() == [0, 0, 0, 3]  # <s> and two tokens

    def test_half_precision_gives_float32_vectors_near_the_same(self, tokenizer):
        model = enliven(RecformerForSeqRec(small_config())).eval()
        exact = model.encode_items(list(ITEMS.values()), tokenizer)
        half = model.to(torch.bfloat16).encode_items(list(ITEMS.values()), tokenizer)
        assert half.dtype == torch.float32
        assert F.cosine_similarity(half, exact).min() > 0.99


class TestRecommend:
    def test_is_the_order_of_the_scores(self, model, tokenizer):
        histories = [["rkA", "gmN"], [ITEMS["wtA"], "bsN"]]
        texts = [[ITEMS["rkA"], ITEMS["gmN"]], [ITEMS["wtA"], ITEMS["bsN"]]]
        with torch.no_grad():
            scores = model(**tokenizer(texts, padding=True, return_tensors="pt")).scores
        found = model.recommend(histories, tokenizer, top_k=6, exclude_history=False)
        torch.testing.assert_close(found.scores, scores.topk(6).values, atol=1e-4, rtol=0)
        assert torch.equal(found.rows, scores.topk(6).indices)
        ids = list(ITEMS)
        assert found.item_ids == [[ids[row] for row in rows] for rows in scores.topk(6).indices.tolist()]
        for history, bought in zip(found.item_ids, (["rkA", "gmN"], ["wtA", "bsN"]), strict=True):
            assert set(history) & set(bought)  # otherwise the next lines would show nothing
        found = model.recommend(histories, tokenizer, top_k=30)
        assert set(found.item_ids[0]) == set(ids) - {"rkA", "gmN"}
        assert set(found.item_ids[1]) == set(ids) - {"wtA", "bsN"}

    def test_answers(self, model, tokenizer):
        found = model.recommend([["rkA"]], tokenizer, top_k=3, return_tensors="np")
        assert isinstance(found.rows, np.ndarray)
        assert len(found) == 1
        (answer,) = found.to_dicts()
        assert [item["item_id"] for item in answer] == found.item_ids[0]
        assert [item["attributes"] for item in answer] == [ITEMS[item_id] for item_id in found.item_ids[0]]
        assert [item["score"] for item in answer] == sorted((float(s) for s in found.scores[0]), reverse=True)
        json.dumps(answer)

    def test_candidates_and_exclude(self, model, tokenizer):
        found = model.recommend([["rkA"], ["gmN"]], tokenizer, 2, candidates=["rkA", "rkN", "gmA", "gmN", "wtA"])
        assert set(found.item_ids[0]) <= {"rkN", "gmA", "gmN", "wtA"}
        assert set(found.item_ids[1]) <= {"rkA", "rkN", "gmA", "wtA"}
        every = list(ITEMS)
        found = model.recommend([["rkA"]], tokenizer, 3, exclude=every[4:])
        assert set(found.item_ids[0]) == set(every[:4]) - {"rkA"}
        both = {"candidates": every[:10], "exclude": every[5:], "exclude_history": False}
        assert set(model.recommend([["rkA"]], tokenizer, 5, **both).item_ids[0]) == set(every[:5])
        twice = {"candidates": ["gmA", "gmA", "gmN"], "exclude": ["wtA", "wtA"]}
        assert set(model.recommend([["rkA", "rkA"]], tokenizer, 2, **twice).item_ids[0]) == {"gmA", "gmN"}

    @pytest.mark.parametrize("candidates", [None, list(ITEMS)[::2]])
    def test_many_that_are_excluded_are_as_few(self, model, tokenizer, candidates, monkeypatch):
        asked = {"top_k": 5, "candidates": candidates, "exclude": list(ITEMS)[3:20]}
        histories = [["rkA"], ["gmN", "wtA"]]
        few = model.recommend(histories, tokenizer, **asked)
        monkeypatch.setattr("recformer_hf.recommending.recommend.MOST_PAIRED", 16)
        paired = []
        monkeypatch.setattr(
            "recformer_hf.recommending.recommend._pairs",
            lambda *given: paired.append(given[1]) or _pairs(*given),
        )
        many = model.recommend(histories, tokenizer, **asked)
        assert paired == [None]  # pairs of histories and items would outgrow memory
        assert many.item_ids == few.item_ids
        torch.testing.assert_close(many.scores, few.scores, rtol=1e-6, atol=1e-5)
        total = "16 candidates" if candidates else "32 items"
        with pytest.raises(ValueError, match=rf"top_k is 25, but only \d+ of {total} are left"):
            model.recommend(histories, tokenizer, **{**asked, "top_k": 25})

    def test_a_described_item_is_every_item_of_its_text(self, encoder, tokenizer):
        shop = {**ITEMS, "copy": {"brand": "Acme", "title": "red kettle"}, "else": {"title": "red kettle"}}
        model = encoder.with_catalog(shop, tokenizer)
        history = [[{"title": "red kettle", "brand": "Acme", "colour": None}]]
        found = set(model.recommend(history, tokenizer, top_k=len(shop) - 2).item_ids[0])
        assert found == set(shop) - {"rkA", "copy"}
        # An id is that item and no other.
        assert "copy" in model.recommend([["rkA"]], tokenizer, top_k=len(shop) - 1).item_ids[0]

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (
                {"top_k": 31},
                ValueError,
                "top_k is 31, but only 30 of 32 items.*at most 30.*exclude_history=False",
            ),
            ({"top_k": 3, "candidates": ["rkA", "gkA", "gmN"]}, ValueError, "only 1 of 3 candidates are left"),
            ({"top_k": 1, "candidates": []}, ValueError, "only 0 of 0 candidates"),
            ({"top_k": 0}, ValueError, "top_k must be a whole number of at least 1, got 0"),
            ({"top_k": 2.0}, ValueError, "got 2.0"),
            ({"top_k": True}, ValueError, "got True"),
            ({"candidates": ["rkA", "nope"]}, UnknownItemError, "Candidate 1 is unknown: No item 'nope'"),
            (
                {"exclude": ["rkM"]},
                UnknownItemError,
                "Excluded item 0 is unknown: .*'rkM'.*Closest: 'rkN'",
            ),
            ({"exclude": "rkA"}, TypeError, "Excluded items must be a list of ids, got a str"),
            ({"candidates": [{"title": "tent"}]}, TypeError, "Candidate 0 is a dict; expected an item id"),
            ({"max_tokens": 0}, ValueError, "max_tokens must be at least 1"),
            ({"return_tensors": "tf"}, ValueError, "return_tensors is 'tf'"),
        ],
    )
    def test_bad_requests(self, model, tokenizer, arguments, error, message):
        with pytest.raises(error, match=message):
            model.recommend([["rkA", "gmN"]], tokenizer, **arguments)

    def test_the_history_with_too_little_left_is_named(self, model, tokenizer):
        with pytest.raises(ValueError, match="only 30 of 32 items are left for history 1:"):
            model.recommend([["rkA"], ["rkA", "gmN"]], tokenizer, top_k=31)
        with pytest.raises(ValueError, match="for history 41:"):
            model.recommend([["rkA"], ["rkA", "gmN"]], tokenizer, top_k=31, number_from=40)

    def test_without_items_or_catalogue(self, encoder, model, tokenizer):
        with pytest.raises(ValueError, match=r"no items to score.*with_catalog\(items, tokenizer\)"):
            encoder.recommend([[ITEMS["rkA"]]], tokenizer)
        model.catalog = None
        with pytest.raises(ValueError, match="Without a catalogue the model cannot tell which of its items are in the history"):
            model.recommend([[ITEMS["rkA"]]], tokenizer)
        found = model.recommend([[ITEMS["rkA"]]], tokenizer, top_k=2, exclude_history=False)
        assert found.rows.tolist()[0][0] == 0
        with pytest.raises(ValueError, match="no catalogue, which item ids need"):
            found.to_dicts()
        with pytest.raises(ValueError, match="no catalogue, which ids need"):
            model.recommend([[ITEMS["rkA"]]], tokenizer, exclude=["rkA"])

    def test_no_histories(self, model, tokenizer):
        found = model.recommend([], tokenizer, top_k=3)
        assert found.rows.shape == (0, 3)
        assert found.to_dicts() == []

    def test_a_huge_or_strange_id_is_an_error_of_a_line(self, model, tokenizer):
        for item_id in ("x" * 10**6, "\ud800", "", "\x00", 10**5000, -1):
            with pytest.raises(UnknownItemError, match="unknown") as error:
                model.recommend([[item_id]], tokenizer)
            assert len(str(error.value)) < 500
            str(error.value).encode()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu(tokenizer, dtype):
    model = enliven(RecformerForSeqRec(small_config())).eval().with_catalog(ITEMS, tokenizer)
    histories = [["rkA", ITEMS["gmN"]], ["wtA"]]
    expected = model.recommend(histories, tokenizer, top_k=20, candidates=list(ITEMS)[:25])
    model.to("cuda", dtype)
    found = model.recommend(histories, tokenizer, top_k=20, candidates=list(ITEMS)[:25])
    assert found.scores.device.type == "cpu"
    if dtype == torch.float32:
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-2, rtol=0)
    model.add_items(MORE, tokenizer)
    model.build_index("bfloat16")
    assert model.item_embeddings.device.type == "cuda"
    assert model.recommend(histories, tokenizer, top_k=3).rows.shape == (2, 3)


class TestSimilarItems:
    def test_of_an_id(self, model):
        found = model.similar_items("rkA", top_k=31)
        cosines = F.cosine_similarity(model.item_embeddings[:1], model.item_embeddings[1:])
        torch.testing.assert_close(found.scores[0], cosines.sort(descending=True).values, atol=1e-6, rtol=0)
        assert set(found.item_ids[0]) == set(ITEMS) - {"rkA"}

    def test_of_a_description(self, model, tokenizer):
        expected = model.similar_items("rkA", top_k=5)
        found = model.similar_items(ITEMS["rkA"], 5, tokenizer)
        assert found.item_ids == expected.item_ids
        assert model.similar_items({"title": "red kettle"}, 1, tokenizer, "np").scores.shape == (1, 1)

    def test_bad_input(self, model, tokenizer):
        with pytest.raises(UnknownItemError, match="The item is unknown: No item 'nope'"):
            model.similar_items("nope")
        with pytest.raises(ValueError, match="pass the tokenizer too"):
            model.similar_items({"title": "tent"})
        with pytest.raises(ValueError, match="only 31 of 32 items are left: "):
            model.similar_items("rkA", top_k=32)
        with pytest.raises(TypeError, match="expected an item id"):
            model.similar_items(None)


class TestChangingTheCatalogue:
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

    def test_add(self, model, tokenizer):
        before = model.item_embeddings.detach().clone()
        model.add_items(MORE, tokenizer)
        assert torch.equal(model.item_embeddings[:32], before)
        assert_close(model.item_embeddings[32:], model.encode_items(list(MORE.values()), tokenizer))
        assert list(model.catalog.ids) == [*ITEMS, *MORE]
        assert model.config.num_items == 34
        assert model.recommend([[MORE["n1"]]], tokenizer, 33, exclude_history=True).rows.shape == (1, 33)
        with pytest.raises(ValueError, match=r"2 of 2 new ids are in the catalogue already.*'n1'"):
            model.add_items(MORE, tokenizer)
        assert model.config.num_items == 34

    def test_add_to_nothing(self, tokenizer):
        model = enliven(RecformerForSeqRec(small_config())).eval()
        model.add_items(MORE, tokenizer)
        assert list(model.catalog.ids) == list(MORE)

    def test_remove(self, model, tokenizer):
        before = model.item_embeddings.detach().clone()
        model.remove_items(["rkN", "rkA"])
        assert torch.equal(model.item_embeddings, before[2:])
        assert list(model.catalog.ids) == list(ITEMS)[2:]
        with pytest.raises(UnknownItemError, match="Item 1 is unknown"):
            model.remove_items(["rmA", "rkA"])
        assert model.config.num_items == 30

    def test_update(self, model, encoder, tokenizer):
        changed = {"gmN": {"title": "velvet curtain"}, "rkA": {"title": "oak shelf", "brand": "Nordby"}}
        model.update_items(changed, tokenizer)
        expected = encoder.with_catalog({**ITEMS, **changed}, tokenizer)
        assert_close(model.item_embeddings, expected.item_embeddings)
        assert model.catalog == expected.catalog
        with pytest.raises(UnknownItemError, match="No item 'nope'"):
            model.update_items({"nope": {"title": "x"}}, tokenizer)

    def test_trainable_embeddings_stay_trainable(self, model, tokenizer):
        model.item_embeddings.requires_grad_()
        model.add_items(MORE, tokenizer)
        assert model.item_embeddings.requires_grad

    def test_needs_a_catalogue(self, model, tokenizer):
        model.catalog = None
        for change in (
            lambda: model.add_items(MORE, tokenizer),
            lambda: model.remove_items(["rkA"]),
            lambda: model.update_items(MORE, tokenizer),
            lambda: model.export_embeddings("x.npy"),
        ):
            with pytest.raises(ValueError, match=r"no catalogue, which .* need"):
                change()

    def test_export(self, model, encoder, tmp_path):
        model.export_embeddings(tmp_path / "items.npy")
        assert np.array_equal(np.load(tmp_path / "items.npy"), model.item_embeddings.numpy())
        assert json.loads((tmp_path / "items.ids.json").read_text()) == list(ITEMS)
        with pytest.raises(ValueError, match="no items"):
            encoder.export_embeddings(tmp_path / "items.npy")


class TestTheCatalogueBesideTheModel:
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

    def test_saved_apart_from_the_model(self, model, tmp_path):
        """As trainers do: the catalogue is written beside, the model knows nothing of it."""
        catalog, model.catalog = model.catalog, None
        catalog.save_pretrained(tmp_path)
        model.save_pretrained(tmp_path)
        assert RecformerForSeqRec.from_pretrained(tmp_path).catalog == catalog

    def test_stays_when_the_folder_goes(self, model, tmp_path):
        model.save_pretrained(tmp_path)
        loaded = RecformerForSeqRec.from_pretrained(tmp_path)
        for file in tmp_path.iterdir():
            file.unlink()
        assert loaded.catalog == model.catalog

    def test_loaded_item_vectors_take_no_gradient_until_asked(self, model, tmp_path):
        model.save_pretrained(tmp_path)
        assert not RecformerForSeqRec.from_pretrained(tmp_path).item_embeddings.requires_grad

    def test_saving_where_it_was_loaded_from(self, model, tokenizer, tmp_path):
        model.save_pretrained(tmp_path)
        loaded = RecformerForSeqRec.from_pretrained(tmp_path)
        loaded.add_items(MORE, tokenizer)
        loaded.save_pretrained(tmp_path)
        assert RecformerForSeqRec.from_pretrained(tmp_path).catalog == loaded.catalog

    def test_of_another_size_is_left_aside(self, model, tmp_path, caplog):
        model.save_pretrained(tmp_path)
        ItemCatalog.from_items(MORE).save_pretrained(tmp_path)
        loaded = RecformerForSeqRec.from_pretrained(tmp_path)
        assert loaded.catalog is None
        with pytest.raises(ValueError, match="The catalogue has 2 items, but the model 32"):
            loaded.catalog = ItemCatalog.from_items(MORE)

    def test_new_embeddings_have_no_catalogue_unless_given(self, model):
        catalog = model.catalog
        model.set_item_embeddings(model.item_embeddings * 2, catalog)
        assert model.catalog is catalog
        model.set_item_embeddings(model.item_embeddings * 2)
        assert model.catalog is None
        with pytest.raises(ValueError, match="3 item embeddings, but 32 items"):
            model.set_item_embeddings(torch.zeros(3, 64), catalog)
        assert model.config.num_items == 32

    def test_only_the_main_process_writes(self, model, tmp_path):
        model.save_pretrained(tmp_path, is_main_process=False)
        assert not (tmp_path / "item_catalog.arrow").exists()

    def test_from_the_hub_of_the_same_commit(self, model, tmp_path, monkeypatch):
        """Fetched with the weights, once, of the commit that they are of."""
        model.save_pretrained(tmp_path)
        asked = []

        def download(repo, name, **options):
            asked.append((repo, name, options["revision"], options["token"]))
            return str(tmp_path / name)

        monkeypatch.setattr("recformer_hf.items.catalog_files.hf_hub_download", download)
        store = ItemStore()
        store.load(CheckpointSource.of("someone/shop", {"token": "t", "revision": "main"}, "abc"), 32)
        assert asked == [("someone/shop", "item_catalog.arrow", "abc", "t")]
        assert store.catalog(32) == store.catalog(32) == model.catalog
        assert len(asked) == 1

    def test_that_the_hub_cannot_be_asked_for_is_an_error(self, model, tmp_path):
        """A recommender without its catalogue would be saved without it later."""
        snapshot = tmp_path / "hub" / "models--someone--shop" / "snapshots" / ("a" * 40)
        model.save_pretrained(snapshot)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
        catalog = snapshot / "item_catalog.arrow"
        content = catalog.read_bytes()
        catalog.unlink()
        with pytest.raises(OSError, match="item_catalog.arrow beside them could not be fetched"):
            RecformerForSeqRec.from_pretrained("someone/shop", cache_dir=tmp_path / "hub")
        # The cache remembers that a repository has no catalogue.
        absent = snapshot.parents[1] / ".no_exist" / ("a" * 40) / "item_catalog.arrow"
        absent.parent.mkdir(parents=True)
        absent.touch()
        assert RecformerForSeqRec.from_pretrained("someone/shop", cache_dir=tmp_path / "hub").catalog is None
        absent.unlink()
        catalog.write_bytes(content)
        loaded = RecformerForSeqRec.from_pretrained("someone/shop", cache_dir=tmp_path / "hub")
        assert loaded.catalog == model.catalog

    def test_pushing_while_saving_takes_it_along(self, model, tmp_path, monkeypatch):
        pushed = {}

        def push(self, repo_id, **options):
            pushed[repo_id] = options

        monkeypatch.setattr(RecformerForSeqRec, "push_to_hub", push)
        model.save_pretrained(tmp_path / "shop", push_to_hub=True, private=True)
        assert pushed == {"shop": {"private": True}}

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
            import json, sys, torch
            from pathlib import Path
            from recformer_hf import RecformerForSeqRec, RecformerTokenizer
            torch.set_num_threads({torch.get_num_threads()})
            source, target = sys.argv[1:]
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
            print(json.dumps(one + model.recommend(histories, tokenizer, 8, exclude_history=False).to_dicts()))
        """

        def answers(source, target) -> list:
            result = subprocess.run(
                [sys.executable, "-c", textwrap.dedent(script), str(source), str(target)],
                env={**os.environ, **kernels}, capture_output=True, text=True, check=True,
            )  # fmt: skip
            return json.loads(result.stdout)

        trained = answers(tmp_path / "encoder", tmp_path / "shop")
        assert answers(tmp_path / "shop", "") == trained
        assert trained[0][0]["attributes"] == ITEMS[trained[0][0]["item_id"]]
        expected = model.recommend(mixed, tokenizer, 8, exclude_history=False)
        assert [[item["item_id"] for item in answer] for answer in trained[1:]] == expected.item_ids
